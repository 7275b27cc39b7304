"""Fused operators of ``com.microsoft`` against ONNX Runtime; by hand where its CPU has no kernel."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from onnxsal.errors import ImportFault
from onnxsal.importer.build import build
from onnxsal.importer.normalise import normalise
from tests.importer.ops.support import check, node_model

RANDOM = np.random.default_rng(11)
check = partial(check, opset=1, domain="com.microsoft")


def _x(*shape, kind=np.float32):
    return RANDOM.standard_normal(shape).astype(kind)


@pytest.mark.parametrize("op_type", ["Gelu", "FastGelu", "QuickGelu"])
def test_gelu(op_type):
    check(op_type, [_x(2, 3, 4)], gradient=True, trace=True, atol=1e-6)


def test_gelu_with_a_bias():
    check("BiasGelu", [_x(2, 3, 4), _x(4)], gradient=True)
    check("FastGelu", [_x(2, 3, 4), _x(4)], gradient=True)
    check("QuickGelu", [_x(2, 3)], alpha=0.7, gradient=True)


def test_scaled_silu():
    check("ScaledSiLU", [_x(2, 3)], alpha=0.5, gradient=True)


def test_without_a_kernel_for_the_cpu():
    x, bias = _x(2, 3, 8), _x(8)
    both = torch.from_numpy(x + bias)
    check("BiasSplitGelu", [x, bias], expected=[(both[..., :4] * F.gelu(both[..., 4:])).numpy()], gradient=True)
    check("BiasAdd", [x, bias, x], expected=[x + bias + x])
    check("BiasDropout", [x, bias], n_outputs=2, expected=[x + bias, np.ones(x.shape, bool)])


@pytest.mark.parametrize(("inner", "shape"), [(1, (2, 1, 1, 4)), (0, (3, 4))])
def test_bias_softmax(inner, shape):
    x = _x(2, 3, 3, 4) if inner else _x(2, 3, 4)
    bias = _x(*shape)
    axis = 3 if inner else 2
    expected = torch.softmax(torch.from_numpy(x + bias), -1).numpy()
    check("BiasSoftmax", [x, bias], axis=axis, is_inner_broadcast=inner, expected=[expected], gradient=True)


@pytest.mark.parametrize("transposed", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("constant", [False, True])
def test_fused_matmul(transposed, constant):
    a, b = transposed
    left = _x(2, 4, 3) if a else _x(2, 3, 4)
    right = _x(5, 4) if b else _x(4, 5)
    constants = [1] if constant else []
    for alpha in (1.0, 0.25):
        check("FusedMatMul", [left, right], transA=a, transB=b, alpha=alpha, constants=constants, gradient=True)
        check("TransposeMatMul", [left, right], transA=a, transB=b, alpha=alpha)


@pytest.mark.parametrize("batch", [(0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("last", [0, 1])
def test_fused_matmul_with_rows_first(batch, last):
    a, b = batch
    left = _x(4, 2, 3) if last else _x(3, 2, 4)
    left = left if a else np.ascontiguousarray(np.moveaxis(left, 0, 1))
    right = _x(5, 2, 4) if last else _x(4, 2, 5)
    right = right if b else np.ascontiguousarray(np.moveaxis(right, 0, 1))
    check("FusedMatMul", [left, right], transA=last, transB=last, transBatchA=a, transBatchB=b, gradient=True)


ACTIVATIONS = [
    {"activation": "Relu"},
    {"activation": "Tanh"},
    {"activation": "Sigmoid"},
    {"activation": "LeakyRelu", "activation_alpha": 0.3},
    {"activation": "HardSigmoid", "activation_alpha": 0.3, "activation_beta": 0.4},
]


@pytest.mark.parametrize("bend", ACTIVATIONS, ids=lambda bend: bend["activation"])
@pytest.mark.parametrize("constants", [[], [1, 2]])
def test_fused_gemm(bend, constants):
    inputs = [_x(3, 4), _x(5, 4), _x(5)]
    check("FusedGemm", inputs, transB=1, constants=constants, gradient=True, **bend)
    check("FusedGemm", inputs, transB=1, alpha=0.5, beta=2.0, constants=constants, **bend)


CONV_ACTIVATIONS = [
    {"activation": "Relu"},
    {"activation": "Tanh"},
    {"activation": "Sigmoid"},
    {"activation": "LeakyRelu", "activation_params": [0.3]},
    {"activation": "Clip", "activation_params": [-0.5, 1.5]},
    {"activation": "HardSigmoid", "activation_params": [0.3, 0.4]},
]


@pytest.mark.parametrize("bend", CONV_ACTIVATIONS, ids=lambda bend: bend["activation"])
@pytest.mark.parametrize("constants", [[], [1, 2]])
def test_fused_conv(bend, constants):
    inputs = [_x(1, 4, 6, 5), _x(4, 2, 3, 3), _x(4)]
    check("FusedConv", inputs, pads=[1, 0, 1, 0], strides=[2, 1], group=2, constants=constants, gradient=not constants,
          atol=1e-5, **bend)  # fmt: skip


def test_fused_conv_with_a_shortcut():
    inputs = [_x(1, 2, 5, 5), _x(3, 2, 3, 3), _x(3), _x(1, 3, 3, 3)]
    check("FusedConv", inputs, activation="Relu", gradient=True, constants=[1, 2], atol=1e-5)


def test_fused_layers_share_their_weights():
    model = node_model("FusedConv", [_x(1, 2, 5, 5), _x(3, 2, 3, 3)], opset=1, domain="com.microsoft", constants=[1],
                       activation="Relu")  # fmt: skip
    module = build(normalise(model))
    assert isinstance(module.node.inner, torch.nn.Conv2d)


def test_nhwc_conv():
    x, w, b = _x(2, 4, 7, 6), _x(6, 4, 3, 3), _x(6)
    y = F.conv2d(*map(torch.from_numpy, (x, w, b)), padding=1, stride=2).permute(0, 2, 3, 1).numpy()
    last = [np.ascontiguousarray(np.moveaxis(a, 1, -1)) for a in (x, w)]
    check("NhwcConv", [*last, b], pads=[1, 1, 1, 1], strides=[2, 2], expected=[y], atol=1e-5, gradient=True)


def test_conv_transpose_with_dynamic_pads():
    inputs = [_x(1, 3, 4, 4), _x(3, 2, 3, 3), np.array([1, 0, 1, 1]), _x(2)]
    check("ConvTransposeWithDynamicPads", inputs, strides=[2, 2], output_padding=[1, 1], constants=[2], atol=1e-5)


def test_inverse():
    check("Inverse", [_x(2, 3, 3) + 3 * np.eye(3, dtype="f4")], gradient=True, rtol=1e-4)


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean"])
def test_cdist(metric):
    check("CDist", [_x(4, 3), _x(5, 3)], metric=metric, gradient=True, rtol=1e-4, atol=1e-5)


def test_an_unknown_metric_is_refused():
    with pytest.raises(ImportFault, match="cosine"):
        build(normalise(node_model("CDist", [_x(4, 3), _x(5, 3)], opset=1, domain="com.microsoft", metric="cosine")))(
            torch.zeros(1, 1), torch.zeros(1, 1)
        )


def test_an_unknown_activation_is_refused():
    inputs = [_x(3, 4), _x(4, 5)]
    with pytest.raises(ImportFault, match="Swish"):
        build(normalise(node_model("FusedGemm", inputs, opset=1, domain="com.microsoft", activation="Swish",
                                   constants=[1])))  # fmt: skip


def test_moving_elements():
    x = _x(3, 4)
    check("ExpandDims", [x, np.array(-1, np.int32)], constants=[1])
    check("ExpandDims", [x, np.array(1, np.int32)], constants=[1])
    for upper in (0, 1):
        check("Trilu", [x, np.array(1)], upper=upper, constants=[1], gradient=True)
        check("Trilu", [x], upper=upper)
    check("GatherND", [x, np.array([[0, 1], [2, 3]])])
    check("GatherND", [x, np.array([[1], [2]])])
    check("UnfoldTensor", [x], dim=1, size=2, step=2, gradient=True)
    check("UnfoldTensor", [x], size=3)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_pad(mode):
    value = [np.array([1.5], np.float32)] if mode == "constant" else []
    constants = [1, 2][: 1 + len(value)]
    check("Pad", [_x(3, 4), np.array([1, 2, 1, 0]), *value], mode=mode, constants=constants, gradient=True)


@pytest.mark.parametrize("only", [{}, {"isinf_only": 1}, {"isnan_only": 1}])
def test_is_all_finite(only):
    for bad in (np.nan, np.inf, 1.0):
        wrong = not np.isfinite(bad) if not only else np.isinf(bad) if "isinf_only" in only else np.isnan(bad)
        inputs = [_x(2), np.array([0.0, bad], np.float32)]
        check("IsAllFinite", inputs, expected=[np.array(not wrong)], **only)


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_grid_sample(mode, padding):
    grid = RANDOM.uniform(-1.2, 1.2, (1, 3, 4, 2)).astype(np.float32)
    for corners in (0, 1):
        check("GridSample", [_x(1, 2, 5, 6), grid], mode=mode, padding_mode=padding, align_corners=corners, atol=1e-5)


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.float32, np.float64])
def test_range(kind):
    check("Range", [np.array(v, kind) for v in (2, 11, 3)])
    check("Range", [np.array(v, kind) for v in (-1, 3)], constants=[0, 1])
