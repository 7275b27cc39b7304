"""Start-up: what only lists or helps imports nothing heavy."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from onnxsal.plugins import kinds

HEAVY = ("torch", "onnx", "onnx2torch", "onnxruntime", "numpy", "matplotlib", "PIL", "rich", "ml_dtypes")

PROGRAM = """
import sys
from onnxsal.cli import group
try:
    group.main(sys.argv[1:])
except SystemExit as left:
    assert left.code == 0, left.code
print("imported:", *[name for name in {heavy!r} if name in sys.modules], file=sys.stderr)
"""


def python(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, check=True, timeout=120)


def imported_by(*args: str) -> str:
    return python("-c", PROGRAM.format(heavy=HEAVY), *args).stderr.strip().split("\n")[-1]


def test_the_package_itself_imports_nothing_heavy():
    check = f"import sys, onnxsal; sys.exit(any(name in sys.modules for name in {HEAVY!r}))"
    python("-c", check)


@pytest.mark.parametrize(
    "args", [("--help",), ("--version",), ("explain", "--help"), ("verify", "--help"), ("compare", "--help")]
)
def test_help_imports_nothing_heavy(args):
    assert imported_by(*args) == "imported:"


@pytest.mark.parametrize("kind", [*kinds(), "plugins"])
def test_lists_import_nothing_heavy(kind):
    assert imported_by("list", kind) == "imported:"


def test_one_entry_imports_nothing_heavy():
    assert imported_by("list", "methods", "saliency", "--json") == "imported:"


def test_help_is_quick():
    # beside a bare interpreter, so that a busy machine slows both; 0.11 s was measured, 0.02 of it the interpreter's
    assert _quickest("-m", "onnxsal", "--help") < 0.3 + 4 * _quickest("-c", "")


def _quickest(*args: str) -> float:
    return min(_seconds(*args) for _ in range(3))


def _seconds(*args: str) -> float:
    started = time.perf_counter()
    python(*args)
    return time.perf_counter() - started
