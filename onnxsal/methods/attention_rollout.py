"""Attention rollout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from onnxsal.entries import Method
from onnxsal.errors import UsageError
from onnxsal.hookspecs import hookimpl
from onnxsal.methods._cam import Maps, layout_of, require_one_input
from onnxsal.types import Feeds, Score

if TYPE_CHECKING:
    from torch import Tensor

WHERE = "attention_rollout"
CARRYING = ("Cast", "Dropout", "Identity")
"""What may stand between the attention's softmax and the product with the values."""


def explain(score: Score, feeds: Feeds, *, residual: float = 0.5) -> Feeds:
    """From where attention brought what the model ends with, layer by layer, whatever the target.

    The heads are averaged, and what passes a layer by is taken for half of what comes out. Where a token of its own
    answers for a picture, it is asked; else all tokens are, on the average. Abnar and Zuidema 2020, Quantifying
    Attention Flow in Transformers (arXiv 2005.00928).

    Args:
        residual: The part of a layer's output that passed it by.
    """
    require_one_input(feeds, WHERE)
    names = list(_probabilities(score.nodes))
    values = score.layer(*names).activations(feeds) if names else {}
    ((name, value),) = feeds.items()
    maps = [heads for n in names if (heads := _one_head(values[n], value.shape[0])) is not None]
    if not maps or len({m.shape for m in maps}) > 1:
        raise _no_rollout(score.nodes, maps)
    flow = rolled(maps, residual)
    layout = layout_of(flow, value)
    if layout is None or not layout.grid:
        return {name: _over_tokens(flow.mean(1), value)}
    seen = flow[:, : layout.apart].mean(1) if layout.apart else flow.mean(1)
    places = layout.maps(seen.unsqueeze(-1))
    return Maps(score, feeds, names[-1], places, layout).over_input(places.squeeze(1))


def rolled(maps: Sequence[Tensor], residual: float) -> Tensor:
    """Return how much of each last token came from each first one, shape [examples, tokens, tokens]."""
    import torch

    flow = torch.eye(maps[0].shape[-1], dtype=maps[0].dtype, device=maps[0].device)
    itself = residual * flow
    for attention in maps:
        flow = ((1 - residual) * attention + itself) @ flow
    return flow


def _probabilities(nodes: Sequence[Any]) -> Iterator[str]:
    """Yield the values that say how much each token attends to each: softmax outputs that weigh a sum of others."""
    readers: dict[str, list[Any]] = {}
    for node in nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    for node in nodes:
        if node.op_type == "Softmax" and _weighs(node.outputs[0], readers):
            yield node.outputs[0]


def _weighs(name: str, readers: dict[str, list[Any]]) -> bool:
    for node in readers.get(name, ()):
        if node.op_type == "MatMul" and node.inputs[0] == name:
            return True
        if node.op_type in CARRYING and _weighs(node.outputs[0], readers):
            return True
    return False


def _one_head(attention: Tensor, examples: int) -> Tensor | None:
    """Return the heads' average, shape [examples, tokens, tokens]; None where tokens do not attend to themselves."""
    if attention.ndim < 3 or attention.shape[-1] != attention.shape[-2] or attention.shape[0] % examples:
        return None
    heads: Tensor = attention.reshape(examples, -1, *attention.shape[-2:])
    return heads.mean(1)


def _over_tokens(worth: Tensor, value: Tensor) -> Tensor:
    """Return each token's number shared out evenly over what the input holds of the token."""
    if value.ndim < 2 or value.shape[1] != worth.shape[1]:
        raise UsageError(
            f"{worth.shape[1]} tokens attend to each other, the input has shape {list(value.shape)}",
            where=WHERE,
            hint="tokens have to be the input's second axis, or lie on a grid like its picture",
        )
    rest = value[0, 0].numel()
    shared = (worth / rest).reshape(*worth.shape, *(1,) * (value.ndim - 2))
    return shared.expand_as(value).to(value.dtype).clone()


def _no_rollout(nodes: Sequence[Any], maps: Sequence[Tensor]) -> UsageError:
    fused = next((node for node in nodes if "Attention" in node.op_type), None)
    if fused is not None:
        what = (
            f"the attention of node {fused.name or fused.op_type!r} is fused ({fused.op_type}) and cannot be seen into"
        )
        hint = "export the model without fusing its attention, or use integrated_gradients"
    elif maps:
        what = "the layers attend to different tokens: windows, or several resolutions"
        hint = "use grad_cam or integrated_gradients, which need no one set of tokens"
    else:
        what = "no attention lies between the input and the score: no softmax that weighs tokens"
        hint = "use integrated_gradients, which needs none"
    return UsageError(what, where=WHERE, hint=hint)


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("attention_rollout", explain, gradient=False, layers=True)
