"""Attention as ONNX Runtime fuses it. Shapes while computing: batch B, heads N, queries S, keys T, head size H."""

from __future__ import annotations

from functools import partial
from math import sqrt

import torch
from torch import Tensor

from onnxsal.errors import ImportFault
from onnxsal.importer.operator import Carried, Host, op
from onnxsal.importer.ops.microsoft_quantised import matmul_integer_to_float
from onnxsal.importer.parts import part, product, softmax, total
from onnxsal.importer.values import ints

DOMAIN = "com.microsoft"
MASKED = -10000.0


def split_heads(x: Tensor, count: int) -> Tensor:
    """Return [B, N, S, H] of [B, S, N * H]."""
    return x.reshape(*x.shape[:2], count, -1).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """Return [B, S, N * H] of [B, N, S, H]."""
    return x.transpose(1, 2).flatten(2)


def match(q: Tensor, k: Tensor, scale: float | None) -> Tensor:
    factor = scale or 1 / sqrt(q.shape[-1])
    return part("MatMul", lambda q, k: (q @ k.transpose(-1, -2)) * factor, q, k)


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
        case 1 if mask.shape[0] == 3 * batch + 2:  # the lengths, and where queries and keys begin when packed
            counts = (places < mask[:batch].unsqueeze(1))[:, None, None]
        case 2:
            counts = (mask > 0)[:, None, None]
        case 3:
            counts = (mask > 0)[:, None]
        case _:
            raise ImportFault(f"a mask of shape {list(mask.shape)} is not supported")
    return torch.where(counts, 0.0, MASKED if filtered is None else filtered).to(scores.dtype)


