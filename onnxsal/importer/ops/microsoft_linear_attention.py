"""Linear attention as ONNX Runtime fuses it, with the gates and norms around it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from onnxsal.errors import ImportFault
from onnxsal.importer.operator import op
from onnxsal.importer.ops.attention import linear_attention

DOMAIN = "com.microsoft"


@op("LinearAttention", domain=DOMAIN)
def linear_attention_microsoft(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    past_state: Tensor | None = None,
    decay: Tensor | None = None,
    beta: Tensor | None = None,
    *,
    chunk_size: int = 64,
    kv_num_heads: int,
    q_num_heads: int,
    scale: float = 0.0,
    state_window: int = 0,
    update_rule: str = "gated_delta",
) -> tuple[Tensor, Tensor]:
    """Read from a matrix of associations that every token decays, corrects and adds to."""
    if state_window:
        raise ImportFault("a window of states is not supported", hint="export it with state_window 0")
    return linear_attention(
        query, key, value, past_state, decay, beta,
        chunk_size=chunk_size, kv_num_heads=kv_num_heads, q_num_heads=q_num_heads, scale=scale, update_rule=update_rule,
    )  # fmt: skip


@op("LinearAttentionGate", domain=DOMAIN)
def linear_attention_gate(
    a: Tensor, dt_bias: Tensor, decay_scale: Tensor, b: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Return how much linear attention decays (as a logarithm) and by what rate it learns."""
    decay = decay_scale * F.softplus(a.to(dt_bias.dtype) + dt_bias)
    return decay.to(a.dtype), None if b is None else torch.sigmoid(b)


@op("GatedRMSNorm", domain=DOMAIN)
def gated_rms_norm(
    x: Tensor, scale: Tensor, gate: Tensor, *, activation: str = "silu", epsilon: float = 1e-5
) -> Tensor:
    """Divide each group of features by the root of its mean square, scale, and let through what a gate opens."""
    known: dict[str, Callable[[Tensor], Tensor]] = {"silu": F.silu, "swish": F.silu, "sigmoid": torch.sigmoid}
    if activation not in known:
        raise ImportFault(f"activation {activation!r} is unknown", hint=f"known: {', '.join(known)}")
    wide = torch.promote_types(x.dtype, torch.float32)
    groups = x.to(wide).unflatten(-1, (-1, scale.shape[0]))
    normed = groups * torch.rsqrt(groups.square().mean(-1, keepdim=True) + epsilon) * scale.to(wide)
    return (normed.flatten(-2) * known[activation](gate.to(wide))).to(x.dtype)


@op("GatedAdd", domain=DOMAIN)
def gated_add(x: Tensor, y: Tensor, gate: Tensor, gate_weight: Tensor | None = None) -> Tensor:
    """Add as much of a second tensor as a gate lets through for each row."""
    return x + y * (gate if gate_weight is None else torch.sigmoid(gate @ gate_weight))
