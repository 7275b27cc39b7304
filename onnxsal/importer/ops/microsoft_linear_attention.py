"""Linear attention as ONNX Runtime fuses it, with the gates, norms and convolutions around it."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import torch
from torch import Tensor
from torch.nn import functional as F

from onnxsal.errors import ImportFault
from onnxsal.importer.operator import op
from onnxsal.importer.ops.attention import RULES, activated, associate, causal_convolution, linear_attention
from onnxsal.importer.packed import Requests

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


@op("CausalConvWithState", domain=DOMAIN)
def causal_conv_with_state_microsoft(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    past_state: Tensor | None = None,
    *,
    activation: str = "none",
    channels_last: int = 0,
    dilation: int = 1,
    input_channel_offset: int = 0,
    input_channels: int = 0,
    ndim: int = 1,
    state_channels_last: int = -1,
    state_length: int = 0,
    state_update_capacity: int = 0,
    state_window: int = 0,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Convolve each channel with its own past, and hand on the end of it."""
    other = (input_channel_offset, input_channels, state_length, state_update_capacity, state_window)
    if ndim != 1 or state_channels_last != -1 or any(other):
        raise ImportFault(
            "a convolution over several axes, or whose state has another form, is for other processors",
            hint="on the CPU ONNX Runtime runs ndim 1, with a state as long as the kernel reaches back",
        )
    if not channels_last:
        return *causal_convolution(input, weight, bias, past_state, activation, dilation), None
    x, past = (None if v is None else v.flatten(2).transpose(1, 2) for v in (input, past_state))
    assert x is not None
    answers = causal_convolution(x, weight, bias, past, activation, dilation)
    y, state = (v.transpose(1, 2).unflatten(2, input.shape[2:]) for v in answers)
    return y, state, None


