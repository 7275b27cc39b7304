"""Mixtures of experts: a router chooses, for every token, the few of many small networks that answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from onnxsal.errors import ImportFault
from onnxsal.importer.operator import op
from onnxsal.importer.ops.microsoft_quantised import block_weight, unpacked
from onnxsal.importer.quantised import COARSE, coarse

DOMAIN = "com.microsoft"
PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": lambda x: F.gelu(x, approximate="tanh"),  # what ONNX Runtime's kernels compute
    "silu": F.silu,
    "identity": lambda x: x,
}


@op("MoE", domain=DOMAIN)
def mixture_of_experts(
    input: Tensor,
    router_probs: Tensor,
    fc1_experts_weights: Tensor,
    fc1_experts_bias: Tensor | None,
    fc2_experts_weights: Tensor,
    fc2_experts_bias: Tensor | None = None,
    fc3_experts_weights: Tensor | None = None,
    fc3_experts_bias: Tensor | None = None,
    *,
    activation_alpha: float = 1.0,
    activation_beta: float = 0.0,
    activation_type: str = "relu",
    k: int = 1,
    normalize_routing_weights: int = 0,
    swiglu_fusion: int = 0,
    swiglu_limit: float | None = None,
    swiglu_limit_after_activation: int = 0,
    use_sparse_mixer: int = 0,
) -> Tensor:
    """Let the k experts that a router likes best answer for each token, weighed by how much it likes them.

    Every expert answers every token, and those not chosen weigh nothing: a trace then holds whichever are chosen.
    """
    del use_sparse_mixer  # ONNX Runtime's CPU kernel does not read it
    chances = torch.softmax(router_probs, -1)
    return _mixture(
        input, _shares(chances, chances, k, bool(normalize_routing_weights)),
        Layer(fc1_experts_weights, fc1_experts_bias), Layer(fc2_experts_weights, fc2_experts_bias),
        None if fc3_experts_weights is None else Layer(fc3_experts_weights, fc3_experts_bias),
        activation=activation_type, alpha=activation_alpha, beta=activation_beta, fusion=swiglu_fusion,
        limit=swiglu_limit, limit_after=bool(swiglu_limit_after_activation),
    )  # fmt: skip


@op("MoEGroupRouter", domain=DOMAIN)
def group_router(
    logits: Tensor,
    expert_bias: Tensor,
    projection_weight: Tensor | None = None,
    *,
    group_topk: int = 2,
    n_group: int = 1,
    router_sentinel: float = -10000.0,
    top_k: int,
    topk_group: int = 1,
    n_outputs: int = 1,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Say how much a router likes each expert: those it chooses, from the groups it likes best, or all of them."""
    tokens = logits.reshape(-1, logits.shape[-1]).to(torch.promote_types(logits.dtype, torch.float32))
    liked = torch.sigmoid(tokens if projection_weight is None else F.linear(tokens, projection_weight.to(tokens.dtype)))
    biased = liked + expert_bias
    if n_outputs > 1:
        return None, biased, liked
    groups = biased.unflatten(1, (n_group, -1))
    best = groups.topk(min(group_topk, groups.shape[2]), 2).values.sum(2)
    allowed = _among(best, topk_group).unsqueeze(2).expand_as(groups).flatten(1)
    chosen = _among(biased.masked_fill(~allowed, float("-inf")), top_k)
    return torch.where(chosen, liked.clamp(min=1e-20).log(), router_sentinel).to(logits.dtype), None, None


def _among(scores: Tensor, k: int) -> Tensor:
    """Say of each score whether it is among the k largest of its row; of equal ones the first are."""
    places = torch.sort(scores, dim=-1, descending=True, stable=True).indices[:, :k]
    return torch.zeros_like(scores, dtype=torch.bool).scatter(1, places, True)


