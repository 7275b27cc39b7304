"""Class activation maps: which layer is looked at, and how its map is laid over the input."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnxsal.errors import UsageError
from onnxsal.places import channels_last
from onnxsal.types import Feeds, Score

if TYPE_CHECKING:
    from torch import Tensor

CHANNELS_AT_ONCE = 16
"""How many channels are tried at a time by the methods that try each: what bounds their memory."""

_POOLS = ("AveragePool", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "LpPool", "MaxPool")
_ENDS = frozenset(
    {
        "Einsum",
        "Flatten",
        "Gather",
        "GatherElements",
        "GatherND",
        "Gemm",
        "GRU",
        "LSTM",
        "MatMul",
        "MatMulInteger",
        "NonZero",
        "QLinearMatMul",
        "Reshape",
        "RNN",
        "Shape",
        "Size",
        "Squeeze",
        "TopK",
        "Transpose",
        "Unsqueeze",
    }
)
"""Operators behind which an axis may no longer be the channel or the place it was."""


@dataclass(frozen=True)
class Maps:
    """The feature maps of a layer for the examples at hand.

    Args:
        score: The explained number.
        feeds: The one explained input.
        layer: The ONNX name of the feature maps.
        activations: The feature maps, shape [examples, channels, *places].
        lone: Whether the call is one example behind an axis of its own, which is left out of the activations.
    """

    score: Score
    feeds: Feeds
    layer: str
    activations: Tensor
    lone: bool

    @property
    def gradients(self) -> Tensor:
        """How the score moves with the feature maps, shaped like them."""
        gradient = self.score.layer(self.layer).gradients(self.feeds)[self.layer]
        return gradient.squeeze(1) if self.lone else gradient

    def weighted(self, weights: Tensor, relu: bool) -> Feeds:
        """Return the sum of the feature maps, each times its weight, laid over the input; weights may vary by place."""
        total = (weights * self.activations).sum(1)
        return self.over_input(total.clamp_min(0) if relu else total)

    def over_input(self, places: Tensor) -> Feeds:
        """Return one number per place, shape [examples, *places], resampled to the input and alike in all channels."""
        return {
            name: self._beside(value, self.resampled(places.unsqueeze(1))).expand_as(value).to(value.dtype).clone()
            for name, value in self.feeds.items()
        }

    def resampled(self, maps: Tensor) -> Tensor:
        """Return maps of shape [examples, channels, *places] at the input's own places, by linear interpolation."""
        import torch

        (value,) = self.feeds.values()
        modes = {1: "linear", 2: "bilinear", 3: "trilinear"}
        size = _places(self._bare(value).shape)
        mode = modes[len(size)]
        return torch.nn.functional.interpolate(maps, size=size, mode=mode, align_corners=False)

    def scores_under(self, masks: Tensor) -> Tensor:
        """Return the score of the input seen through each mask of shape [examples, masks, *input's places]."""
        import torch

        ((name, value),) = self.feeds.items()
        seen = [self._beside(value, mask.unsqueeze(1)) * value for mask in masks.unbind(1)]
        return self.score({name: torch.cat(seen)}).reshape(len(seen), -1).T

    def scores_without(self, channels: Iterable[int]) -> Tensor:
        """Return the score with each of the channels, in turn, set to zero."""
        import torch

        inner = self.score.at(self.layer)
        maps = inner.feeds[self.layer]
        axis = 2 if self.lone else 1
        without = [maps.index_fill(axis, torch.tensor([c], device=maps.device), 0) for c in channels]
        return inner({self.layer: torch.cat(without)}).reshape(len(without), -1).T

    def _bare(self, value: Tensor) -> Tensor:
        return value.squeeze(1) if self.lone and value.ndim > self.activations.ndim else value

    def _beside(self, value: Tensor, maps: Tensor) -> Tensor:
        """Return maps of one channel with the axes of an input."""
        bare = self._bare(value)
        maps = maps.movedim(1, -1) if channels_last(bare.shape) else maps
        return maps if bare.ndim == value.ndim else maps.unsqueeze(1)