@op("VarlenCausalConvWithState", domain=DOMAIN)
def varlen_causal_conv_with_state(
    input: Tensor,
    weight: Tensor,
    cumulative_sequence_length: Tensor,
    bias: Tensor | None,
    initial_state: Tensor,
    capture_count: Tensor | None = None,
    kernel_delta: Tensor | None = None,
    previous_mask: Tensor | None = None,
    *,
    activation: str = "none",
    delta_offset: int = 0,
    dilation: int = 1,
    group_size: int = 1,
    state_update_capacity: int = 0,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Convolve the tokens of several requests, which lie one behind the other, each with its own request's past."""
    del delta_offset, group_size  # say how kernel_delta lies
    if kernel_delta is not None or previous_mask is not None:
        raise ImportFault("a kernel that changes from token to token is for other processors")
    wide = torch.promote_types(input.dtype, torch.float32)
    width, before = weight.shape[2], initial_state.shape[2]
    requests, history = Requests(cumulative_sequence_length, input.shape[0], before), initial_state.transpose(1, 2)
    reach = [(width - 1 - j) * dilation for j in range(width)]
    read = (requests.at(input, history, requests.owners, requests.places - back) for back in reach)
    y = torch.stack([tokens.to(wide) * weight[:, 0, j].to(wide) for j, tokens in enumerate(read)]).sum(0)
    y = activated(y if bias is None else y + bias.to(wide), activation).to(input.dtype)
    state = requests.last(input, history, requests.lengths).transpose(1, 2)
    if capture_count is None:
        return y, state, None
    slots = torch.arange(state_update_capacity, device=input.device)
    kept = slots < torch.minimum(capture_count.long(), requests.lengths).unsqueeze(1)
    everybody = torch.arange(history.shape[0], device=input.device).unsqueeze(1)
    captured = requests.at(input, history, everybody, slots)
    return y, state, torch.where(kept.unsqueeze(-1), captured, 0.0)


@op("GatedDeltaNet", domain=DOMAIN)
def gated_delta_net(
    query: Tensor,
    key: Tensor | None = None,
    value: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    decay: Tensor | None = None,
    beta: Tensor | None = None,
    initial_state: Tensor | None = None,
    a_log: Tensor | None = None,
    dt_bias: Tensor | None = None,
    capture_count: Tensor | None = None,
    state_update_active: Tensor | None = None,
    *,
    beta_activation: str = "none",
    chunk_size: int = 64,
    gate_activation: str = "none",
    gate_lower_bound: float = -5.0,
    qk_l2_norm: int = 0,
    scale: float = 0.0,
    state_update_capacity: int = 0,
    update_rule: str = "gated_delta",
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Read from a matrix of associations that every token of a request decays, corrects and adds to.

    The tokens of several requests lie one behind the other.
    """
    if update_rule not in RULES:
        raise ImportFault(f"update_rule {update_rule!r} is unknown", hint=", ".join(RULES))
    if ("gated" in update_rule) != (decay is not None) or ("delta" in update_rule) != (beta is not None):
        raise ImportFault(f"update_rule {update_rule!r} does not go with the inputs decay and beta it was given")
    wide = torch.promote_types(query.dtype, torch.float32)
    leading = query.shape[: query.dim() - (1 if key is None else 2)]  # [tokens] or [requests, tokens of each]
    q, k, v = (x.to(wide).flatten(0, len(leading) - 1) for x in _parts(query, key, value, initial_state))
    if qk_l2_norm:
        q, k = (x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-12) for x in (q, k))
    tokens, heads, values = v.shape
    kept = rate = None
    if decay is not None:
        gate = decay.to(wide).reshape(tokens, heads, -1)
        kept = _log_decay(gate, a_log, dt_bias, gate_activation, gate_lower_bound).exp()
    if beta is not None:
        rate = beta.to(wide).reshape(tokens, heads, 1)
        rate = torch.sigmoid(rate) if beta_activation == "sigmoid" else rate
    requests = leading[0] if initial_state is None else initial_state.shape[0]
    turns = _turns(cu_seqlens, tokens, requests, q.device)
    state = v.new_zeros(requests if cu_seqlens is None else cu_seqlens.shape[0] - 1, heads, k.shape[2], values)
    if initial_state is not None:
        state = initial_state.to(wide).transpose(2, 3)
    queries, keys = (x.repeat_interleave(heads // k.shape[1], 1) for x in (q, k))
    answers, written = [], []
    for rows, owners in turns:
        now, new = associate(
            state[owners],
            keys[rows],
            v[rows],
            None if kept is None else kept[rows],
            None if rate is None else rate[rows],
        )
        state = state.index_copy(0, owners, now)
        answers.append(torch.einsum("nhd,nhdm->nhm", queries[rows], now))
        written.append(new)
    order = torch.cat([rows for rows, _ in turns]).argsort()
    y = torch.cat(answers)[order] * (scale or 1 / sqrt(k.shape[2]))
    captured = None
    if capture_count is not None:
        slots = torch.arange(state_update_capacity, device=q.device)
        count = capture_count if state_update_active is None else capture_count * (state_update_active != 0)
        counted = slots < count.unsqueeze(1)
        starts = turns[0][0] if cu_seqlens is None else cu_seqlens[:-1].long()
        places = (starts.unsqueeze(1) + slots).clamp(max=tokens - 1)
        factors = (torch.ones_like(v[..., :1]) if kept is None else kept, k, torch.cat(written)[order])
        columns = [torch.where(counted.unsqueeze(-1), x[places].flatten(2), 0.0).flatten(1) for x in factors]
        captured = torch.cat(columns, 1)
    return y.reshape(*leading, heads, values).to(query.dtype), state.transpose(2, 3), captured


def _turns(ends: Tensor | None, tokens: int, requests: int, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Return which tokens are read at once, and whose they are; without ends all requests are equally long."""
    if ends is not None:
        owners = Requests(ends, tokens, 0).owners
        return [(torch.tensor([t], device=device), owners[t : t + 1]) for t in range(tokens)]
    everybody = torch.arange(requests, device=device)
    return [(everybody * (tokens // requests) + t, everybody) for t in range(tokens // requests)]


def _parts(query: Tensor, key: Tensor | None, value: Tensor | None, state: Tensor | None) -> tuple[Tensor, ...]:
    """Return queries, keys and values [..., heads, features]; they may come packed side by side."""
    if key is not None and value is not None:
        return query, key, value
    if state is None:
        raise ImportFault("the sizes of packed queries, keys and values are unknown", hint="give an initial_state")
    _, heads, values, keys = state.shape
    width = (query.shape[-1] - heads * values) // 2
    q, k, v = torch.split(query, [width, width, heads * values], -1)
    return q.unflatten(-1, (-1, keys)), k.unflatten(-1, (-1, keys)), v.unflatten(-1, (heads, values))


def _log_decay(gate: Tensor, a_log: Tensor | None, dt_bias: Tensor | None, activation: str, lower: float) -> Tensor:
    """Return the logarithm of how much of the memory [tokens, heads, keys or one] stays."""
    if activation == "none":
        return gate
    known = {"softplus", "qwen", "sigmoid", "kda"}
    if activation not in known:
        raise ImportFault(f"gate_activation {activation!r} is unknown", hint=", ".join(["none", *sorted(known)]))
    if a_log is None or dt_bias is None:
        raise ImportFault(f"gate_activation {activation!r} needs a_log and dt_bias")
    heads = gate.shape[1]
    speed, shifted = a_log.to(gate).reshape(heads, 1).exp(), gate + dt_bias.to(gate).reshape(heads, -1)
    return (
        -speed * F.softplus(shifted) if activation in {"softplus", "qwen"} else lower * torch.sigmoid(speed * shifted)
    )