@op("QMoE", domain=DOMAIN)
def quantised_mixture_of_experts(
    input: Tensor,
    router_probs: Tensor,
    fc1_experts_weights: Tensor,
    fc1_scales: Tensor | None,
    fc1_experts_bias: Tensor | None,
    fc2_experts_weights: Tensor,
    fc2_scales: Tensor | None = None,
    fc2_experts_bias: Tensor | None = None,
    fc3_experts_weights: Tensor | None = None,
    fc3_scales: Tensor | None = None,
    fc3_experts_bias: Tensor | None = None,
    fc1_zero_points: Tensor | None = None,
    fc2_zero_points: Tensor | None = None,
    fc3_zero_points: Tensor | None = None,
    router_weights: Tensor | None = None,
    fc1_global_scale: Tensor | None = None,
    fc2_global_scale: Tensor | None = None,
    fc1_act_scale: Tensor | None = None,
    fc2_act_scale: Tensor | None = None,
    fc1_act_block_scale: Tensor | None = None,
    fc2_act_block_scale: Tensor | None = None,
    *,
    accuracy_level: int = 0,
    activation_alpha: float = 1.0,
    activation_beta: float = 0.0,
    activation_type: str = "relu",
    block_size: int | None = None,
    constants: tuple[int, ...] = (),
    expert_weight_bits: int = 4,
    fc1_expert_weight_bits: int | None = None,
    fc2_expert_weight_bits: int | None = None,
    fc3_expert_weight_bits: int | None = None,
    k: int = 1,
    normalize_routing_weights: int = 0,
    quant_type: str = "int",
    swiglu_fusion: int = 0,
    swiglu_limit: float | None = None,
    swiglu_limit_after_activation: int = 0,
    use_sparse_mixer: int = 0,
    weights_prepacked: int = -1,
) -> Tensor:
    """Let the k experts that a router likes best answer, whose weights are stored in few bits.

    ONNX Runtime's CPU kernel weighs them so that they share one, and weights of the router that come apart as asked.
    It rounds to 8 bits what it multiplies with constant weights of 8 bits in blocks, or of 4 at accuracy level 4.
    """
    del use_sparse_mixer  # no CPU kernel reads it
    others = (fc1_global_scale, fc2_global_scale, fc1_act_scale, fc2_act_scale, fc1_act_block_scale)
    if quant_type != "int" or any(x is not None for x in (*others, fc2_act_block_scale)):
        raise ImportFault(f"experts of quant_type {quant_type!r} are not supported", hint="quant_type int is")
    if weights_prepacked == 1:
        raise ImportFault("weights packed for one kind of processor cannot be read", hint="export them unpacked")

    def layer(
        places: set[int],
        packed: Tensor,
        scales: Tensor | None,
        zero: Tensor | None,
        bias: Tensor | None,
        bits: int | None,
    ) -> Layer:
        """Return one layer of each expert, whose weights, scales and zero points are the inputs at some places."""
        bits = expert_weight_bits if bits is None else bits
        constant = places - ({max(places)} if zero is None else set()) <= set(constants)
        rounds = constant and block_size and (bits == 8 or (bits == 4 and accuracy_level == COARSE))
        return Layer(_stored(packed, scales, zero, bits, block_size), bias, block_size if rounds else None)

    third = fc3_experts_weights
    if router_weights is None:
        shares = _shares(router_probs, torch.softmax(router_probs, -1), k, normalised=True)
    else:
        shares = _shares(router_probs, router_weights, k, bool(normalize_routing_weights))
    return _mixture(
        input, shares,
        layer({2, 3, 11}, fc1_experts_weights, fc1_scales, fc1_zero_points, fc1_experts_bias, fc1_expert_weight_bits),
        layer({5, 6, 12}, fc2_experts_weights, fc2_scales, fc2_zero_points, fc2_experts_bias, fc2_expert_weight_bits),
        None if third is None else layer(
            {8, 9, 13}, third, fc3_scales, fc3_zero_points, fc3_experts_bias, fc3_expert_weight_bits
        ),
        activation=activation_type, alpha=activation_alpha, beta=activation_beta, fusion=swiglu_fusion,
        limit=swiglu_limit, limit_after=bool(swiglu_limit_after_activation),
    )  # fmt: skip


