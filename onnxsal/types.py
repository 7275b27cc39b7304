"""The nouns: what is explained, what was asked, what came out."""

from __future__ import annotations

from dataclasses import dataclass

Dim = int | str | None
"""A dimension: fixed, named by a symbol, or unknown."""


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a model: name, element type and shape.

    ``dtype`` is a numpy name ("float32", "int64", "string") or a container ("sequence(float32)"). ``shape`` is None where
    the rank is not declared.
    """

    name: str
    dtype: str
    shape: tuple[Dim, ...] | None

    @property
    def is_float(self) -> bool:
        """Whether the port carries floating-point numbers, the only ones with a gradient."""
        return self.dtype in {"float16", "float32", "float64", "bfloat16"}

    def __str__(self) -> str:
        dims = "?" if self.shape is None else ", ".join("?" if d is None else str(d) for d in self.shape)
        return f"{self.name}: {self.dtype}[{dims}]"
