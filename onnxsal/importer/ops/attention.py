"""Attention: scaled dot product, its linear kin, rotary positions and the caches around it."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor
from torch.nn import functional as F

from onnxsal.errors import ImportFault
from onnxsal.importer.dtypes import torch_dtype
from onnxsal.importer.operator import op
from onnxsal.importer.parts import part, product, total, wanted


@op("Attention", since=25)
def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    nonpad_kv_seqlen: Tensor | None = None,
    *,
    is_causal: int = 0,
    kv_num_heads: int | None = None,
    left_window_size: int = -1,
    q_num_heads: int | None = None,
    qk_matmul_output_mode: int = 0,
    right_window_size: int = -1,
    scale: float | None = None,
    softcap: float = 0.0,
    softmax_precision: int | None = None,
    n_outputs: int = 1,
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Mix values by how well queries match keys, with masks, caches and grouped heads."""
    packed = q.dim() == 3
    if packed:
        q, k, v = _split_heads(q, q_num_heads), _split_heads(k, kv_num_heads), _split_heads(v, kv_num_heads)
    offset: int | Tensor = 0
    if past_key is not None and past_value is not None:
        offset = past_key.shape[2]
        k, v = torch.cat([past_key, k], 2), torch.cat([past_value, v], 2)
    elif nonpad_kv_seqlen is not None:
        offset = (nonpad_kv_seqlen - q.shape[2]).reshape(-1, 1, 1, 1)
    allowed = _visible(q, k, offset, is_causal, left_window_size, right_window_size, nonpad_kv_seqlen)
    bias, blind = _bias(q, k, attn_mask, allowed)
    precision = q.dtype if softmax_precision is None else torch_dtype(softmax_precision)
    mode = qk_matmul_output_mode if n_outputs > 3 else None
    y, shown = _attend(q, k, v, bias, blind, scale, softcap, precision, mode)
    return y.transpose(1, 2).flatten(2) if packed else y, k, v, shown


