"""Attention in its standard and its ONNX Runtime forms, and rotary embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from onnxsal.importer.operator import Operator
from tests.oracle.gradients import Case, Draw, chance, flag, generator, maybe, numbers, one_of, options, slopes, whole

MICROSOFT = "com.microsoft"
some = st.floats(0.3, 1.5)
BATCH, WIDTH = 2, 2


@slopes(
    "Attention",
    modes={"is_causal": (0, 1), "qk_matmul_output_mode": (0, 1, 2, 3)},
    unused={"softmax_precision": "single or half precision, in which differences drown"},
)
def attention(draw: Draw, op: Operator) -> Case:
    heads, kv_heads = draw(one_of(((2, 2), (2, 1))))
    queries, keys, before = draw(st.integers(1, 3)), draw(st.integers(2, 3)), draw(one_of((0, 2)))
    flat = chance(draw)
    sizes = [[BATCH, n, length, WIDTH] for n, length in ((heads, queries), (kv_heads, keys), (kv_heads, keys))]
    q, k, v = (numbers(draw, s) for s in sizes)
    chosen = options(draw, op, is_causal=flag, scale=some, softcap=one_of((0.0, 1.7)))
    if flat:
        q, k, v = (x.transpose(0, 2, 1, 3).reshape(BATCH, x.shape[2], -1).copy() for x in (q, k, v))
        chosen |= {"q_num_heads": heads, "kv_num_heads": kv_heads}
    past = [numbers(draw, [BATCH, kv_heads, before, WIDTH]) for _ in range(2)] if before else [None, None]
    mask = maybe(draw, lambda: numbers(draw, [queries, before + keys]))
    if "left_window_size" in op.attributes and chance(draw):
        chosen |= {"left_window_size": 2, "right_window_size": 2}
    chosen["qk_matmul_output_mode"] = draw(st.integers(0, 3))
    masked = chosen.get("is_causal") or "left_window_size" in chosen  # shown as minus infinity, which no sum bears
    return Case([q, k, v, mask, *past], chosen, (3 if masked else 4) if before else 1)


@slopes("RotaryEmbedding", modes={"interleaved": (0, 1)})
def rotary(draw: Draw, op: Operator) -> Case:
    steps, heads, size = 3, 2, 4
    part = draw(one_of((0, 2)))
    chosen = options(draw, op, interleaved=flag) | {"rotary_embedding_dim": part}
    ids = maybe(draw, lambda: np.array([[0, 1, 2], [2, 0, 1]]))
    cache = [steps, (part or size) // 2] if ids is not None else [BATCH, steps, (part or size) // 2]
    flat = part or chance(draw)
    if flat:
        chosen["num_heads"] = heads
    x = numbers(draw, [BATCH, steps, heads * size] if flat else [BATCH, heads, steps, size])
    return Case([x, numbers(draw, cache), numbers(draw, cache), ids], chosen)


@slopes("RotaryEmbedding", domain=MICROSOFT, modes={"interleaved": (0, 1)}, unused={
    "is_packed_batching": "no kernel reads it", "scale": "no kernel reads it",
})  # fmt: skip
def rotary_microsoft(draw: Draw, op: Operator) -> Case:
    steps, heads, size = 3, 2, 4
    part = draw(one_of((0, 2)))
    chosen = options(draw, op, interleaved=flag)
    if part or chance(draw):
        chosen |= {"rotary_embedding_dim": part, "num_heads": heads}
    ids = draw(one_of((whole(1), np.array([[0, 1, 2], [2, 0, 1]]))))
    cache = [5, (part or size) // 2]
    flat = part or chance(draw)
    x = numbers(draw, [BATCH, steps, heads * size] if flat else [BATCH, heads, steps, size])
    if flat and "num_heads" not in chosen:
        chosen["num_heads"] = heads
    return Case([x, ids, numbers(draw, cache), numbers(draw, cache)], chosen)


@slopes("Attention", domain=MICROSOFT, modes={"unidirectional": (0, 1)}, unused={
    "do_rotary": "no processor kernel turns", "rotary_embedding_dim": "no processor kernel turns",
    "past_present_share_buffer": "about memory", "mask_filter_value": "stands for minus infinity",
})  # fmt: skip
def attention_microsoft(draw: Draw, op: Operator) -> Case:
    steps, heads, width = 3, 2, 4
    sizes = draw(one_of(([4, 4, 4], [4, 4, 6])))
    chosen: dict[str, Any] = {"num_heads": heads} | options(draw, op, unidirectional=flag, scale=some)
    if sizes[2] != 4 or chance(draw):
        chosen["qkv_hidden_sizes"] = sizes
    past = maybe(draw, lambda: numbers(draw, [2, BATCH, heads, 2, 2])) if sizes[2] == 4 else None
    keys = steps + (0 if past is None else 2)
    bias = maybe(draw, lambda: numbers(draw, [1, heads, steps, keys]))
    mask = maybe(draw, lambda: np.array([[1] * keys, [1] * (keys - 1) + [0]], np.int32))
    inputs = [
        numbers(draw, [BATCH, steps, width]),
        numbers(draw, [width, sum(sizes)]),
        numbers(draw, [sum(sizes)]),
        mask,
    ]
    return Case([*inputs, past, bias], chosen, 2 if past is not None else 1)


@slopes("MultiHeadAttention", domain=MICROSOFT, modes={"unidirectional": (0, 1)}, unused={
    "mask_filter_value": "stands for minus infinity",
})  # fmt: skip
def multi_head(draw: Draw, op: Operator) -> Case:
    steps, heads, width = 2, 2, 4
    chosen: dict[str, Any] = {"num_heads": heads} | options(draw, op, unidirectional=flag, scale=some)
    keys = steps if chosen.get("unidirectional") else 3
    query, key, value = (numbers(draw, [BATCH, n, width]) for n in (steps, keys, keys))
    mask = maybe(draw, lambda: np.array([[1] * keys, [1] * (keys - 1) + [0]], np.int32))
    bias = maybe(draw, lambda: numbers(draw, [1, heads, steps, keys]))
    return Case([query, key, value, maybe(draw, lambda: numbers(draw, [3 * width])), mask, bias], chosen)


@slopes("GroupQueryAttention", domain=MICROSOFT, modes={
    "causal": (0, 1), "do_rotary": (0, 1), "rotary_interleaved": (0, 1), "smooth_softmax": (-1, 1),
    "qk_output": (0, 1, 2), "sliding_window_cache": (0, 1),
}, unused={
    "k_quant_type": "a quantised cache rounds", "v_quant_type": "a quantised cache rounds",
    "kv_cache_bit_width": "a quantised cache rounds",
})  # fmt: skip
def group_query(draw: Draw, op: Operator) -> Case:
    steps, heads, kv_heads, size = 3, 2, 1, 4
    chosen: dict[str, Any] = {"num_heads": heads, "kv_num_heads": kv_heads}
    chosen |= options(
        draw, op, causal=flag, do_rotary=flag, rotary_interleaved=flag, scale=some, softcap=one_of((1.7, 2.3)),
        local_window_size=one_of((-1, 2)), smooth_softmax=one_of((-1, 1)), qk_output=one_of((0, 1, 2)),
        qk_norm_epsilon=st.just(1e-3), q_norm_epsilon=st.just(1e-2), k_norm_epsilon=st.just(1e-2),
    )  # fmt: skip
    if chosen.get("qk_output") == 1:  # shows what is masked as the lowest number, which no sum bears
        chosen["causal"], chosen["local_window_size"] = 0, -1
    before = draw(one_of((0, 2)))
    if before and not chosen.get("qk_output") and chance(draw):
        chosen |= {"sliding_window_cache": 1, "local_window_size": 2, "causal": 1}
    else:
        chosen["sliding_window_cache"] = 0
    past = [numbers(draw, [BATCH, kv_heads, before, size]) for _ in range(2)] if before else [None, None]
    total = steps + before
    caches = [numbers(draw, [8, size // 2]) for _ in range(2)] if chosen.get("do_rotary") else [None, None]
    packed = chance(draw)
    if packed:
        inputs: list[Any] = [numbers(draw, [BATCH, steps, (heads + 2 * kv_heads) * size]), None, None]
    else:
        inputs = [numbers(draw, [BATCH, steps, n * size]) for n in (heads, kv_heads, kv_heads)]
    inputs += [*past, np.array([total - 1] * BATCH, np.int32), np.array(total, np.int32), *caches, None]
    inputs.append(maybe(draw, lambda: numbers(draw, [1, heads, steps, total])))
    inputs.append(maybe(draw, lambda: numbers(draw, [heads])))
    if chance(draw):
        inputs += [None, None, numbers(draw, [size]), numbers(draw, [size])]
        if before and chosen.get("qk_output") != 1 and chance(draw):  # the second example's chunk is padded
            inputs[5] = np.array([total - 1, total - 2], np.int32)
            inputs.append(np.array([steps, steps - 1], np.int32))
    return Case(inputs, chosen, 4 if chosen.get("qk_output") else 3)


@slopes("SparseAttention", domain=MICROSOFT, modes={"do_rotary": (0, 1), "rotary_interleaved": (0, 1)})
def sparse(draw: Draw, op: Operator) -> Case:
    steps, heads, kv_heads, size, block, total = 3, 2, 1, 4, 2, 5
    chosen: dict[str, Any] = {"num_heads": heads, "kv_num_heads": kv_heads, "sparse_block_size": block}
    chosen |= options(draw, op, do_rotary=flag, rotary_interleaved=flag, scale=some)
    new = [numbers(draw, [BATCH, steps, n * size]) for n in (heads, kv_heads, kv_heads)]
    past = [numbers(draw, [BATCH, kv_heads, 6, size]) for _ in range(2)]
    rows, columns = np.array([[0, 1, 2, 4]], np.int32), np.array([[0, 1, 0, 2]], np.int32)
    lengths = np.array([total, total - 1], np.int32)
    caches = [numbers(draw, [8, size // 2]) for _ in range(2)] if chosen.get("do_rotary") else []
    return Case([*new, *past, rows, columns, np.array(total, np.int32), lengths, *caches], chosen, 3)


@slopes("DecoderMaskedMultiHeadAttention", domain=MICROSOFT, modes={"past_present_share_buffer": (0, 1)}, unused={
    "mask_filter_value": "stands for minus infinity", "output_qk": "no processor kernel shows it",
})  # fmt: skip
def decoder_masked(draw: Draw, op: Operator) -> Case:
    heads, width, rows = 2, 4, 5
    chosen: dict[str, Any] = {"num_heads": heads} | options(draw, op, past_present_share_buffer=flag, scale=some)
    new = [numbers(draw, [BATCH, 1, width]) for _ in range(3)]
    bias = maybe(draw, lambda: numbers(draw, [3 * width]))
    if not chosen.get("past_present_share_buffer"):
        across = [numbers(draw, [BATCH, heads, 3, width // heads]) for _ in range(2)]
        mask = maybe(draw, lambda: np.array([[1, 1, 0], [1, 0, 1]], np.int32))
        return Case([new[0], *across, mask, *[None] * 6, bias], chosen)
    past = [numbers(draw, [BATCH, heads, rows, width // heads]) for _ in range(2)]
    beams = maybe(draw, lambda: np.array([[[0, 1, 0, 0, 0], [1, 1, 0, 0, 0]]], np.int32))
    return Case([*new, None, maybe(draw, lambda: numbers(draw, [1, heads, 1, 4])), *past, np.array([3], np.int32), None,
                 beams, bias], chosen, 3)  # fmt: skip


@slopes("MRotaryEmbedding", domain=MICROSOFT, modes={"interleaved": (0, 1), "mrope_layout": (0, 1)}, unused={
    "is_packed_batching": "no kernel reads it", "scale": "no kernel reads it",
})  # fmt: skip
def rotary_multimodal(draw: Draw, op: Operator) -> Case:
    steps, heads, size = 3, 2, 8
    part = draw(one_of((0, 6)))
    chosen = options(draw, op, interleaved=flag, mrope_layout=flag)
    chosen |= {"num_heads": heads, "mrope_section": [1, 1, 1] if part else [2, 1, 1]}
    chosen |= {"rotary_embedding_dim": part} if part else {}
    ids = generator(draw).integers(0, 5, (3, BATCH, steps))
    cache = [5, (part or size) // 2]
    flat = part or chance(draw)
    x = numbers(draw, [BATCH, steps, heads * size] if flat else [BATCH, heads, steps, size])
    return Case([x, ids, numbers(draw, cache), numbers(draw, cache)], chosen)


GRAPH = "a graph, which test_flex_attention.py gives"


@slopes("FlexAttention", domain="ai.onnx.preview", unused={
    "score_mod": GRAPH, "prob_mod": GRAPH, "softmax_precision": "double precision by itself",
})  # fmt: skip
def flex_attention(draw: Draw, op: Operator) -> Case:
    heads, kv_heads = draw(one_of(((2, 2), (2, 1))))
    sizes = [[BATCH, heads, 3, WIDTH], [BATCH, kv_heads, 4, WIDTH], [BATCH, kv_heads, 4, WIDTH + 1]]
    return Case([numbers(draw, s) for s in sizes], options(draw, op, scale=some))
