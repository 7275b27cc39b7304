"""Attention as ONNX Runtime fuses it. Shapes while computing: batch B, heads N, queries S, keys T, head size H."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor

from onnxsal.errors import ImportFault
from onnxsal.importer.operator import Carried, Host, op
from onnxsal.importer.ops.microsoft_quantised import matmul_integer_to_float

DOMAIN = "com.microsoft"
MASKED = -10000.0


def _heads(x: Tensor, count: int) -> Tensor:
    """Return [B, N, S, H] of [B, S, N * H]."""
    return x.reshape(*x.shape[:2], count, -1).transpose(1, 2)


def _joined(x: Tensor) -> Tensor:
    """Return [B, S, N * H] of [B, N, S, H]."""
    return x.transpose(1, 2).flatten(2)


def _scores(q: Tensor, k: Tensor, scale: float | None) -> Tensor:
    return (q @ k.transpose(-1, -2)) * (scale or 1 / sqrt(q.shape[-1]))


def _causal(scores: Tensor) -> Tensor:
    """Return what keeps each query from later keys; the last query sees all of them."""
    queries, keys = scores.shape[-2:]
    places = torch.arange(queries, device=scores.device).unsqueeze(1) + (keys - queries)
    later = torch.arange(keys, device=scores.device) > places
    nothing = torch.zeros((), dtype=scores.dtype, device=scores.device)
    return nothing.masked_fill(later, torch.finfo(scores.dtype).min)


def _mask_bias(mask: Tensor, scores: Tensor, filtered: float | None) -> Tensor:
    """Return what a mask adds to the scores: nothing for keys that count, a large negative number for others.

    The mask gives the number of keys, or their ends and then their starts; or says of each key, perhaps for each
    query, whether it counts.
    """
    batch, keys = scores.shape[0], scores.shape[3]
    places = torch.arange(keys, device=scores.device)
    match mask.dim():
        case 1 if mask.shape[0] == batch:
            counts = (places < mask.unsqueeze(1))[:, None, None]
        case 1 if mask.shape[0] == 2 * batch:
            ends, starts = mask.unsqueeze(1).chunk(2)
            counts = ((places < ends) & (places >= starts))[:, None, None]
        case 2:
            counts = (mask > 0)[:, None, None]
        case 3:
            counts = (mask > 0)[:, None]
        case _:
            raise ImportFault(f"a mask of shape {list(mask.shape)} is not supported")
    return torch.where(counts, 0.0, MASKED if filtered is None else filtered).to(scores.dtype)


def _attended(scores: Tensor, v: Tensor) -> Tensor:
    return _joined(torch.softmax(scores, -1) @ v)


@op("Attention", domain=DOMAIN)
def attention(
    input: Tensor,
    weights: Tensor,
    bias: Tensor | None = None,
    mask_index: Tensor | None = None,
    past: Tensor | None = None,
    attention_bias: Tensor | None = None,
    past_sequence_length: Tensor | None = None,
    *,
    do_rotary: int | None = None,
    mask_filter_value: float | None = None,
    num_heads: int,
    past_present_share_buffer: int | None = None,
    qkv_hidden_sizes: list[int] | None = None,
    rotary_embedding_dim: int | None = None,
    scale: float | None = None,
    unidirectional: int = 0,
    n_outputs: int = 1,
) -> tuple[Tensor, Tensor | None]:
    """Project to queries, keys and values, and mix the values by how well queries match keys."""
    del past_sequence_length, rotary_embedding_dim
    _refuse(do_rotary, past_present_share_buffer)
    projected = torch.matmul(input, weights)
    return _self_attention(
        projected if bias is None else projected + bias, mask_index, past, attention_bias,
        heads=num_heads, sizes=qkv_hidden_sizes, scale=scale, filtered=mask_filter_value, causal=unidirectional,
        keep=n_outputs > 1,
    )  # fmt: skip


def _refuse(rotary: int | None, shared: int | None) -> None:
    if rotary:
        raise ImportFault("do_rotary is not supported inside Attention", hint="export a RotaryEmbedding before it")
    if shared:
        raise ImportFault(
            "a cache that is written in place is not supported", hint="export past_present_share_buffer=0"
        )


def _self_attention(
    projected: Tensor,
    mask: Tensor | None,
    past: Tensor | None,
    attention_bias: Tensor | None,
    *,
    heads: int,
    sizes: list[int] | None,
    scale: float | None,
    filtered: float | None,
    causal: int,
    keep: bool,
) -> tuple[Tensor, Tensor | None]:
    """Attend with queries, keys and values that lie side by side; return the keys and values, too, if asked."""
    parts = torch.split(projected, sizes, -1) if sizes else projected.chunk(3, -1)
    q, k, v = (_heads(part, heads) for part in parts)
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    scores = _scores(q, k, scale)
    if causal:
        scores = scores + _causal(scores)
    if mask is not None:
        scores = scores + _mask_bias(mask, scores, filtered)
    if attention_bias is not None:
        scores = scores + attention_bias
    return _attended(scores, v), torch.stack([k, v]) if keep else None


@op("QAttention", domain=DOMAIN)
def qattention(
    input: Carried,
    weight: Carried,
    bias: Tensor,
    input_scale: Tensor,
    weight_scale: Tensor,
    mask_index: Tensor | None = None,
    input_zero_point: Tensor | None = None,
    weight_zero_point: Tensor | None = None,
    past: Tensor | None = None,
    *,
    do_rotary: int | None = None,
    mask_filter_value: float | None = None,
    num_heads: int,
    past_present_share_buffer: int | None = None,
    scale: float | None = None,
    unidirectional: int = 0,
    n_outputs: int = 1,
) -> tuple[Tensor, Tensor | None]:
    """Attention whose projection multiplies 8-bit matrices."""
    _refuse(do_rotary, past_present_share_buffer)
    projected = matmul_integer_to_float(
        input, weight, input_scale, weight_scale, input_zero_point, weight_zero_point, bias
    )
    return _self_attention(
        projected, mask_index, past, None,
        heads=num_heads, sizes=None, scale=scale, filtered=mask_filter_value, causal=unidirectional,
        keep=n_outputs > 1,
    )  # fmt: skip


@op("MultiHeadAttention", domain=DOMAIN)
def multi_head_attention(
    query: Tensor,
    key: Tensor | None = None,
    value: Tensor | None = None,
    bias: Tensor | None = None,
    key_padding_mask: Tensor | None = None,
    attention_bias: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    past_sequence_length: Tensor | None = None,
    cache_indirection: Tensor | None = None,
    *,
    mask_filter_value: float | None = None,
    num_heads: int,
    scale: float | None = None,
    unidirectional: int = 0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mix values by how well queries match keys, with masks, a bias and a cache."""
    if cache_indirection is not None or past_sequence_length is not None:
        raise ImportFault("a cache that is shared between beams is not supported")
    q, k, v = _separated(query, key, value, bias, num_heads)
    if past_key is not None and past_value is not None:
        k, v = torch.cat([past_key, k], 2), torch.cat([past_value, v], 2)
    scores = _scores(q, k, scale)
    if unidirectional:
        scores = scores + _causal(scores)
    if key_padding_mask is not None:
        scores = scores + _mask_bias(key_padding_mask, scores, mask_filter_value)
    if attention_bias is not None:
        scores = scores + attention_bias
    return _attended(scores, v), k, v, scores


