"""Class activation maps: which layer is looked at, and how its map is laid over the input."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onnxsal.errors import UsageError
from onnxsal.places import channels_last
from onnxsal.types import Feeds, Score

if TYPE_CHECKING:
    from torch import Tensor

CHANNELS_AT_ONCE = 16
"""How many channels are tried at a time by the methods that try each: what bounds their memory."""

MOST_APART = 8
"""How many tokens may stand before those of the picture: class and distillation tokens, registers."""

_NORMS = frozenset({"LayerNormalization", "SimplifiedLayerNormalization", "SkipLayerNormalization"})
_PICKS = frozenset({"Gather", "Slice", "Split"})
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
class Layout:
    """How a layer holds its channels and places.

    Args:
        channels: Which axis counts the channels once an axis of a lone call is left out: 1, or -1.
        grid: The places, where one axis counts them all: tokens, row by row.
        apart: How many tokens stand before the grid and are no places: class tokens, registers.
        lone: Whether the call is one example behind an axis of its own.
    """

    channels: int = 1
    grid: tuple[int, ...] = ()
    apart: int = 0
    lone: bool = False

    def maps(self, value: Tensor) -> Tensor:
        """Return a layer's value as feature maps of shape [examples, channels, *places]."""
        bare = value.squeeze(1) if self.lone else value
        if self.grid:
            bare = bare[:, self.apart :].unflatten(1, self.grid)
        return bare.movedim(self.channels, 1)

    def over(self, masks: Tensor) -> Tensor:
        """Return masks of shape [masks, *places] such that each multiplies a layer's value; other tokens are kept."""
        import torch

        if self.grid:
            kept = masks.new_ones(len(masks), self.apart)
            bare = torch.cat([kept, masks.flatten(1)], 1).unsqueeze(-1)
        else:
            bare = masks.unsqueeze(self.channels)
        return bare.unsqueeze(1) if self.lone else bare


@dataclass(frozen=True)
class Maps:
    """The feature maps of a layer for the examples at hand.

    Args:
        score: The explained number.
        feeds: The one explained input.
        layer: The ONNX name of the feature maps.
        activations: The feature maps, shape [examples, channels, *places].
        layout: How the layer itself holds them.
    """

    score: Score
    feeds: Feeds
    layer: str
    activations: Tensor
    layout: Layout

    @property
    def gradients(self) -> Tensor:
        """How the score moves with the feature maps, shaped like them."""
        return self.layout.maps(self.score.layer(self.layer).gradients(self.feeds)[self.layer])

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
        value = inner.feeds[self.layer]
        axis = value.ndim - 1 if self.layout.channels == -1 else 2 if self.layout.lone else 1
        without = [value.index_fill(axis, torch.tensor([c], device=value.device), 0) for c in channels]
        return inner({self.layer: torch.cat(without)}).reshape(len(without), -1).T

    def scores_at(self, masks: Tensor) -> Tensor:
        """Return the score of the layer seen through each mask of shape [masks, *places]."""
        import torch

        inner = self.score.at(self.layer)
        value = inner.feeds[self.layer]
        seen = [value * mask for mask in self.layout.over(masks.to(value.dtype)).split(1)]
        return inner({self.layer: torch.cat(seen)}).reshape(len(seen), -1).T

    def _bare(self, value: Tensor) -> Tensor:
        return value.squeeze(1) if self.layout.lone and value.ndim > self.activations.ndim else value

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
    mixing = None if maps is None else _mixing(score, maps.layer)
    if maps is None or mixing:
        maps = _token_maps(score, feeds)
    if maps is None:
        raise _unmapped(mixing)
    return maps


def _unmapped(mixing: str | None) -> UsageError:
    if mixing:
        return UsageError(
            f"the last feature maps are mixed by attention ({mixing}) before they reach the score, and there are no "
            "tokens that lie on a grid like the input",
            where="class activation map",
            hint="use integrated_gradients, or name a layer with -s layer=NAME to look at it all the same",
        )
    return UsageError(
        "no layer on the way to the score has channels and places like the input",
        where="class activation map",
        hint="name one with -s layer=NAME, or use integrated_gradients, which needs none",
    )


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


def by_places(maps: Maps, blur: bool) -> Tensor:
    """Return the score of the layer seen at each place alone, shape [examples, *places], asked a few places at a time.

    Args:
        maps: The feature maps.
        blur: Whether to let some of each place's neighbours through, by a Gaussian three places wide.
    """
    import torch

    shape = maps.activations.shape[2:]
    masks = torch.eye(shape.numel(), dtype=maps.activations.dtype, device=maps.activations.device).reshape(-1, *shape)
    if blur:
        masks = _blurred(masks)
    worth = [maps.scores_at(masks[some.start : some.stop]) for some in _few(len(masks))]
    return torch.cat(worth, 1).reshape(-1, *shape)