def feature_maps(score: Score, feeds: Feeds, layer: str) -> Maps:
    """Return the feature maps of the named layer, or of the last that keeps places apart where no name is given.

    Raises:
        UsageError: the layer, or every layer, holds no feature maps that can be laid over the input.
    """
    require_one_input(feeds, "class activation map")
    if layer:
        name = score.layer(layer).names[0]
        maps = _maps_at(score, feeds, name)
        if maps is None:
            raise _unfit(score, feeds, name)
        return maps
    found = (_maps_at(score, feeds, name) for name in _last_first(score))
    maps = next((m for m in found if m is not None), None)
    if maps is None:
        raise UsageError(
            "no layer on the way to the score has channels and places like the input",
            where="class activation map",
            hint="name one with -s layer=NAME, or use integrated_gradients, which needs none",
        )
    _require_places(score, maps)
    return maps


def require_one_input(feeds: Feeds, where: str) -> None:
    """Refuse several inputs where one map is laid over one picture."""
    if len(feeds) != 1:
        raise UsageError(
            f"a map lies over one input, {len(feeds)} are explained: {', '.join(feeds)}",
            where=where,
            hint="choose the picture: --explain-input NAME, inputs=[NAME]",
        )


def by_channels(maps: Maps, work: Callable[[range], Tensor]) -> Tensor:
    """Return what the work says of every channel, shape [examples, channels], asked a few channels at a time."""
    import torch

    return torch.cat([work(some) for some in _few(maps.activations.shape[1])], 1)


def per_channel(weights: Tensor) -> Tensor:
    """Return numbers of shape [examples, channels, *places] averaged over the places, which stay as axes of one."""
    return weights.mean(tuple(range(2, weights.ndim)), keepdim=True)


def beside_places(weights: Tensor, maps: Maps) -> Tensor:
    """Return weights of shape [examples, channels] such that they multiply feature maps."""
    return weights.reshape(*weights.shape, *(1,) * (maps.activations.ndim - 2))


def _places(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(shape[1:-1] if channels_last(shape) else shape[2:])


def _few(count: int) -> Iterator[range]:
    for start in range(0, count, CHANNELS_AT_ONCE):
        yield range(start, min(start + CHANNELS_AT_ONCE, count))


def _maps_at(score: Score, feeds: Feeds, name: str) -> Maps | None:
    return maps_of(score, feeds, name, score.layer(name).activations(feeds)[name])


def maps_of(score: Score, feeds: Feeds, name: str, activations: Tensor) -> Maps | None:
    """Return an inner value, shape [examples, channels, *places], as feature maps; None where it has not the axes."""
    (value,) = feeds.values()
    lone = activations.ndim == 5 and activations.shape[:2] == (1, 1) and value.ndim in {4, 5}
    if lone:
        activations, value = activations.squeeze(1), value.squeeze(1) if value.ndim == 5 else value
    same_axes = activations.ndim == value.ndim and 3 <= value.ndim <= 5 and activations.shape[0] == value.shape[0]
    if not same_axes or not activations.is_floating_point() or activations[0, 0].numel() < 2:
        return None
    return Maps(score, feeds, name, activations, lone)


def _last_first(score: Score) -> Iterator[str]:
    """Yield the values that convolutions made, or that keep their axes, from the score back to the input.

    What pooling leaves is passed over: the layer before it knows the places better.
    """
    kept: dict[str, bool] = {}
    for node in score.nodes:
        convolves = "Conv" in node.op_type and not node.op_type.startswith("Nhwc")
        if convolves or (node.op_type not in _ENDS and any(name in kept for name in node.inputs)):
            kept |= {name: node.op_type not in _POOLS for name in node.outputs if name}
    return (name for name, wanted in reversed(kept.items()) if wanted)


def _require_places(score: Score, maps: Maps) -> None:
    """Refuse a layer that was found, not named, where attention mixes its places on the way to the score."""
    moving: set[str] = {maps.layer}
    for node in score.at(maps.layer).nodes:
        attends = "Attention" in node.op_type
        if attends or (node.op_type == "MatMul" and all(name in moving for name in node.inputs)):
            raise UsageError(
                f"the last feature maps, {maps.layer!r}, are mixed by attention ({node.name or node.op_type}) "
                "before they reach the score",
                where="class activation map",
                hint=f"use integrated_gradients, or -s layer={maps.layer} to look at that layer all the same",
            )
        moving.update(node.outputs)


def _unfit(score: Score, feeds: Feeds, name: str) -> UsageError:
    shape = list(score.layer(name).activations(feeds)[name].shape)
    wanted = next(list(value.shape) for value in feeds.values())
    return UsageError(
        f"{name!r} of shape {shape} cannot be laid over the input of shape {wanted}: a class activation map needs "
        "[examples, channels, places…] with more than one place",
        where="layer",
        hint="leave layer out, and the last that fits is taken",
    )
