"""A corpus of real models for the tests, fetched when a test first asks for one.

path = corpus.model("swift_f0")          # fetches its wheel into the cache
feeds = corpus.inputs("swift_f0")        # arrays by input name, known to work
photo = corpus.file("samples/chelsea.png")
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.corpus import fetch


def ids(max_mb: float = float("inf")) -> list[str]:
    """Return the names of the models up to a size."""
    return [m["id"] for m in fetch.manifest()["models"] if m["bytes"] <= max_mb * 1e6]


def facts(name: str) -> dict[str, Any]:
    """Return what the manifest says of a model."""
    return next(m for m in fetch.manifest()["models"] if m["id"] == name)


@cache
def model(name: str) -> Path:
    """Return the path of a model, fetched on demand; the test is skipped where that is impossible."""
    entry = facts(name)
    if "derived" in entry:
        return _derived(entry["derived"])
    return _fetched(list(fetch.model_files(entry)))[0]


@cache
def file(name: str) -> Path:
    """Return the path of a picture, table or label list, fetched on demand."""
    return _fetched([fetch.other_files()[name]])[0]


def inputs(name: str) -> dict[str, np.ndarray]:
    """Return a working input of a model, by input name in the graph's order."""
    with np.load(fetch.HERE / "inputs" / f"{name}.npz") as arrays:
        return {str(port): arrays[f"arg{i}"] for i, port in enumerate(arrays["names"])}


def _fetched(wanted: list[fetch.Wanted]) -> list[Path]:
    try:
        return fetch.fetch(wanted, fetch.folder())
    except fetch.FetchError as error:
        pytest.skip(f"the corpus cannot be fetched: {error}")


def _derived(place: str) -> Path:
    from models import efficientnet_lite0

    path = fetch.folder() / place
    if not path.exists():
        efficientnet_lite0.export(path, dynamo="dynamo" in path.stem)
    return path
