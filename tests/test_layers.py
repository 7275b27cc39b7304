"""The floors of the house: each imports only downwards."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import onnxsal

HOUSE = Path(onnxsal.__file__).parent
FLOORS = [
    {"errors", "types", "entries", "hookspecs", "places"},
    {"plugins", "cache", "labels", "catalogue"},
    {"importer"},
    {
        "model",
        "target",
        "batching",
        "feeds",
        "joining",
        "inputs",
        "results",
        "config",
        "device",
        "completeness",
        "region",
        "measurements",
    },
    {"engine", "rebatching", "score", "subject", "baseline", "features", "options"},
    {"parity", "compiler", "engines", "inspection", "landmarks", "excerpt", "diagnosis"},
    {"pipeline"},
    {"evaluation"},
    {"cli"},
]
PLUGIN_FOLDERS = {"methods", "baselines", "masks", "readers", "presets", "formats", "metrics", "executors", "devices"}
ALLOWED_IN_PLUGINS = {"entries", "types", "errors", "hookspecs", "places"}
ALLOWED_BESIDE = {
    "methods": {"baselines"},  # the way of blurred integrated gradients ends where the blurred baseline is
    "readers": {"importer"},  # a tensor of a .pb file is read with the same distrust as one of a model
}


def imports(path: Path) -> set[str]:
    """Return the rooms of the house that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] if node.module != "onnxsal" else [f"onnxsal.{a.name}" for a in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("onnxsal.")}
    return found


def room(path: Path) -> str:
    """Return the top-level room a file belongs to."""
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


FILES = sorted(p for p in HOUSE.rglob("*.py") if p.name not in {"__init__.py", "__main__.py"} or p.parent != HOUSE)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_a_file_imports_only_downwards(path: Path) -> None:
    here = room(path)
    if here in PLUGIN_FOLDERS:
        assert imports(path) <= ALLOWED_IN_PLUGINS | {here} | ALLOWED_BESIDE.get(here, set())
        return
    height = next((i for i, floor in enumerate(FLOORS) if here in floor), None)
    assert height is not None, f"room {here!r} stands on no floor: add it to FLOORS"
    above = {name for floor in FLOORS[height + 1 :] for name in floor}
    assert not imports(path) & above
