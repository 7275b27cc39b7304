"""FullGrad."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from onnxsal.entries import Method
from onnxsal.errors import UsageError
from onnxsal.hookspecs import hookimpl
from onnxsal.methods._cam import maps_of, require_one_input
from onnxsal.places import channels_last
from onnxsal.types import Feeds, Score

if TYPE_CHECKING:
    from torch import Tensor


def explain(score: Score, feeds: Feeds) -> Feeds:
    """The input's share of the score and that of every bias on the way to it, laid over the picture.

    Of convolutions and rectifiers alone, the input times its gradient and the biases times theirs sum to the score.
    Shown is the size of each share, stretched to reach from 0 to 1 in each layer, summed over channels and layers.
    Srinivas and Fleuret 2019, Full-Gradient Representation for Neural Network Visualization (arXiv 1905.00780).
    """
    require_one_input(feeds, "full_grad")
    if not any("Conv" in node.op_type for node in score.nodes):
        raise UsageError(
            "no convolution lies between the input and the score", where="full_grad", hint="use integrated_gradients"
        )
    layers = [maps_of(score, feeds, name, share) for name, share in shares(score, feeds)]
    maps = [m for m in layers if m is not None]
    total = sum(m.resampled(_stretched(m.activations.abs())).sum(1) for m in maps)
    return maps[0].over_input(total)  # type: ignore[arg-type]


def shares(score: Score, feeds: Feeds) -> Iterator[tuple[str, Tensor]]:
    """Yield by ONNX value what each input, and each bias on the way, adds to the score, channels on axis 1."""
    biases = {name: (bias, by_channel) for name, bias, by_channel in _biases(score)}
    slopes = score.layer(*feeds, *biases).gradients(feeds)
    for name, value in feeds.items():
        share = value * slopes[name]
        yield name, share.movedim(-1, 1) if channels_last(value.shape) else share
    for name, (bias, by_channel) in biases.items():
        slope = slopes[name]
        yield name, (bias.reshape(-1, *[1] * (slope.ndim - 2)) if by_channel else bias) * slope


def _stretched(values: Tensor) -> Tensor:
    """Return each example's values on a scale from their least to their greatest; flat ones are 0."""
    import torch

    axes = tuple(range(1, values.ndim))
    low, high = values.amin(axes, keepdim=True), values.amax(axes, keepdim=True)
    return torch.where(high > low, (values - low) / (high - low), 0)


def _biases(score: Score) -> Iterator[tuple[str, Tensor, bool]]:
    """Yield values on the way, what is added to make them whatever is fed, and whether that goes by channel."""
    for node in score.nodes:
        constants = [score.constant(name) if name else None for name in node.inputs]
        bias = _bias(node, constants)
        if bias is not None:
            yield node.outputs[0], bias, node.op_type in _BY_CHANNEL


_BY_CHANNEL = {"Conv", "ConvTranspose", "BatchNormalization"}


def _bias(node: Any, constants: Sequence[Tensor | None]) -> Tensor | None:
    match node.op_type, constants:
        case "Conv" | "ConvTranspose", [_, _, bias]:
            return bias
        case "Gemm", [_, _, bias]:
            return None if bias is None else bias * node.attributes.get("beta", 1.0)
        case "BatchNormalization", [_, scale, bias, mean, variance]:
            if scale is None or bias is None or mean is None or variance is None:
                return None
            return bias - mean * scale / (variance + node.attributes.get("epsilon", 1e-5)).sqrt()
        case "Add", [left, right]:
            return right if left is None else left
        case "Sub", [left, right]:
            return left if right is None else -right
    return None


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("full_grad", explain)