def _stored(
    packed: Tensor, scales: Tensor | None, zero_points: Tensor | None, bits: int, block_size: int | None
) -> Tensor:
    """Return the weights [experts, outputs, inputs] that are stored in few bits, a scale a block or a row of each."""
    if scales is None:
        raise ImportFault("experts of few bits have no scales", hint="export fc1_scales and fc2_scales")
    experts, rows, length = packed.shape
    if zero_points is not None and not block_size:  # they then lie packed along the rows
        zero_points = unpacked(zero_points, bits).to(scales.dtype)
    width = length * 8 // bits
    weights = block_weight(packed, scales, zero_points, None, K=width, N=experts * rows, bits=bits,
                           block_size=block_size or width)  # fmt: skip
    return weights.reshape(experts, rows, width)


class Layer(NamedTuple):
    """One layer of each expert; with a block size it rounds to 8 bits what it multiplies."""

    weights: Tensor
    bias: Tensor | None
    block_size: int | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Return what each expert's layer gives, [tokens, experts, features], for tokens or for experts' features."""
        x = x if self.block_size is None else coarse(x, self.block_size)
        y = torch.einsum("nh,eih->nei" if x.dim() == 2 else "neh,eih->nei", x, self.weights)
        return y if self.bias is None else y + self.bias


def _mixture(
    input: Tensor,
    shares: Tensor,
    first: Layer,
    second: Layer,
    third: Layer | None,
    *,
    activation: str,
    alpha: float,
    beta: float,
    fusion: int,
    limit: float | None,
    limit_after: bool,
) -> Tensor:
    """Return the experts' answers, each as much as it counts."""
    tokens = input.reshape(-1, input.shape[-1])
    gate, up = _halves(first(tokens), fusion if activation == "swiglu" else 0)
    if third is not None:
        up = third(tokens)
    if activation == "swiglu":
        answer = _swiglu(gate, up, alpha, beta, limit, limit_after)
    elif activation in PLAIN:
        answer = PLAIN[activation](gate)
        answer = answer if up is None else answer * up
    else:
        raise ImportFault(f"activation_type {activation!r} is unknown", hint=f"known: swiglu, {', '.join(PLAIN)}")
    return torch.einsum("ne,neh->nh", shares, second(answer)).reshape(input.shape)


def _halves(hidden: Tensor, fusion: int) -> tuple[Tensor, Tensor | None]:
    """Take gate and value apart: side by side, or one after the other."""
    if fusion == 0:
        return hidden, None
    if fusion == 1:
        return hidden[..., 0::2], hidden[..., 1::2]
    gate, up = hidden.chunk(2, -1)
    return gate, up


def _swiglu(
    gate: Tensor, up: Tensor | None, alpha: float, beta: float, limit: float | None, limit_after: bool
) -> Tensor:
    if up is None:
        raise ImportFault("swiglu has no second projection", hint="swiglu_fusion 1 or 2, or fc3_experts_weights")
    if limit is None:
        return gate * torch.sigmoid(alpha * gate) * (up + beta)
    gate = gate if limit_after else gate.clamp(max=limit)
    open_gate = gate * torch.sigmoid(alpha * gate)
    open_gate = open_gate.clamp(max=limit) if limit_after else open_gate
    return open_gate * (up.clamp(-limit, limit) + beta)


def _shares(liked: Tensor, weights: Tensor, k: int, normalised: bool) -> Tensor:
    """Return how much each expert counts for each token, nothing where it is not among the k that are liked best."""
    places = liked.topk(k, -1).indices
    best = weights.gather(-1, places)
    best = best / best.sum(-1, keepdim=True) if normalised else best
    return torch.zeros_like(weights).scatter(-1, places, best)
