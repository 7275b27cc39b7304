"""Binary operators of opsets below 7, where broadcasting had to be asked for and could name an axis."""

from __future__ import annotations

from torch import Tensor

from onnxsal.importer.operator import op
from onnxsal.importer.ops import arithmetic, comparison


def _aligned(a: Tensor, b: Tensor, axis: int | None) -> Tensor:
    """Return ``b`` with its first dimension at ``axis`` of ``a``; without an axis the last dimensions meet."""
    if axis is None or b.ndim == 0:
        return b
    return b.reshape(*b.shape, *[1] * (a.ndim - axis % a.ndim - b.ndim))


@op("Add")
def add_1(a: Tensor, b: Tensor, *, axis: int | None = None, broadcast: int = 0) -> Tensor:
    """Add, the second value placed at an axis (opsets below 7)."""
    return arithmetic.add(a, _aligned(a, b, axis))


@op("Sub")
def sub_1(a: Tensor, b: Tensor, *, axis: int | None = None, broadcast: int = 0) -> Tensor:
    """Subtract, the second value placed at an axis (opsets below 7)."""
    return arithmetic.sub(a, _aligned(a, b, axis))


@op("Mul")
def mul_1(a: Tensor, b: Tensor, *, axis: int | None = None, broadcast: int = 0) -> Tensor:
    """Multiply, the second value placed at an axis (opsets below 7)."""
    return arithmetic.mul(a, _aligned(a, b, axis))


@op("Div")
def div_1(a: Tensor, b: Tensor, *, axis: int | None = None, broadcast: int = 0) -> Tensor:
    """Divide, the second value placed at an axis (opsets below 7)."""
    return arithmetic.div(a, _aligned(a, b, axis))


@op("Pow")
def power_1(x: Tensor, y: Tensor, *, axis: int | None = None, broadcast: int = 0) -> Tensor:
    """Raise to a power, the second value placed at an axis (opsets below 7)."""
    return arithmetic.power(x, _aligned(x, y, axis))


@op("Equal", gradient=False)
def equal_1(a: Tensor, b: Tensor, *, axis: int | None = None, broadcast: int = 0) -> Tensor:
    """Say where two values are equal, the second value placed at an axis (opsets below 7)."""
    return comparison.equal(a, _aligned(a, b, axis))


@op("Less", gradient=False)
def less_1(a: Tensor, b: Tensor, *, axis: int | None = None, broadcast: int = 0) -> Tensor:
    """Say where the first value is smaller, the second value placed at an axis (opsets below 7)."""
    return comparison.less(a, _aligned(a, b, axis))


@op("Greater", gradient=False)
def greater_1(a: Tensor, b: Tensor, *, axis: int | None = None, broadcast: int = 0) -> Tensor:
    """Say where the first value is larger, the second value placed at an axis (opsets below 7)."""
    return comparison.greater(a, _aligned(a, b, axis))


@op("And", gradient=False)
def logical_and_1(a: Tensor, b: Tensor, *, axis: int | None = None, broadcast: int = 0) -> Tensor:
    """Say where both hold, the second value placed at an axis (opsets below 7)."""
    return comparison.logical_and(a, _aligned(a, b, axis))


@op("Or", gradient=False)
def logical_or_1(a: Tensor, b: Tensor, *, axis: int | None = None, broadcast: int = 0) -> Tensor:
    """Say where either holds, the second value placed at an axis (opsets below 7)."""
    return comparison.logical_or(a, _aligned(a, b, axis))


@op("Xor", gradient=False)
def logical_xor_1(a: Tensor, b: Tensor, *, axis: int | None = None, broadcast: int = 0) -> Tensor:
    """Say where exactly one holds, the second value placed at an axis (opsets below 7)."""
    return comparison.logical_xor(a, _aligned(a, b, axis))
