"""What every test needs: a cache of its own, and one thread fewer than would disturb the neighbours."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("ONNXSAL_CACHE_DIR", str(folder))
    return folder
