"""Attention with fewer heads for keys and values than for queries, over caches of several forms.

Shapes while computing: batch B, heads N, queries S, keys T, head size H.
"""

from __future__ import annotations

import torch
from torch import Tensor

from onnxsal.errors import ImportFault
from onnxsal.importer.operator import Host, op
from onnxsal.importer.ops.microsoft_attention import join_heads, match, split_heads, turn
from onnxsal.importer.ops.microsoft_quantised import unpacked
from onnxsal.importer.parts import part, product, softmax
from onnxsal.importer.quantised import quantise, store

DOMAIN = "com.microsoft"


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
    """Attend with fewer heads for keys and values than for queries, over a cache.

    The cache grows, or has a row for every token there may be, or holds only the last ones; perhaps in few bits.
    """
    q, k, v = _grouped(query, key, value, num_heads, kv_num_heads)
    q, k = (
        _normed(x, weight, qk_norm_epsilon if own is None else own)
        for x, weight, own in ((q, q_norm_weight, q_norm_epsilon), (k, k_norm_weight, k_norm_epsilon))
    )
    steps, total = q.shape[2], int(total_sequence_length)
    ends = seqlens_k.reshape(-1, 1).long() + 1
    given = ends.clamp(max=steps) if query_seqlens is None else query_seqlens.reshape(-1, 1).long()
    places = ends - given + torch.arange(steps, device=q.device)
    if do_rotary:
        if cos_cache is None or sin_cache is None:
            raise ImportFault("do_rotary needs cos_cache and sin_cache")
        turns = _turns(places, position_ids, first=steps == total and query_seqlens is None)
        q, k = (turn(x, cos_cache[turns], sin_cache[turns], bool(rotary_interleaved)) for x in (q, k))
    forms = [
        _Form(kind, scale, kv_cache_bit_width, new.dtype)
        for kind, scale, new in ((k_quant_type, k_scale, k), (v_quant_type, v_scale, v))
    ]
    caches = [
        None if past is None else form.read(past) for form, past in zip(forms, (past_key, past_value), strict=True)
    ]
    k, v = (form.rounded(new) for form, new in zip(forms, (k, v), strict=True))
    if sliding_window_cache:
        before = [cache for cache in caches if cache is not None]
        if len(before) < 2 or qk_output:
            raise ImportFault(
                "a cache of the last tokens is missing, or its scores are shown",
                hint="give past_key and past_value, and export qk_output=0",
            )
        rows = _resident(ends - given, before[0].shape[2], local_window_size)
        where = torch.cat([rows, places.masked_fill(places >= ends, -1)], 1)
        k, v = (torch.cat([past, new], 2) for past, new in zip(before, (k, v), strict=True))
        kept = _resident(ends, before[0].shape[2], local_window_size)
        present = [_at(cache, where, kept) for cache in (k, v)]
    else:
        k, v = present = [_appended(past, new, places, total) for past, new in zip(caches, (k, v), strict=True)]
        where = torch.arange(k.shape[2], device=k.device)
        where = where.masked_fill(where >= ends, -1)
    groups = num_heads // kv_num_heads
    scores = match(q, k.repeat_interleave(groups, 1), scale)
    scores = part("Tanh", lambda x: softcap * torch.tanh(x / softcap), scores) if softcap else scores
    if attention_bias is not None:
        scores = part("Sum", torch.add, scores, _to_keys(attention_bias, where))
    seen = _seen(places, where, bool(causal), local_window_size)
    scores = scores.masked_fill(~seen, torch.finfo(scores.dtype).min)
    chances = _chances(scores, head_sink, smooth_softmax == 1)
    shown = None if not qk_output else scores if qk_output == 1 else chances
    answer = join_heads(product(chances, v.repeat_interleave(groups, 1)))
    return answer, forms[0].stored(present[0]), forms[1].stored(present[1]), shown