def _separated(
    query: Tensor, key: Tensor | None, value: Tensor | None, bias: Tensor | None, heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values as [B, N, S, H], however they came, with their biases added."""
    if query.dim() == 5:
        q, k, v = (part.transpose(1, 2) for part in query.unbind(3))
    elif key is not None and key.dim() == 5:
        k, v = (part.transpose(1, 2) for part in key.unbind(3))
        q = _heads(query, heads)
    elif key is not None and value is not None:
        q = _heads(query, heads)
        k, v = (part if part.dim() == 4 else _heads(part, heads) for part in (key, value))
    else:
        raise ImportFault("keys and values are missing")
    if bias is None:
        return q, k, v
    sizes = [heads * q.shape[3], heads * q.shape[3], bias.shape[0] - 2 * heads * q.shape[3]]
    shifts = [part.reshape(1, heads, 1, -1) for part in torch.split(bias, sizes)]
    if key is not None and key.dim() == 4:  # such keys and values come from another layer, with theirs added
        return q + shifts[0], k, v
    return q + shifts[0], k + shifts[1], v + shifts[2]


@op("RotaryEmbedding", domain=DOMAIN)
def rotary_embedding(
    input: Tensor,
    position_ids: Tensor,
    cos_cache: Tensor,
    sin_cache: Tensor,
    *,
    interleaved: int | None = None,
    is_packed_batching: int | None = None,
    num_heads: int | None = None,
    rotary_embedding_dim: int | None = None,
    scale: float | None = None,
) -> Tensor:
    """Turn pairs of features by angles that grow with the position."""
    del is_packed_batching, scale  # ONNX Runtime's kernels read neither
    heads = (
        input
        if input.dim() == 4
        else _heads(input, num_heads or input.shape[2] // (rotary_embedding_dim or 2 * cos_cache.shape[1]))
    )
    places = position_ids
    if position_ids.dim() == 1:  # it says where the first one stands
        steps = torch.arange(heads.shape[2], device=input.device)
        places = (steps + position_ids).expand(heads.shape[0], -1)
    turned = _turned(heads, cos_cache[places], sin_cache[places], bool(interleaved))
    return turned if input.dim() == 4 else _joined(turned)


def _turned(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor:
    """Turn the first features of [B, N, S, H] by the angles of [B, S, size / 2]; the others stay."""
    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    size = 2 * cos.shape[-1]
    part, rest = x[..., :size], x[..., size:]
    a, b = (part[..., 0::2], part[..., 1::2]) if interleaved else part.chunk(2, -1)
    first, second = a * cos - b * sin, b * cos + a * sin
    mixed = torch.stack([first, second], -1).flatten(-2) if interleaved else torch.cat([first, second], -1)
    return torch.cat([mixed, rest], -1)


@op("GroupQueryAttention", domain=DOMAIN)
def group_query_attention(
    query: Tensor,
    key: Tensor | None,
    value: Tensor | None,
    past_key: Tensor | None,
    past_value: Tensor | None,
    seqlens_k: Tensor,
    total_sequence_length: Host,
    cos_cache: Tensor | None = None,
    sin_cache: Tensor | None = None,
    position_ids: Tensor | None = None,
    attention_bias: Tensor | None = None,
    head_sink: Tensor | None = None,
    k_scale: Tensor | None = None,
    v_scale: Tensor | None = None,
    q_norm_weight: Tensor | None = None,
    k_norm_weight: Tensor | None = None,
    query_seqlens: Tensor | None = None,
    *,
    causal: int = 1,
    do_rotary: int | None = None,
    k_norm_epsilon: float | None = None,
    k_quant_type: str = "NONE",
    kv_cache_bit_width: int | None = None,
    kv_num_heads: int,
    local_window_size: int = -1,
    num_heads: int,
    q_norm_epsilon: float | None = None,
    qk_norm_epsilon: float = 1e-6,
    qk_output: int = 0,
    rotary_interleaved: int | None = None,
    scale: float | None = None,
    sliding_window_cache: int = 0,
    smooth_softmax: int = -1,
    softcap: float | None = None,
    v_quant_type: str = "NONE",
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Attend with fewer heads for keys and values than for queries, over a cache that grows."""
    if k_scale is not None or v_scale is not None or k_quant_type != "NONE" or v_quant_type != "NONE":
        raise ImportFault("a quantised cache is not supported", hint="export it in floats")
    if sliding_window_cache or query_seqlens is not None or kv_cache_bit_width not in {None, 0}:
        raise ImportFault("a cache of this form is not supported", hint="export it whole")
    q, k, v = _grouped(query, key, value, num_heads, kv_num_heads)
    q, k = (
        _normed(x, weight, qk_norm_epsilon if own is None else own)
        for x, weight, own in ((q, q_norm_weight, q_norm_epsilon), (k, k_norm_weight, k_norm_epsilon))
    )
    total = int(total_sequence_length)
    before = _lengths_before(seqlens_k, q.shape[2], total)
    places = before.unsqueeze(1) + torch.arange(q.shape[2], device=q.device)
    if do_rotary:
        if cos_cache is None or sin_cache is None:
            raise ImportFault("do_rotary needs cos_cache and sin_cache")
        turns = _turns(places, position_ids, first=q.shape[2] == total)
        q, k = (_turned(x, cos_cache[turns], sin_cache[turns], bool(rotary_interleaved)) for x in (q, k))
    k, v = (_appended(past, new, places, total) for past, new in ((past_key, k), (past_value, v)))
    groups = num_heads // kv_num_heads
    scores = _scores(q, k.repeat_interleave(groups, 1), scale)
    scores = softcap * torch.tanh(scores / softcap) if softcap else scores
    if attention_bias is not None:
        scores = scores + _to_width(attention_bias, scores.shape[-1])
    seen = _seen(places, seqlens_k, scores.shape[-1], bool(causal), local_window_size)
    scores = scores.masked_fill(~seen, torch.finfo(scores.dtype).min)
    chances = _chances(scores, head_sink, smooth_softmax == 1)
    shown = None if not qk_output else scores if qk_output == 1 else chances
    return _joined(chances @ v.repeat_interleave(groups, 1)), k, v, shown


def _turns(places: Tensor, position_ids: Tensor | None, first: bool) -> Tensor:
    """Return by which place each query turns; of a whole sequence's, ONNX Runtime reads where its first one stands."""
    if position_ids is None:
        return places
    return places + position_ids.reshape(-1)[0] if first else position_ids


def _grouped(
    query: Tensor, key: Tensor | None, value: Tensor | None, heads: int, kv_heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values as [B, N, S, H]; they may come packed side by side."""
    if key is None or value is None:
        size = query.shape[2] // (heads + 2 * kv_heads)
        query, key, value = torch.split(query, [heads * size, kv_heads * size, kv_heads * size], 2)
    return _heads(query, heads), _heads(key, kv_heads), _heads(value, kv_heads)


def _normed(x: Tensor, weight: Tensor | None, epsilon: float) -> Tensor:
    """Divide each head by the root of its mean square, where a weight is given."""
    if weight is None:
        return x
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon) * weight


def _lengths_before(seqlens: Tensor, queries: int, total: int) -> Tensor:
    """Return how many keys each example had before this call: none where the queries are the whole sequence."""
    lengths = seqlens.reshape(-1).long() + 1
    return torch.zeros_like(lengths) if queries == total else lengths - queries


def _appended(past: Tensor | None, new: Tensor, places: Tensor, total: int) -> Tensor:
    """Return the cache with new entries at their places; it grows where it is too short."""
    batch, heads, _, size = new.shape
    width = total if past is None else torch.sym_max(past.shape[2], total)
    cache = new.new_zeros(batch, heads, width, size)
    if past is not None:
        cache = torch.cat([past, cache[:, :, past.shape[2] :]], 2)
        kept = torch.arange(width, device=new.device) < places[:, :1]
        cache = torch.where(kept[:, None, :, None], cache, 0.0)
    index = places[:, None, :, None].expand(new.shape)
    return cache.scatter(2, index, new)


def _seen(places: Tensor, seqlens: Tensor, keys: int, causal: bool, window: int) -> Tensor:
    """Say which keys each query sees: none behind it, and none too far before it."""
    columns = torch.arange(keys, device=places.device)
    rows = places.unsqueeze(-1)
    seen = columns < (seqlens.reshape(-1, 1, 1) + 1).expand(rows.shape)
    if causal:
        seen = seen & (columns <= rows)
    if window >= 0:
        seen = seen & (columns > rows - window)
    return seen.unsqueeze(1)


def _to_width(bias: Tensor, keys: int) -> Tensor:
    """Return a bias with a column for each key."""
    return torch.nn.functional.pad(bias, (0, keys - bias.shape[-1]))


def _chances(scores: Tensor, sink: Tensor | None, smooth: bool) -> Tensor:
    """Softmax over the keys, and over a sink that takes what no key gets where there is one."""
    if sink is None and not smooth:
        return torch.softmax(scores, -1)
    extra = (
        torch.zeros_like(scores[..., :1]) if sink is None else sink.reshape(1, -1, 1, 1).expand(scores[..., :1].shape)
    )
    return torch.softmax(torch.cat([scores, extra.to(scores.dtype)], -1), -1)[..., :-1]