def _split_heads(x: Tensor, heads: int | None) -> Tensor:
    """Return (batch, heads, length, size) from (batch, length, heads * size)."""
    if not heads:
        raise ImportFault("three axes need q_num_heads and kv_num_heads")
    return x.unflatten(2, (heads, x.shape[2] // heads)).transpose(1, 2)


def _visible(
    q: Tensor, k: Tensor, offset: int | Tensor, causal: int, left: int, right: int, lengths: Tensor | None
) -> Tensor | None:
    """Say which keys each query may see by position alone; None where all of them."""
    rows = torch.arange(q.shape[2], device=q.device).unsqueeze(1) + offset
    columns = torch.arange(k.shape[2], device=q.device)
    conditions = []
    if causal:
        conditions.append(columns <= rows)
    if left >= 0:
        conditions.append(columns >= rows - left)
    if right >= 0:
        conditions.append(columns <= rows + right)
    if lengths is not None:
        conditions.append(columns < lengths.reshape(-1, 1, 1, 1))
    allowed = None
    for condition in conditions:
        allowed = condition if allowed is None else allowed & condition
    return allowed


def _bias(q: Tensor, k: Tensor, mask: Tensor | None, allowed: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Return what is added to the scores, and which queries see nothing at all."""
    bias = None
    if mask is not None:
        missing = k.shape[2] - mask.shape[-1]
        mask = F.pad(mask, (0, missing), value=False if mask.dtype == torch.bool else float("-inf"))
        if mask.dtype == torch.bool:
            allowed = mask if allowed is None else allowed & mask
        else:
            bias = mask.to(q.dtype)
    if allowed is not None:
        bias = torch.zeros((), dtype=q.dtype, device=q.device) if bias is None else bias
        bias = torch.where(allowed, bias, torch.full_like(bias, float("-inf")))
    if bias is None:
        return None, None
    blind = (bias.detach() == float("-inf")).all(-1, keepdim=True)
    return bias.masked_fill(blind, 0.0), blind  # a row of nothing but -inf has no softmax, and no gradient


def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None,
    blind: Tensor | None,
    scale: float | None,
    softcap: float,
    precision: torch.dtype,
    mode: int | None,
) -> tuple[Tensor, Tensor | None]:
    """Return the mixed values and, where a mode asks for it, one step of the scores."""
    scale = 1 / sqrt(q.shape[-1]) if scale is None else scale
    groups = q.shape[1] // k.shape[1]
    if groups > 1:
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    plain = mode is None and not softcap and precision == q.dtype and not wanted("Softmax")
    if plain and q.device.type != "cpu":
        # on the CPU the plain product is as fast, and traces to plain operators
        y = F.scaled_dot_product_attention(q, k, v, bias, scale=scale)
        return y if blind is None else y.masked_fill(blind, 0.0), None
    root = sqrt(scale)
    scores = part("MatMul", lambda q, k: (q * root) @ (k * root).transpose(-1, -2), q, k)
    capped = part("Tanh", lambda x: softcap * torch.tanh(x / softcap), scores) if softcap else scores
    biased = capped if bias is None else total(capped, bias)
    weights = part("Softmax", lambda x: torch.softmax(x, -1, precision), biased).to(q.dtype)
    weights = weights if blind is None else weights.masked_fill(blind, 0.0)
    shown = None if mode is None else (scores, capped, _blinded(biased, blind), weights)[mode]
    return product(weights, v), shown


def _blinded(biased: Tensor, blind: Tensor | None) -> Tensor:
    return biased if blind is None else biased.masked_fill(blind, float("-inf"))


@op("Attention", since=24)
def attention_24(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    nonpad_kv_seqlen: Tensor | None = None,
    *,
    is_causal: int = 0,
    kv_num_heads: int | None = None,
    q_num_heads: int | None = None,
    qk_matmul_output_mode: int = 0,
    scale: float | None = None,
    softcap: float = 0.0,
    softmax_precision: int | None = None,
    n_outputs: int = 1,
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Mix values by how well queries match keys, with masks, caches and grouped heads."""
    return attention(
        q,
        k,
        v,
        attn_mask,
        past_key,
        past_value,
        nonpad_kv_seqlen,
        is_causal=is_causal,
        kv_num_heads=kv_num_heads,
        q_num_heads=q_num_heads,
        qk_matmul_output_mode=qk_matmul_output_mode,
        scale=scale,
        softcap=softcap,
        softmax_precision=softmax_precision,
        n_outputs=n_outputs,
    )


@op("Attention", since=23)
def attention_23(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    *,
    is_causal: int = 0,
    kv_num_heads: int | None = None,
    q_num_heads: int | None = None,
    qk_matmul_output_mode: int = 0,
    scale: float | None = None,
    softcap: float = 0.0,
    softmax_precision: int | None = None,
    n_outputs: int = 1,
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Mix values by how well queries match keys, with masks, caches and grouped heads."""
    return attention(
        q,
        k,
        v,
        attn_mask,
        past_key,
        past_value,
        is_causal=is_causal,
        kv_num_heads=kv_num_heads,
        q_num_heads=q_num_heads,
        qk_matmul_output_mode=qk_matmul_output_mode,
        scale=scale,
        softcap=softcap,
        softmax_precision=softmax_precision,
        n_outputs=n_outputs,
    )


@op("RotaryEmbedding", since=23)
def rotary_embedding(
    x: Tensor,
    cos_cache: Tensor,
    sin_cache: Tensor,
    position_ids: Tensor | None = None,
    *,
    interleaved: int = 0,
    num_heads: int | None = None,
    rotary_embedding_dim: int = 0,
) -> Tensor:
    """Turn pairs of features by angles that grow with the position."""
    heads = _split_heads(x, num_heads) if x.dim() == 3 else x
    size = rotary_embedding_dim or heads.shape[-1]
    turned, rest = heads[..., :size], heads[..., size:]
    if position_ids is not None:
        cos_cache, sin_cache = cos_cache[position_ids], sin_cache[position_ids]
    cos, sin = cos_cache.unsqueeze(1), sin_cache.unsqueeze(1)
    first, second = (turned[..., 0::2], turned[..., 1::2]) if interleaved else turned.chunk(2, -1)
    real, imaginary = cos * first - sin * second, sin * first + cos * second
    mixed = torch.stack([real, imaginary], -1).flatten(-2) if interleaved else torch.cat([real, imaginary], -1)
    y = torch.cat([mixed, rest], -1)
    return y.transpose(1, 2).flatten(2) if x.dim() == 3 else y


@op("TensorScatter", since=24)
def tensor_scatter(
    past_cache: Tensor,
    update: Tensor,
    write_indices: Tensor | None = None,
    *,
    axis: int = -2,
    mode: str = "linear",
) -> Tensor:
    """Write new entries into a cache, for each example at its own place."""
    axis %= past_cache.dim()
    place = torch.arange(update.shape[axis], device=update.device)
    if write_indices is not None:
        place = place + write_indices.unsqueeze(1)
    if mode == "circular":
        place = place % past_cache.shape[axis]
    shape = [1] * update.dim()
    shape[0], shape[axis] = (1 if write_indices is None else update.shape[0]), update.shape[axis]
    return past_cache.scatter(axis, place.reshape(shape).expand(update.shape), update)


RULES = ("linear", "gated", "delta", "gated_delta")


@op("LinearAttention", since=27)
def linear_attention(
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
    update_rule: str = "gated_delta",
) -> tuple[Tensor, Tensor]:
    """Read from a matrix of associations that every token decays, corrects and adds to."""
    if update_rule not in RULES:
        raise ImportFault(f"update_rule {update_rule!r} is unknown", hint=", ".join(RULES))
    if ("gated" in update_rule) != (decay is not None) or ("delta" in update_rule) != (beta is not None):
        raise ImportFault(f"update_rule {update_rule!r} does not go with the inputs decay and beta it was given")
    wide = torch.promote_types(query.dtype, torch.float32)
    size = query.shape[2] // q_num_heads
    q, k, v = (
        _split_heads(x.to(wide), h)
        for x, h in ((query, q_num_heads), (key, key.shape[2] // size), (value, kv_num_heads))
    )
    q, k = (x.repeat_interleave(max(1, kv_num_heads // x.shape[1]), 1) for x in (q, k))  # heads that values share
    state = (
        k.new_zeros(k.shape[0], kv_num_heads, k.shape[-1], v.shape[-1]) if past_state is None else past_state.to(wide)
    )
    kept = None if decay is None else _split_heads(decay.to(wide), kv_num_heads).exp()
    rate = None if beta is None else beta.to(wide).transpose(1, 2).unsqueeze(-1)
    outputs = []
    for t in range(q.shape[2]):
        state, _ = associate(
            state, k[:, :, t], v[:, :, t], None if kept is None else kept[:, :, t],
            None if rate is None else rate[:, :, t],
        )  # fmt: skip
        shared = state.repeat_interleave(max(1, q_num_heads // kv_num_heads), 1)
        outputs.append(torch.einsum("bhd,bhdm->bhm", q[:, :, t], shared))
    y = torch.stack(outputs, 1).flatten(2) * (scale or 1 / sqrt(q.shape[-1]))
    return y.to(query.dtype), state.to(query.dtype if past_state is None else past_state.dtype)


def associate(
    state: Tensor, key: Tensor, value: Tensor, kept: Tensor | None, rate: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the memory [..., keys, values] after one more key and value, and what was written with the key.

    Args:
        state: The memory before.
        key: [..., keys].
        value: [..., values].
        kept: How much of the memory stays, [..., keys] or [..., 1]; None for all of it.
        rate: How much of what the memory does not hold yet is written, [..., 1]; None writes the value as it is.
    """
    state = state if kept is None else state * kept.unsqueeze(-1)
    new = value if rate is None else rate * (value - torch.einsum("...dm,...d->...m", state, key))
    return state + key.unsqueeze(-1) * new.unsqueeze(-2), new


@op("CausalConvWithState", since=27)
def causal_conv_with_state(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    past_state: Tensor | None = None,
    *,
    activation: str = "none",
) -> tuple[Tensor, Tensor]:
    """Convolve each channel with its own past, and hand on the end of it."""
    return causal_convolution(input, weight, bias, past_state, activation)


def causal_convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    past_state: Tensor | None,
    activation: str,
    dilation: int = 1,
) -> tuple[Tensor, Tensor]:
    """Convolve each channel [batch, channels, length] with its own past; return what the next call has as its past."""
    before = (weight.shape[2] - 1) * dilation
    padded = F.pad(input, (before, 0)) if past_state is None else torch.cat([past_state, input], 2)
    y = F.conv1d(padded, weight, bias, dilation=dilation, groups=input.shape[1])
    return activated(y, activation), padded[:, :, padded.shape[2] - before :]


def activated(y: Tensor, activation: str) -> Tensor:
    """Return what a convolution's activation makes of its answer."""
    if activation not in {"none", "silu", "swish"}:
        raise ImportFault(f"activation {activation!r} is unknown", hint="none, silu or swish")
    return y if activation == "none" else F.silu(y)
