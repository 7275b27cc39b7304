"""The built-in operators: one module a family."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable

from onnxsal.entries import Operators
from onnxsal.hookspecs import hookimpl


@hookimpl
def onnxsal_operators() -> Iterable[Operators]:
    """Announce every module of this folder, without importing it."""
    for info in pkgutil.iter_modules(__path__):
        yield Operators(info.name, f"{__name__}.{info.name}")