class _Form:
    """In which form a cache stores its numbers: as they are, or in few bits with a scale in all or for each feature."""

    def __init__(self, kind: str, scale: Tensor | None, bits: int | None, dtype: torch.dtype) -> None:
        if kind not in {"NONE", "PER_TENSOR", "PER_CHANNEL"}:
            raise ImportFault(f"a cache quantised {kind!r} is unknown", hint="NONE, PER_TENSOR or PER_CHANNEL")
        self.scale: Tensor | None = None
        self.bits, self.dtype = bits or 0, dtype
        if kind != "NONE":
            if scale is None or bits not in {4, 8}:
                raise ImportFault(
                    "a quantised cache lacks its scale, or has neither 4 nor 8 bits",
                    hint="export k_scale, v_scale and kv_cache_bit_width",
                )
            self.scale = scale.to(dtype)

    def read(self, cache: Tensor) -> Tensor:
        """Return what a cache's numbers stand for."""
        if self.scale is None:
            return cache
        numbers = unpacked(cache, 4).to(self.dtype) - 8 if self.bits == 4 else cache.to(self.dtype)
        return numbers * self.scale

    def rounded(self, new: Tensor) -> Tensor:
        """Return what new entries are once they are stored."""
        return new if self.scale is None else quantise(new / self.scale, None, f"int{self.bits}") * self.scale

    def stored(self, cache: Tensor) -> Tensor:
        """Return a cache in the form in which it is handed on."""
        if self.scale is None:
            return cache
        numbers = store(cache / self.scale, "int8")
        if self.bits == 8:
            return numbers
        low, high = (numbers + 8).to(torch.uint8).unflatten(-1, (-1, 2)).unbind(-1)
        return low | (high << 4)


def _turns(places: Tensor, position_ids: Tensor | None, first: bool) -> Tensor:
    """Return by which place each query turns; of a whole sequence's, ONNX Runtime reads where its first one stands."""
    if position_ids is None:
        return places
    return places + position_ids.reshape(-1)[0] if first else position_ids


def _resident(ends: Tensor, rows: int, window: int) -> Tensor:
    """Return which token each row of a cache of the last ones holds; -1 where it holds none.

    The cache is filled, and then makes room for as many tokens as it is wider than the window, all at once.
    """
    slack = rows - window + 1
    evicted = slack * ((ends - rows).clamp(min=0) + slack - 1).div(slack, rounding_mode="floor")
    where = evicted + torch.arange(rows, device=ends.device)
    return where.masked_fill(where >= ends, -1)


def _at(cache: Tensor, where: Tensor, wanted: Tensor) -> Tensor:
    """Return of a cache, whose rows hold the tokens ``where``, those that are wanted; nothing for -1."""
    found = (where.unsqueeze(1) == wanted.unsqueeze(2)) & (wanted >= 0).unsqueeze(2)
    rows = found.to(torch.uint8).argmax(2)
    picked = cache.gather(2, rows[:, None, :, None].expand(-1, cache.shape[1], -1, cache.shape[3]))
    return torch.where(found.any(2)[:, None, :, None], picked, 0.0)


