"""Mixtures of experts: a router chooses, for every token, the few of many small networks that answer."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from onnxsal.errors import ImportFault
from onnxsal.importer.operator import op

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
    tokens = input.reshape(-1, input.shape[-1])
    hidden = _expert(tokens, fc1_experts_weights, fc1_experts_bias)
    gate, up = _halves(hidden, swiglu_fusion if activation_type == "swiglu" else 0)
    if fc3_experts_weights is not None:
        up = _expert(tokens, fc3_experts_weights, fc3_experts_bias)
    if activation_type == "swiglu":
        answer = _swiglu(gate, up, activation_alpha, activation_beta, swiglu_limit, bool(swiglu_limit_after_activation))
    elif activation_type in PLAIN:
        answer = PLAIN[activation_type](gate)
        answer = answer if up is None else answer * up
    else:
        raise ImportFault(f"activation_type {activation_type!r} is unknown", hint=f"known: swiglu, {', '.join(PLAIN)}")
    answers = torch.einsum("nei,ehi->neh", answer, fc2_experts_weights)
    answers = answers if fc2_experts_bias is None else answers + fc2_experts_bias
    shares = _shares(router_probs, k, bool(normalize_routing_weights))
    return torch.einsum("ne,neh->nh", shares, answers).reshape(input.shape)


def _expert(tokens: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
    """Return what one layer of each expert gives for each token: [tokens, experts, features]."""
    y = torch.einsum("nh,eih->nei", tokens, weights)
    return y if bias is None else y + bias


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


def _shares(router: Tensor, k: int, normalised: bool) -> Tensor:
    """Return how much each expert counts for each token, nothing where it is not among the best k."""
    chances = torch.softmax(router, -1)
    best, places = chances.topk(k, -1)
    best = best / best.sum(-1, keepdim=True) if normalised else best
    return torch.zeros_like(chances).scatter(-1, places, best)
