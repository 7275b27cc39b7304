"""Everything that can go wrong, as a tree; the leaf decides the exit code.

    OnnxsalError
    ├── UsageError        2   an option, a name or a target that does not exist
    ├── ModelError        3   the model cannot be read
    │   ├── ImportFault   3   the model was read, but cannot be turned into a torch graph
    │   └── CompileFault  3   the attribution cannot be written as an ONNX graph
    ├── InputError        4   an input cannot be read, or does not fit the model
    ├── PluginError       5   a plugin is broken, or two plugins claim one name
    ├── ParityError       6   the imported graph does not answer what ONNX Runtime answers
    ├── CompletenessError 6   the attributions do not sum to what they explain
    ├── ResourceError     7   out of memory or out of disk
    └── OutputError       2   the result cannot be written where it was asked for

A message says where it happened, what was seen, and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST = 20_000
"""How much of what was seen is said; a file may hold a name or a text of any length."""


class OnnxsalError(Exception):
    """A fault the user can understand and mend: ``where``, ``what`` and ``hint`` (what next)."""

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        what = what if len(what) <= LONGEST else f"{what[:LONGEST]}… ({len(what):,} characters)"
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f"\n  {self.hint}" if self.hint else ""
        return f"{place}{self.what}{advice}"


class UsageError(OnnxsalError):
    """An option, a name or a target that does not exist."""

    exit_code = 2


class OutputError(OnnxsalError):
    """The result cannot be written where it was asked for."""

    exit_code = 2


class ModelError(OnnxsalError):
    """The model file cannot be read."""

    exit_code = 3


class ImportFault(ModelError):
    """The model was read, but a node of it cannot be turned into torch."""


class CompileFault(ModelError):
    """What a method does to the model cannot be written as an ONNX graph."""


class InputError(OnnxsalError):
    """An input cannot be read, or does not fit the model's ports."""

    exit_code = 4


class PluginError(OnnxsalError):
    """A plugin is broken, or two plugins claim one name."""

    exit_code = 5


class ParityError(OnnxsalError):
    """The imported graph does not answer what ONNX Runtime answers."""

    exit_code = 6


class CompletenessError(OnnxsalError):
    """The attributions do not sum to what they explain, though the method promises it."""

    exit_code = 6


class ResourceError(OnnxsalError):
    """Memory or disk ran out."""

    exit_code = 7


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a sentence that offers the names closest to ``name``, or all of them where none is close."""
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(repr(c) for c in close)}?"
    if not names:
        return "there are none"
    shown = ", ".join(names[:20]) + (f", … ({len(names)} in all)" if len(names) > 20 else "")
    return f"there are: {shown}"
