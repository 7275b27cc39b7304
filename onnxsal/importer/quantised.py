"""Quantised numbers that travel as floats, so that gradients pass through them.

A torch integer has no gradient. What QuantizeLinear and its kin make is therefore *carried*: a float tensor that holds
exactly the numbers the file would store in an integer (or an 8-bit float). Operators that only move elements hand it
on; any other consumer, and a graph output, gets it in the file's type (`store`). Rounding passes gradients straight
through inside the representable range, and none outside it.

Quantised operators stand for others on real numbers (`Real`); backward rules take them for those.

A graph can also be read as if it were not quantised (`Unrounded`): nothing is rounded then, but what lies outside the
representable range still saturates, for quantisers leave the clipping of a ReLU to it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor

from onnxsal.importer.dtypes import dtype_named, torch_dtype
from onnxsal.importer.graph import Node
from onnxsal.importer.values import to_tensor

MOVES = frozenset(
    {
        *("Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "GlobalMaxPool", "Identity", "MaxPool", "Pad"),
        *("Relu", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
    }
)
"""Operators of the standard domain that hand elements on as they are, so that carried numbers stay what they are."""

ROUNDING = ("QuantizeLinear", "DynamicQuantize", "QLinear", "QGemm")
"""Operators that round to few bits, by how their names begin."""

SUMMING = ("MatMulInteger", "ConvInteger")
"""Operators that sum products of what was rounded."""

COARSE = 4
"""The accuracy level at which ONNX Runtime multiplies 8-bit integers where weights of few bits are constant."""

FLOATS = {
    name: to_tensor(np.zeros(0, getattr(ml_dtypes, name))).dtype
    for name in ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz")
}
HALVES = {torch.float16, torch.bfloat16}
E4M3FN_TIE = 464.0
"""Halfway between the largest float8_e4m3fn and what would come next."""
EXACT_SUM = 2**24
"""Up to here float32 holds every integer."""


def accepts(node: Node) -> bool:
    """Say whether a node of the standard domain may be handed carried numbers."""
    return moves_on(node) or (node.op_type == "Cast" and not node.domain and _is_float(node.attributes.get("to")))


def moves_on(node: Node) -> bool:
    """Say whether a node hands elements on as they are."""
    return (node.op_type in MOVES and not node.domain) or node.op_type == "NhwcMaxPool"


def rounds(node: Node) -> bool:
    """Say whether a node rounds to few bits."""
    if node.op_type.startswith(ROUNDING):
        return True
    if node.domain != "com.microsoft":
        return False
    given = node.attributes
    match node.op_type:
        case "GroupQueryAttention":
            return given.get("k_quant_type", "NONE") != "NONE" or given.get("v_quant_type", "NONE") != "NONE"
        case "MatMulNBits":
            return given.get("accuracy_level") == COARSE
        case "QMoE":
            widths = {given.get(f"{layer}expert_weight_bits") for layer in ("", "fc1_", "fc2_", "fc3_")}
            return bool(given.get("block_size")) and (8 in widths or given.get("accuracy_level") == COARSE)
        case _:
            return False


_rounding: ContextVar[bool] = ContextVar("rounding", default=True)


class Unrounded:
    """An operator's function, called as if the numbers were not rounded to few bits."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        # what torch.fx asks of a call target
        self.__name__ = self.__qualname__ = f"{function.__name__}_unrounded"
        self.__module__ = function.__module__

    def __call__(self, *inputs: Any, **attributes: Any) -> Any:
        before = _rounding.set(False)
        try:
            return self.function(*inputs, **attributes)
        finally:
            _rounding.reset(before)


