"""Facts about a model that cost a run to find out, kept between processes by the model's hash."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any


def folder() -> Path:
    """Return the cache folder: ``ONNXSAL_CACHE_DIR``, or the user's cache."""
    import platformdirs

    return Path(os.environ.get("ONNXSAL_CACHE_DIR") or platformdirs.user_cache_dir("onnxsal", appauthor=False))


def read(kind: str, key: tuple[str, ...]) -> Any:
    """Return what was kept under a key, or None; a damaged entry counts as none."""
    try:
        entry = json.loads(_path(kind, key).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return entry.get("value") if isinstance(entry, dict) and entry.get("key") == list(key) else None


def write(kind: str, key: tuple[str, ...], value: Any) -> None:
    """Keep a JSON value; a cache that cannot be written is no fault."""
    path = _path(kind, key)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump({"key": list(key), "value": value}, stream)
        os.replace(name, path)


def _path(kind: str, key: tuple[str, ...]) -> Path:
    name = hashlib.sha256("\0".join(key).encode()).hexdigest()
    return folder() / kind / f"{name}.json"
