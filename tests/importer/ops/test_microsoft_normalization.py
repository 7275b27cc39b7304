"""Normalisations of ONNX Runtime's own against its kernels; by hand where its CPU has none."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from onnxsal.importer.build import build
from onnxsal.importer.normalise import normalise
from tests.importer.ops.support import check as check_any
from tests.importer.ops.support import check_gradient, node_model, run_onnxruntime

RANDOM = np.random.default_rng(19)
MS = {"opset": 1, "domain": "com.microsoft"}
check = partial(check_any, **MS)


def _x(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("opset", [11, 16])
@pytest.mark.parametrize("constants", [[], [1, 2]])
def test_layer_normalization_below_opset_17(opset, constants):
    inputs = [_x(2, 3, 8), _x(8), _x(8)]
    check_any("LayerNormalization", inputs, opset=opset, constants=constants, atol=1e-5, gradient=not constants)
    check_any("LayerNormalization", inputs, opset=opset, constants=constants, atol=1e-5, n_outputs=3, axis=2)


@pytest.mark.parametrize("opset", [11, 18])
def test_simplified_layer_normalization(opset):
    check_any("SimplifiedLayerNormalization", [_x(2, 3, 8), _x(8)], opset=opset, atol=1e-5, gradient=True)
    check_any("SimplifiedLayerNormalization", [_x(2, 3, 8), _x(8)], opset=opset, atol=1e-5, epsilon=0.1)


def _check_named(op_type, inputs, names, **attributes):
    """Check a node of which some outputs have no name."""
    model = node_model(op_type, inputs, n_outputs=len(names), **MS, **attributes)
    del model.graph.output[:]
    model.graph.output.extend(type(model.graph.input[0])(name=name) for name in names if name)
    model.graph.node[0].output[:] = names
    expected = run_onnxruntime(model, inputs)
    module = build(normalise(model))
    got = module(*map(torch.from_numpy, inputs))
    for ours, theirs in zip(got, expected, strict=True):
        assert np.allclose(ours.numpy(), theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("beta", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("skip", [(2, 3, 8), (3, 8), (1, 3, 8)])
def test_skip_layer_normalization(beta, bias, skip):
    inputs = [_x(2, 3, 8), _x(*skip), _x(8), _x(8) if beta else None, _x(8) if bias else None]
    check("SkipLayerNormalization", inputs, atol=1e-5, gradient=len(skip) == 3)


def test_skip_layer_normalization_gives_the_sum():
    _check_named("SkipLayerNormalization", [_x(2, 3, 8), _x(2, 3, 8), _x(8), _x(8), _x(8)], ["y", "", "", "sum"])
    _check_named("SkipSimplifiedLayerNormalization", [_x(2, 3, 8), _x(2, 3, 8), _x(8)], ["y", "", "", "sum"])


@pytest.mark.parametrize("bias", [False, True])
def test_skip_simplified_layer_normalization(bias):
    inputs = [_x(2, 3, 8), _x(2, 3, 8), _x(8), _x(8) if bias else None]
    check("SkipSimplifiedLayerNormalization", inputs, atol=1e-5, gradient=True)


@pytest.mark.parametrize("segments", [False, True])
@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("places", [False, True])
def test_embed_layer_normalization(segments, mask, places):
    ids = RANDOM.integers(0, 10, (2, 4)).astype(np.int32)
    inputs = [
        ids, ids % 2 if segments else None, _x(10, 6), _x(5, 6), _x(2, 6) if segments else None, _x(6), _x(6),
        (ids > 3).astype(np.int32) if mask else None, ids[:, ::-1] % 5 if places else None,
    ]  # fmt: skip
    inputs = [v if v is None else np.ascontiguousarray(v) for v in inputs]
    tables = [i for i in (2, 3, 4, 5, 6) if inputs[i] is not None]
    check("EmbedLayerNormalization", inputs, n_outputs=3, constants=tables, atol=1e-5, epsilon=1e-6)


@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("activation", [0, 1])
def test_group_norm(last, activation):
    x, scale, shift = _x(2, 6, 3, 4), _x(6), _x(6)
    y = F.group_norm(*map(torch.from_numpy, [x]), 3, *map(torch.from_numpy, [scale, shift]), 1e-5)
    y = F.silu(y) if activation else y
    given, expected = (np.ascontiguousarray(np.moveaxis(a, 1, -1)) if last else a for a in (x, y.numpy()))
    attributes = {"channels_last": last, "activation": activation, "groups": 3}
    check("GroupNorm", [given, scale, shift], expected=[expected], atol=1e-5, gradient=True, **attributes)
    half = given / 2
    check("SkipGroupNorm", [half, scale, shift, half], expected=[expected, given], n_outputs=2, atol=1e-5, **attributes)


def test_a_shortcut_of_one_row_per_example():
    x, skip, bias = _x(2, 3, 4, 6), _x(2, 6), _x(6)
    total = x + skip[:, None, None] + bias
    model = node_model("SkipGroupNorm", [x, _x(6), _x(6), skip, bias], n_outputs=2, **MS, groups=2, activation=0)
    module = build(normalise(model))
    _, got = module(*(torch.from_numpy(a) for a in (x, _x(6), _x(6), skip, bias)))
    assert np.allclose(got.numpy(), total, atol=1e-6)
    check_gradient(module, [a.astype(np.float64) for a in (x[:, :1, :2], _x(6), _x(6), skip, bias)])


@pytest.mark.parametrize("segments", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_quantised_embeddings(segments, masked, kind):
    info = np.iinfo(kind)

    def stored(*shape):
        return RANDOM.integers(info.min, info.max, shape, endpoint=True).astype(kind)

    scales = [np.array(0.01 + 0.01 * RANDOM.random(), np.float32) for _ in range(5)]
    zeros = [np.array(RANDOM.integers(20, 50), kind) for _ in range(5)]
    ids = RANDOM.integers(0, 5, (2, 4)).astype(np.int32)
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 1]], np.int32) if masked else None
    inputs = [ids, ids % 2, stored(5, 8), stored(6, 8), stored(2, 8), stored(8), stored(8), mask, *scales, *zeros]
    inputs = [None if i in {1, 4, 10, 15} and not segments else v for i, v in enumerate(inputs)]
    given = [i for i, v in enumerate(inputs) if v is not None and i not in {0, 1, 7}]
    check("QEmbedLayerNormalization", inputs, n_outputs=2, constants=given, epsilon=1e-6, rtol=1e-4, atol=1e-5)