def _attended(scores: Tensor, v: Tensor) -> Tensor:
    return join_heads(product(softmax(scores), v))


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
    projected = product(input, weights)
    return _self_attention(
        projected if bias is None else total(projected, bias), mask_index, past, attention_bias,
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
    three = torch.split(projected, sizes, -1) if sizes else projected.chunk(3, -1)
    q, k, v = (split_heads(each, heads) for each in three)
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    scores = match(q, k, scale)
    if causal:
        scores = total(scores, _causal(scores))
    if mask is not None:
        scores = total(scores, _mask_bias(mask, scores, filtered))
    if attention_bias is not None:
        scores = total(scores, attention_bias)
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
    none = torch.zeros((), dtype=torch.int8, device=bias.device)
    shifts = (none if zero_point is None else zero_point for zero_point in (input_zero_point, weight_zero_point))
    projected = part(
        "com.microsoft.MatMulIntegerToFloat", matmul_integer_to_float,
        input, weight, input_scale, weight_scale, *shifts, bias,
    )  # fmt: skip
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
    past_sequence_length: Host | None = None,
    cache_indirection: Tensor | None = None,
    *,
    mask_filter_value: float | None = None,
    num_heads: int,
    scale: float | None = None,
    unidirectional: int = 0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mix values by how well queries match keys, with masks, a bias and a cache."""
    q, k, v = _separated(query, key, value, bias, num_heads)
    present = k, v
    if past_key is not None and past_value is not None:
        pairs = (past_key, k), (past_value, v)
        if past_sequence_length is None:
            present = k, v = torch.cat(pairs[0], 2), torch.cat(pairs[1], 2)
        else:
            place = ints(past_sequence_length)[0]
            present = _written(*pairs[0], place), _written(*pairs[1], place)
            k, v = (_of_beams(cache, cache_indirection, place)[:, :, : place + q.shape[2]] for cache in present)
    scores = match(q, k, scale)
    if unidirectional:
        scores = total(scores, _causal(scores))
    if key_padding_mask is not None:
        scores = total(scores, _mask_bias(key_padding_mask, scores, mask_filter_value))
    if attention_bias is not None:
        scores = total(scores, _for_beams(attention_bias, cache_indirection))
    return _attended(scores, v), *present, scores


def _written(cache: Tensor, new: Tensor, place: int) -> Tensor:
    """Return a cache of full length with new entries from a place on."""
    return torch.cat([cache[:, :, :place], new, cache[:, :, place + new.shape[2] :]], 2)


def _of_beams(cache: Tensor, indirection: Tensor | None, place: int) -> Tensor:
    """Return the cache each beam sees: of every step before this one, that of the beam it then came from."""
    if indirection is None:
        return cache
    batch, beams, steps = indirection.shape
    own = torch.arange(batch * beams, device=cache.device).unsqueeze(1)
    places = torch.arange(steps, device=cache.device)
    earlier = own // beams * beams + indirection.reshape(batch * beams, steps)
    return cache[torch.where(places < place, earlier, own), :, places].transpose(1, 2)


def _for_beams(bias: Tensor, indirection: Tensor | None) -> Tensor:
    """Return a bias as ONNX Runtime reads it: where there are beams, it has a row for all of them together."""
    if indirection is None or bias.shape[0] == 1:
        return bias
    batch, beams, _ = indirection.shape
    return bias[:batch].repeat_interleave(beams, 0)


@op("DecoderMaskedMultiHeadAttention", domain=DOMAIN)
def decoder_masked_multi_head_attention(
    query: Tensor,
    key: Tensor | None = None,
    value: Tensor | None = None,
    mask_index: Tensor | None = None,
    attention_bias: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    past_sequence_length: Host | None = None,
    beam_width: Host | None = None,
    cache_indirection: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    mask_filter_value: float | None = None,
    num_heads: int,
    output_qk: int | None = None,
    past_present_share_buffer: int | None = None,
    scale: float | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Attention of one new token to those before it, whose keys and values lie in a cache of full length."""
    del beam_width  # the indirection's shape says it
    across = key is not None and key.dim() == 4  # its keys and values come from another network
    grows = past_key is not None and not past_present_share_buffer
    if key is None or grows or output_qk or (across and attention_bias is not None):
        raise ImportFault(
            "packed queries, a cache that grows, shown scores and a bias on scores across are for other processors",
            hint="export past_present_share_buffer=1 and output_qk=0",
        )
    answer, k, v, _ = multi_head_attention(
        query, key, value, bias, mask_index, attention_bias, past_key, past_value,
        None if across else past_sequence_length, cache_indirection,
        mask_filter_value=mask_filter_value, num_heads=num_heads, scale=scale,
    )  # fmt: skip
    return answer, k, v, None


def _separated(
    query: Tensor, key: Tensor | None, value: Tensor | None, bias: Tensor | None, heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values as [B, N, S, H], however they came, with their biases added."""
    if query.dim() == 5:
        q, k, v = (each.transpose(1, 2) for each in query.unbind(3))
    elif key is not None and key.dim() == 5:
        k, v = (each.transpose(1, 2) for each in key.unbind(3))
        q = split_heads(query, heads)
    elif key is not None and value is not None:
        q = split_heads(query, heads)
        k, v = (each if each.dim() == 4 else split_heads(each, heads) for each in (key, value))
    else:
        raise ImportFault("keys and values are missing")
    if bias is None:
        return q, k, v
    sizes = [heads * q.shape[3], heads * q.shape[3], bias.shape[0] - 2 * heads * q.shape[3]]
    shifts = [each.reshape(1, heads, 1, -1) for each in torch.split(bias, sizes)]
    if key is not None and key.dim() == 4:  # such keys and values come from another layer, with theirs added
        return total(q, shifts[0]), k, v
    return total(q, shifts[0]), total(k, shifts[1]), total(v, shifts[2])


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
        else split_heads(input, num_heads or input.shape[2] // (rotary_embedding_dim or 2 * cos_cache.shape[1]))
    )
    places = position_ids
    if position_ids.dim() == 1:  # it says where the first one stands
        steps = torch.arange(heads.shape[2], device=input.device)
        places = (steps + position_ids).expand(heads.shape[0], -1)
    turned = turn(heads, cos_cache[places], sin_cache[places], bool(interleaved))
    return turned if input.dim() == 4 else join_heads(turned)


@op("MRotaryEmbedding", domain=DOMAIN)
def multimodal_rotary_embedding(
    input: Tensor,
    position_ids: Tensor,
    cos_cache: Tensor,
    sin_cache: Tensor,
    *,
    interleaved: int | None = None,
    is_packed_batching: int | None = None,
    mrope_layout: int | None = None,
    mrope_section: list[int],
    num_heads: int | None = None,
    rotary_embedding_dim: int | None = None,
    scale: float | None = None,
) -> Tensor:
    """Turn pairs of features by angles of which some grow with the time, some with the row, some with the column."""
    del is_packed_batching, scale  # ONNX Runtime's kernels read neither
    heads = input
    if input.dim() == 3:
        heads = split_heads(input, num_heads or input.shape[2] // (rotary_embedding_dim or 2 * cos_cache.shape[1]))
    owners = torch.tensor(_sections(mrope_section, bool(mrope_layout)), device=input.device)
    angles = torch.arange(len(owners), device=input.device)
    places = position_ids[owners].permute(1, 2, 0)  # of each example, token and angle
    turned = turn(heads, cos_cache[places, angles], sin_cache[places, angles], bool(interleaved))
    return turned if input.dim() == 4 else join_heads(turned)


def _sections(sizes: list[int], woven: bool) -> list[int]:
    """Return which of time, row and column each angle grows with: one after the other, or woven into each other."""
    if not woven:
        return [axis for axis, size in enumerate(sizes) for _ in range(size)]
    owners = [0] * sum(sizes)
    for axis in (1, 2):
        owners[axis : 3 * sizes[axis] : 3] = [axis] * len(owners[axis : 3 * sizes[axis] : 3])
    return owners


def turn(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor:
    """Turn the first features of [B, N, S, H] by the angles of [B, S, size / 2]; the others stay."""
    return part("RotaryEmbedding", partial(_turned, interleaved=interleaved), x, cos.unsqueeze(1), sin.unsqueeze(1))


def _turned(x: Tensor, cos: Tensor, sin: Tensor, *, interleaved: bool) -> Tensor:
    size = 2 * cos.shape[-1]
    first, rest = x[..., :size], x[..., size:]
    a, b = (first[..., 0::2], first[..., 1::2]) if interleaved else first.chunk(2, -1)
    first, second = a * cos - b * sin, b * cos + a * sin
    mixed = torch.stack([first, second], -1).flatten(-2) if interleaved else torch.cat([first, second], -1)
    return torch.cat([mixed, rest], -1)