def _grouped(
    query: Tensor, key: Tensor | None, value: Tensor | None, heads: int, kv_heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values as [B, N, S, H]; they may come packed side by side."""
    if key is None or value is None:
        size = query.shape[2] // (heads + 2 * kv_heads)
        query, key, value = torch.split(query, [heads * size, kv_heads * size, kv_heads * size], 2)
    return split_heads(query, heads), split_heads(key, kv_heads), split_heads(value, kv_heads)


def _normed(x: Tensor, weight: Tensor | None, epsilon: float) -> Tensor:
    """Divide each head by the root of its mean square, where a weight is given."""
    if weight is None:
        return x

    def run(x: Tensor, weight: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon) * weight

    return part("RMSNormalization", run, x, weight, epsilon=epsilon)


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


def _seen(places: Tensor, where: Tensor, causal: bool, window: int) -> Tensor:
    """Say which keys, which stand at the places ``where``, each query sees: none behind it, none too far before it."""
    rows, columns = places.unsqueeze(2), where.unsqueeze(1)
    seen = (columns >= 0).expand(rows.shape[0], rows.shape[1], columns.shape[2])
    if causal:
        seen = seen & (columns <= rows)
    if window >= 0:
        seen = seen & (columns > rows - window)
    return seen.unsqueeze(1)


def _to_keys(bias: Tensor, where: Tensor) -> Tensor:
    """Return a bias, which has a column for each place, with a column for each key."""
    batch = max(bias.shape[0], where.shape[0])
    columns = where.clamp(0, bias.shape[3] - 1)[:, None, None].expand(batch, *bias.shape[1:3], -1)
    return bias.expand(batch, -1, -1, -1).gather(3, columns)


def _chances(scores: Tensor, sink: Tensor | None, smooth: bool) -> Tensor:
    """Softmax over the keys, and over a sink that takes what no key gets where there is one."""
    if sink is None and not smooth:
        return softmax(scores)
    extra = (
        torch.zeros_like(scores[..., :1]) if sink is None else sink.reshape(1, -1, 1, 1).expand(scores[..., :1].shape)
    )
    return softmax(torch.cat([scores, extra.to(scores.dtype)], -1))[..., :-1]


@op("SparseAttention", domain=DOMAIN)
def sparse_attention(
    query: Tensor,
    key: Tensor | None,
    value: Tensor | None,
    past_key: Tensor,
    past_value: Tensor,
    block_row_indices: Tensor,
    block_col_indices: Tensor,
    total_sequence_length: Host,
    key_total_sequence_lengths: Tensor,
    cos_cache: Tensor | None = None,
    sin_cache: Tensor | None = None,
    *,
    do_rotary: int | None = None,
    kv_num_heads: int,
    num_heads: int,
    rotary_interleaved: int | None = None,
    scale: float | None = None,
    sparse_block_size: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Attend to those blocks of earlier tokens that a layout names for each block of queries, and head."""
    q, k, v = _grouped(query, key, value, num_heads, kv_num_heads)
    ends = key_total_sequence_lengths.reshape(-1, 1).long()
    places = (ends - q.shape[2]).clamp(min=0) + torch.arange(q.shape[2], device=q.device)
    if do_rotary:
        if cos_cache is None or sin_cache is None:
            raise ImportFault("do_rotary needs cos_cache and sin_cache")
        q, k = (turn(x, cos_cache[places], sin_cache[places], bool(rotary_interleaved)) for x in (q, k))
    total = int(total_sequence_length)
    rows = places[:, None, :, None].expand(k.shape)
    present = past_key.scatter(2, rows, k), past_value.scatter(2, rows, v)
    k, v = (cache[:, :, :total].repeat_interleave(num_heads // kv_num_heads, 1) for cache in present)
    where = torch.arange(total, device=k.device)
    blocks = _block_mask(block_row_indices, block_col_indices)
    named = blocks[:, (places // sparse_block_size).unsqueeze(2), where // sparse_block_size].transpose(0, 1)
    seen = _seen(places, where.masked_fill(where >= ends, -1), True, -1)
    seen = seen & named.repeat(1, num_heads // blocks.shape[0], 1, 1)
    scores = match(q, k, scale).masked_fill(~seen, torch.finfo(q.dtype).min)
    return join_heads(product(softmax(scores), v)), *present


def _block_mask(row_indices: Tensor, columns: Tensor) -> Tensor:
    """Return [layouts, blocks, blocks] of where each row's columns begin, and the columns of all rows."""
    layouts, blocks = row_indices.shape[0], row_indices.shape[1] - 1
    numbers = torch.arange(columns.shape[1], device=columns.device).expand(layouts, -1)
    rows = torch.searchsorted(row_indices[:, 1:].long().contiguous(), numbers.contiguous(), right=True)
    flat = rows.clamp(max=blocks - 1) * blocks + columns.long().clamp(min=0)
    counted = (numbers < row_indices[:, -1:]).to(torch.int64)  # behind the last row's columns lies padding
    mask = torch.zeros(layouts, blocks * blocks, dtype=torch.int64, device=columns.device)
    return (mask.scatter_add(1, flat, counted) > 0).reshape(layouts, blocks, blocks)
