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


@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("interleaved", [0, 1])
def test_multimodal_rotary_embedding(layout, interleaved):
    for section in ([2, 1, 1], [0, 2, 2], [4, 0, 0]):
        places = RANDOM.integers(0, 9, (3, B, S))
        for x in (_x(B, S, D), _x(B, N, S, H)):
            check("MRotaryEmbedding", [x, places, *_angles(9, H)], interleaved=interleaved, mrope_layout=layout,
                  mrope_section=section, num_heads=N, constants=[2, 3], gradient=x.ndim == 3, trace=True)  # fmt: skip
    check("MRotaryEmbedding", [_x(B, S, D), places, *_angles(9, 4)], mrope_layout=layout, mrope_section=[1, 1, 0],
          rotary_embedding_dim=4, num_heads=N, constants=[2, 3])  # fmt: skip


def test_a_mask_of_lengths_and_ends():
    lengths = np.array([4, 2, 0, 4, 8, 0, 4, 8], np.int32)
    _multi_head(_x(B, S, D), _x(B, S, D), _x(B, S, D), None, lengths)


def _full_cache():
    """Return a query, a key and a value of one token, and a cache of six of which three are written."""
    return [_x(B, 1, D), _x(B, 1, D), _x(B, 1, D)], [_x(B, N, 6, H), _x(B, N, 6, H), np.array([3], np.int32)]


@pytest.mark.parametrize("beams", [None, 1, 2])
def test_multi_head_attention_with_a_cache_of_full_length(beams):
    new, cache = _full_cache()
    source = None if beams is None else RANDOM.integers(0, beams, (B // beams, beams, 6)).astype(np.int32)
    _multi_head(*new, None, None, None, *cache, source, outputs=3, constants=[8])


decoder = partial(check, "DecoderMaskedMultiHeadAttention", num_heads=N)


@pytest.mark.parametrize("beams", [None, 1, 2])
@pytest.mark.parametrize("options", [(), ("mask",), ("bias",), ("mask", "attention bias")])
def test_decoder_with_a_cache_of_full_length(beams, options):
    new, cache = _full_cache()
    source = None if beams is None else RANDOM.integers(0, beams, (B // beams, beams, 6)).astype(np.int32)
    mask = np.array([[1, 1, 0, 1], [1, 0, 1, 1]], np.int32) if "mask" in options else None
    shown = _x(B, N, 1, 4) if "attention bias" in options else None
    width = None if beams is None else np.array([beams], np.int32)
    inputs = [*new, mask, shown, *cache, width, source, _x(3 * D) if "bias" in options else None]
    decoder(inputs, n_outputs=3, past_present_share_buffer=1, scale=0.3)


def test_decoder_across():
    q, k, v = _x(B, 1, D), _x(B, N, 5, H), _x(B, N, 5, H)
    decoder([q, k, v], gradient=True)
    decoder([q, k, v, np.array([[1, 1, 0, 1, 1], [1, 0, 1, 1, 0]], np.int32)], mask_filter_value=-50.0)
    decoder([q, k, v, *[None] * 7, _x(3 * D)])
    decoder([q, _x(B, 1, D), _x(B, 1, D)])


@pytest.mark.parametrize("inputs", [[None, None], [_x(B, 1, D)] * 2])
def test_decoders_for_other_processors_are_refused(inputs):
    cache = [None, None, _x(B, N, 3, H), _x(B, N, 3, H)]
    fed = [_x(B, 1, D), *inputs, *cache]
    model = node_model("DecoderMaskedMultiHeadAttention", fed, **MS, n_outputs=3, num_heads=N)
    with pytest.raises(ImportFault, match="other processors"):
        build(normalise(model))(*(_tensor(a) for a in fed if a is not None))