def _blurred(masks: Tensor) -> Tensor:
    """Return masks of shape [masks, *places] with half of each one moved to its neighbours, axis by axis."""
    import torch

    near = masks
    for axis in range(1, masks.ndim):
        zero = torch.zeros_like(near.narrow(axis, 0, 1))
        before = torch.cat([near.narrow(axis, 1, near.shape[axis] - 1), zero], axis)
        after = torch.cat([zero, near.narrow(axis, 0, near.shape[axis] - 1)], axis)
        near = near / 2 + (before + after) / 4
    return near


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
    """Return an inner value as feature maps; None where it has not the axes for it."""
    (value,) = feeds.values()
    layout = layout_of(activations, value)
    return None if layout is None else Maps(score, feeds, name, layout.maps(activations), layout)


def layout_of(activations: Tensor, value: Tensor) -> Layout | None:
    """Return how a layer's value holds maps that can be laid over an input; None where it holds none."""
    lone = activations.ndim >= 4 and activations.shape[:2] == (1, 1) and (value.ndim == 5 or activations.ndim == 5)
    if lone:
        activations, value = activations.squeeze(1), value.squeeze(1) if value.ndim == 5 else value
    if not activations.is_floating_point() or activations.shape[0] != value.shape[0] or not 3 <= value.ndim <= 5:
        return None
    if activations.ndim == value.ndim and activations[0, 0].numel() > 1:
        last = (
            value.ndim == 4 and not _is_like(activations.shape[2:], value) and _is_like(activations.shape[1:3], value)
        )
        return Layout(channels=-1 if last else 1, lone=lone)
    if activations.ndim == 3 and value.ndim == 4:
        return _token_layout(activations.shape[1], value, lone)
    return None


def _is_like(shape: tuple[int, ...], value: Tensor) -> bool:
    """Say whether a grid has the proportions of a picture."""
    (high, wide), (height, width) = shape, _places(value.shape)
    return min(high, wide) > 1 and high * width == wide * height


def _token_layout(count: int, value: Tensor, lone: bool) -> Layout | None:
    """Return the grid that tokens make, those before it left out: as few as leave a grid like the picture."""
    height, width = _places(value.shape)
    for apart in range(min(MOST_APART, count - 3) + 1):
        high = round(((count - apart) * height / width) ** 0.5)
        if high and (count - apart) % high == 0 and _is_like((high, (count - apart) // high), value):
            return Layout(channels=-1, grid=(high, (count - apart) // high), apart=apart, lone=lone)
    return None


def _token_maps(score: Score, feeds: Feeds) -> Maps | None:
    """Return the last tokens that lie on a grid and still count: where one token answers for all, those it last saw."""
    nodes = list(score.nodes)
    names = [node.outputs[0] for node in nodes if _makes_tokens(node, nodes)]
    values = score.layer(*names).activations(feeds) if names else {}
    (value,) = feeds.values()
    found = {name: layout_of(values[name], value) for name in names}
    layouts = {name: layout for name, layout in found.items() if layout is not None and layout.channels == -1}
    if not layouts:
        return None
    last = list(layouts)[-1]
    if layouts[last].apart and any(last in node.inputs and node.op_type in _PICKS for node in nodes):
        seen = _before_attention(nodes)
        last = next((name for name in reversed(layouts) if name in seen), last)
    return Maps(score, feeds, last, layouts[last].maps(values[last]), layouts[last])


def _makes_tokens(node: Any, nodes: Sequence[Any]) -> bool:
    """Say whether a node ends a normalisation or a sum of two ways; what adds a bias to a product does neither."""
    if node.op_type in _NORMS:
        return True
    products = {output for other in nodes if other.op_type == "MatMul" for output in other.outputs}
    made = {output for other in nodes for output in other.outputs}
    biased = len([name for name in node.inputs if name in made]) == 1 and products.intersection(node.inputs)
    return node.op_type == "Add" and not biased


def _before_attention(nodes: Sequence[Any]) -> set[str]:
    """Return the values from which the last attention is computed."""
    attention = next(
        (node for node in reversed(nodes) if node.op_type == "Softmax" or "Attention" in node.op_type), None
    )
    if attention is None:
        return set()
    seen = set(attention.inputs)
    for node in reversed(nodes):
        if seen.intersection(node.outputs):
            seen.update(node.inputs)
    return seen


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


def _mixing(score: Score, layer: str) -> str | None:
    """Return the node that mixes a layer's places by attention on the way to the score, or None."""
    moving: set[str] = {layer}
    for node in score.at(layer).nodes:
        attends = "Attention" in node.op_type
        if attends or (node.op_type == "MatMul" and all(name in moving for name in node.inputs)):
            return str(node.name or node.op_type)
        moving.update(node.outputs)
    return None


def _unfit(score: Score, feeds: Feeds, name: str) -> UsageError:
    shape = list(score.layer(name).activations(feeds)[name].shape)
    wanted = next(list(value.shape) for value in feeds.values())
    return UsageError(
        f"{name!r} of shape {shape} cannot be laid over the input of shape {wanted}: a class activation map needs "
        "[examples, channels, places…] with more than one place",
        where="layer",
        hint="leave layer out, and the last that fits is taken",
    )
