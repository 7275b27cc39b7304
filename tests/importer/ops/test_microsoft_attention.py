"""Attention as ONNX Runtime fuses it, against its kernels."""

from functools import partial

import numpy as np
import pytest

from onnxsal.errors import ImportFault
from onnxsal.importer.build import build
from onnxsal.importer.normalise import normalise
from tests.importer.ops.support import check as check_any
from tests.importer.ops.support import node_model, run_onnxruntime

RANDOM = np.random.default_rng(23)
MS = {"opset": 1, "domain": "com.microsoft"}
check = partial(check_any, **MS, rtol=1e-4, atol=1e-5)
B, N, S, H = 2, 2, 4, 8
D = N * H


def _x(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


def _masks(keys):
    """Return a mask in every form: lengths, ends and starts, per key, per query and key."""
    return {
        "lengths": np.array([keys, 2], np.int32),
        "ends and starts": np.array([keys, 3, 1, 0], np.int32),
        "per key": np.array([[1] * keys, [0] + [1] * (keys - 2) + [0]], np.int32),
        "per query": (RANDOM.random((B, S, keys)) > 0.3).astype(np.int32),
    }


def _attention(mask=None, past=None, bias=None, sizes=None, **attributes):
    wide = sum(sizes) if sizes else 3 * D
    inputs = [_x(B, S, D), _x(D, wide) * 0.3, _x(wide), mask, past, bias]
    attributes |= {"qkv_hidden_sizes": sizes} if sizes else {}
    check("Attention", inputs, num_heads=N, n_outputs=2 if past is not None else 1, constants=[1, 2], **attributes)


@pytest.mark.parametrize("form", ["lengths", "ends and starts", "per key", "per query"])
@pytest.mark.parametrize("causal", [0, 1])
def test_attention_with_a_mask(form, causal):
    _attention(_masks(S)[form], unidirectional=causal)


@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("form", [None, "per key", "lengths"])
def test_attention_with_a_cache(causal, form):
    _attention(None if form is None else _masks(S + 3)[form], _x(2, B, N, 3, H), unidirectional=causal)


def test_attention_with_further_options():
    _attention(bias=_x(B, N, S, S))
    _attention(bias=_x(1, N, S, S), scale=0.2)
    _attention(_masks(S)["per key"], mask_filter_value=-50.0)
    _attention(sizes=[D, D, 3 * N])


def test_attention_gradient():
    inputs = [_x(1, 3, D), _x(D, 3 * D) * 0.3, _x(3 * D)]
    check("Attention", inputs, num_heads=N, constants=[1, 2], gradient=True, unidirectional=1)


@pytest.mark.parametrize("option", [{"do_rotary": 1}, {"past_present_share_buffer": 1}])
def test_what_attention_refuses(option):
    inputs = [_x(B, S, D), _x(D, 3 * D)]
    module = build(normalise(node_model("Attention", inputs, opset=1, domain="com.microsoft", num_heads=N, **option)))
    with pytest.raises(ImportFault):
        module(*map(_tensor, inputs))


def _tensor(array):
    import torch

    return torch.from_numpy(array)


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("past", [False, True])
def test_quantised_attention(kind, columns, past):
    x = RANDOM.integers(0, 256, (B, S, D)).astype(np.uint8)
    info = np.iinfo(kind)
    w = RANDOM.integers(info.min, info.max + 1, (D, 3 * D)).astype(kind)
    scale = np.linspace(0.002, 0.004, 3 * D).astype(np.float32) if columns else np.array(0.003, np.float32)
    zero = np.full(scale.shape, 0 if columns else 5, kind)
    inputs = [
        x,
        w,
        _x(3 * D),
        np.array(0.02, np.float32),
        scale,
        np.array([S, 2], np.int32),
        np.array(120, np.uint8),
        zero,
    ]
    inputs = [*inputs, _x(2, B, N, 3, H)] if past else inputs
    inputs[5] = None if past else inputs[5]
    check("QAttention", inputs, num_heads=N, unidirectional=1, n_outputs=2 if past else 1,
          constants=[1, 2, 3, 4, 6, 7])  # fmt: skip


def _multi_head(*inputs, outputs=1, **attributes):
    check("MultiHeadAttention", [*inputs], num_heads=N, n_outputs=outputs, **attributes)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("values", [D, 3 * N])
def test_multi_head_attention(bias, values):
    shift = _x(2 * D + values) if bias else None
    _multi_head(_x(B, S, D), _x(B, 5, D), _x(B, 5, values), shift)


def test_multi_head_attention_gradient():
    _multi_head(_x(1, 3, D), _x(1, 4, D), _x(1, 4, D), _x(3 * D), gradient=True)


@pytest.mark.parametrize("form", ["lengths", "per key", "per query"])
def test_multi_head_attention_with_a_mask(form):
    _multi_head(_x(B, S, D), _x(B, 5, D), _x(B, 5, D), None, _masks(5)[form])


def test_multi_head_attention_packed():
    """ONNX Runtime's CPU wants queries, keys and values apart."""
    packed = _x(B, S, N, 3, H)
    q, k, v = (np.ascontiguousarray(packed[:, :, :, i].reshape(B, S, D)) for i in range(3))
    expected = run_onnxruntime(node_model("MultiHeadAttention", [q, k, v], **MS, num_heads=N), [q, k, v])
    check("MultiHeadAttention", [packed], num_heads=N, expected=expected)
    check("MultiHeadAttention", [q, np.ascontiguousarray(packed[:, :, :, 1:])], num_heads=N, expected=expected)


def test_multi_head_attention_of_another_layer():
    _multi_head(_x(B, S, D), _x(B, N, 5, H), _x(B, N, 5, H))


def test_multi_head_attention_with_further_options():
    _multi_head(_x(B, S, D), _x(B, S, D), _x(B, S, D), None, None, _x(1, N, S, S))
    _multi_head(_x(B, S, D), _x(B, S, D), _x(B, S, D), None, None, _x(B, 1, S, S), scale=0.1)
    _multi_head(_x(B, S, D), _x(B, S, D), _x(B, S, D), unidirectional=1)


@pytest.mark.parametrize("causal", [0, 1])
def test_multi_head_attention_with_a_cache(causal):
    inputs = [_x(B, S, D), _x(B, S, D), _x(B, S, D), None, None, None, _x(B, N, 3, H), _x(B, N, 3, H)]
    _multi_head(*inputs, outputs=3, unidirectional=causal)


def _angles(places, size):
    angles = np.arange(places)[:, None] / 10.0 ** np.arange(size // 2)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("places", [np.array([2]), np.array([[0, 1, 2, 3], [3, 4, 5, 6]])])
def test_rotary_embedding(interleaved, places):
    for x in (_x(B, S, D), _x(B, N, S, H)):
        check("RotaryEmbedding", [x, places, *_angles(9, H)], interleaved=interleaved, constants=[1, 2, 3],
              gradient=x.ndim == 3)  # fmt: skip
        check("RotaryEmbedding", [x, places, *_angles(9, 4)], interleaved=interleaved, rotary_embedding_dim=4,
              num_heads=N, constants=[1, 2, 3])  # fmt: skip


G, W = 4, 16


def _grouped(queries, past, lengths, total=None, rotary=False, packed=False, extra=(), **attributes):
    """Check GroupQueryAttention: ``past`` is the cache's length, ``lengths`` how many keys each example has in all."""
    q, k, v = _x(B, queries, G * W), _x(B, queries, N * W), _x(B, queries, N * W)
    qkv = [np.concatenate([q, k, v], 2), None, None] if packed else [q, k, v]
    cache = [None, None] if past is None else [_x(B, N, past, W), _x(B, N, past, W)]
    total = max(lengths) if total is None else total
    inputs = [*qkv, *cache, np.array(lengths, np.int32) - 1, np.array(total, np.int32)]
    inputs += [*_angles(16, W)] if rotary else [None, None]
    inputs += list(extra)
    outputs = 3
    constants = [i for i in (5, 6, 7, 8) if i < len(inputs) and inputs[i] is not None]
    check("GroupQueryAttention", inputs, num_heads=G, kv_num_heads=N, do_rotary=int(rotary), n_outputs=outputs,
          constants=constants, **attributes)  # fmt: skip


@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_grouped_prompt(rotary, packed):
    _grouped(S, None, [S, S], rotary=rotary, packed=packed)
    _grouped(S, 0, [S, S], rotary=rotary, packed=packed)


@pytest.mark.parametrize("rotary", [False, True])
def test_grouped_next_token(rotary):
    _grouped(1, 5, [6, 6], rotary=rotary)
    _grouped(1, 5, [6, 4], rotary=rotary)


@pytest.mark.parametrize("places", [None, np.array([[1, 4, 7]])])
def test_grouped_several_tokens(places):
    """ONNX Runtime takes them for one example at a time."""
    q, k, v, past = _x(1, 3, G * W), _x(1, 3, N * W), _x(1, 3, N * W), _x(1, N, 5, W)
    inputs = [q, k, v, past, past, np.array([7], np.int32), np.array(8, np.int32), *_angles(16, W), places]
    check("GroupQueryAttention", inputs, num_heads=G, kv_num_heads=N, do_rotary=1, n_outputs=3, constants=[5, 6, 7, 8])


@pytest.mark.parametrize("option", [{"local_window_size": 2}, {"softcap": 1.5}, {"scale": 0.2}, {"smooth_softmax": 1},
                                    {"rotary_interleaved": 1, "rotary": True}])  # fmt: skip
def test_grouped_options(option):
    _grouped(S, None, [S, S], **option)
    _grouped(1, 5, [6, 6], **option)


def test_grouped_places_and_bias():
    _grouped(S, None, [S, S], rotary=True, extra=[np.array([[1, 2, 3, 4], [0, 1, 2, 3]])])
    _grouped(1, 5, [6, 4], rotary=True, extra=[np.array([[7], [2]])])
    _grouped(S, None, [S, S], extra=[None, _x(1, G, S, S)])
    _grouped(S, None, [S, S], extra=[None, None, _x(G)])


def test_grouped_norms():
    """ONNX Runtime's CPU does not normalise, so it is handed what is normalised already."""
    weights = [_x(W), _x(W)]
    inputs = [_x(B, S, G * W), _x(B, S, N * W), _x(B, S, N * W)]
    rest = [None, None, np.full(B, S - 1, np.int32), np.array(S, np.int32)]
    normal = [_normal(inputs[0], G, weights[0]), _normal(inputs[1], N, weights[1]), inputs[2]]
    options = {"num_heads": G, "kv_num_heads": N, "n_outputs": 3}
    model = node_model("GroupQueryAttention", [*normal, *rest], **MS, **options)
    expected = run_onnxruntime(model, [*normal, *rest[2:]])
    inputs = [*inputs, *rest, *[None] * 7, *weights]
    check("GroupQueryAttention", inputs, **options, qk_norm_epsilon=1e-5, constants=[5, 6], expected=expected)


def _normal(x, heads, weight):
    apart = x.reshape(B, S, heads, W)
    return (apart / np.sqrt((apart**2).mean(-1, keepdims=True) + 1e-5) * weight).reshape(x.shape)


def test_grouped_prompts_of_different_lengths():
    _grouped(S, None, [S, 2])
    _grouped(S, None, [S, 2], rotary=True)


def test_grouped_both_ways():
    _grouped(S, None, [S, S], causal=0)


def test_a_quantised_cache_is_refused():
    inputs = [
        _x(B, 1, G * W),
        _x(B, 1, N * W),
        _x(B, 1, N * W),
        None,
        None,
        np.zeros(B, np.int32),
        np.array(1, np.int32),
    ]
    model = node_model("GroupQueryAttention", inputs, opset=1, domain="com.microsoft", num_heads=G, kv_num_heads=N,
                       n_outputs=3, k_quant_type="PER_TENSOR")  # fmt: skip
    with pytest.raises(ImportFault, match="quantised cache"):
        build(normalise(model))(*(_tensor(a) for a in inputs if a is not None))