def unrounded(node: Node, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what computes a node's function without rounding; other nodes' functions as they are."""
    return Unrounded(function) if rounds(node) or node.op_type.startswith(SUMMING) else function


def _is_float(element: Any) -> bool:
    is_number = isinstance(element, int) and element != TensorProto.STRING
    return is_number and torch_dtype(element) in {torch.float32, torch.float64, *HALVES}


def limits(stored: str) -> tuple[float, float]:
    """Return the smallest and the largest number a type holds."""
    dtype = dtype_named(stored)
    info: Any = ml_dtypes.finfo(dtype) if "float" in stored else ml_dtypes.iinfo(dtype)
    return (float(info.min), float(info.max)) if "float" in stored else (int(info.min), int(info.max))


def store(carried: Tensor, stored: str) -> Tensor:
    """Return carried numbers in the type the file stores them in."""
    dtype = dtype_named(stored)
    kind = to_tensor(np.zeros(0, dtype)).dtype
    whole = carried.detach() if kind.is_floating_point else carried.detach().round()  # where nothing was rounded yet
    return whole.to(kind)


def load(x: Tensor) -> Tensor:
    """Return stored or carried numbers as floats to compute with; int32 as float64, which holds all of them."""
    if x.dtype in {torch.float32, torch.float64}:
        return x
    return x.to(torch.float64 if x.dtype in {torch.int32, torch.int64} else torch.float32)


def quantise(
    scaled: Tensor, zero_point: Tensor | None, stored: str, saturate: bool = True, fitted: bool = False
) -> Tensor:
    """Round scaled numbers to those a type holds, carried; gradients go straight through inside its range.

    Args:
        scaled: What is rounded, divided by its scale.
        zero_point: What is added afterwards.
        stored: The type's name.
        saturate: Whether what an 8-bit float cannot hold becomes the largest that it can; integers always saturate.
        fitted: Whether the scale was made for these very numbers, so that only rounding takes one out of the range.
    """
    low, high = limits(stored)
    if not _rounding.get():
        shifted = scaled if zero_point is None else scaled + zero_point.to(scaled)
        return shifted if fitted or ("float" in stored and not saturate) else shifted.clamp(low, high)
    if "float" in stored:
        return _RoundFloat.apply(scaled, stored, high, saturate)
    shift = torch.zeros((), dtype=scaled.dtype, device=scaled.device) if zero_point is None else zero_point.to(scaled)
    return _Round.apply(scaled, shift, low, high)


class _Round(torch.autograd.Function):
    """Round half to even, shift by the zero point, and saturate."""

    generate_vmap_rule = True

    @staticmethod
    def forward(scaled: Tensor, shift: Tensor, low: int, high: int) -> Tensor:
        return (scaled.round() + shift).clamp(low, high)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        scaled, shift, ctx.low, ctx.high = inputs
        ctx.save_for_backward(scaled, shift)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        scaled, shift = ctx.saved_tensors
        whole = scaled.round() + shift
        return gradient * ((whole >= ctx.low) & (whole <= ctx.high)), None, None, None


class _RoundFloat(torch.autograd.Function):
    """Round to an 8-bit or 4-bit float; what is too large saturates, or becomes infinite or no number."""

    generate_vmap_rule = True

    @staticmethod
    def forward(scaled: Tensor, stored: str, high: float, saturate: bool) -> Tensor:
        if stored == "float4_e2m1fn":
            bounded = scaled.clamp(-high, high)
            size = bounded.abs()
            step = torch.where(size < 2, 0.5, torch.where(size < 4, 1.0, 2.0)).to(scaled)
            return (bounded / step).round() * step
        if saturate:
            return scaled.clamp(-high, high).to(FLOATS[stored]).to(scaled.dtype)
        rounded = scaled.to(FLOATS[stored]).to(scaled.dtype)
        # this type has no infinity, and torch saturates it: what rounds beyond the largest is no number
        return rounded.masked_fill(scaled.abs() > E4M3FN_TIE, torch.nan) if stored == "float8_e4m3fn" else rounded

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        scaled, _, ctx.high, _ = inputs
        ctx.save_for_backward(scaled)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        (scaled,) = ctx.saved_tensors
        return gradient * (scaled.abs() <= ctx.high), None, None, None


@dataclass(frozen=True)
class Operand:
    """One of the real numbers that a quantised operator computes with.

    Args:
        place: Which of the node's inputs it is.
        numbers: What the input holds, less its zero point.
        scale: What one step of them is worth, shaped to go with them; None where they are real as they are.
        scale_place: Which of the node's inputs the scale is.
    """

    place: int
    numbers: Tensor
    scale: Tensor | None = None
    scale_place: int | None = None

    @property
    def value(self) -> Tensor:
        """The real numbers."""
        return self.numbers if self.scale is None else (self.numbers * self.scale).to(self.scale.dtype)


@dataclass(frozen=True)
class Real:
    """What a quantised operator means on real numbers.

    Args:
        op_type: The operator of the standard domain that it stands for.
        function: Computes that from the operands.
        operands: What it computes with.
        step: What one step of the result is worth; None where the result is real.
        bounds: The smallest and the largest real number that such a result can stand for.
        opset: The version of the standard domain that gives the operator its meaning.
    """

    op_type: str
    function: Callable[..., Any]
    operands: tuple[Operand, ...]
    step: Tensor | None = None
    bounds: tuple[Tensor, Tensor] | None = None
    opset: int = 13


def bounds_of(step: Tensor, zero_point: Tensor | None, stored: str) -> tuple[Tensor, Tensor]:
    """Return the smallest and the largest real number that numbers of a type stand for."""
    shift = torch.zeros_like(step) if zero_point is None else zero_point.to(step)
    low, high = limits(stored)
    return (low - shift) * step, (high - shift) * step


def coarse(x: Tensor, block_size: int) -> Tensor:
    """Return numbers as a product of 8-bit integers sees them: of each block of a row 127 steps to its largest."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    blocks = torch.nn.functional.pad(wide, (0, -x.shape[-1] % block_size)).unflatten(-1, (-1, block_size))
    largest = blocks.detach().abs().amax(-1, keepdim=True)
    steps = torch.where(largest > 0, 127 / largest, 0.0)
    rounded = quantise(blocks * steps, None, "int8", fitted=True) * (largest / 127)
    return rounded.flatten(-2)[..., : x.shape[-1]]


def spread(value: Tensor, like: Tensor, axis: int, block_size: int = 0) -> Tensor:
    """Shape a scale or zero point to go with a tensor: one in all, one per slice of an axis, or one per block."""
    if value.numel() == 1 and value.dim() <= 1:
        return value.reshape(())
    if block_size:
        return value.repeat_interleave(block_size, axis).narrow(axis, 0, like.shape[axis])
    if value.dim() > 1:
        return value
    return value.reshape(-1, *[1] * (like.dim() - 1 - axis % like.dim()))


def exact(terms: int, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Return tensors of 8-bit differences in a float type in which a sum of that many products is exact.

    Where nothing is rounded no sum is exact, and float32 does.
    """
    small = not _rounding.get() or (isinstance(terms, int) and terms * 255 * 255 < EXACT_SUM)
    wide = torch.float32 if small else torch.float64
    for tensor in tensors:
        wide = torch.promote_types(wide, tensor.dtype)
    return tuple(t.to(wide) for t in tensors)
