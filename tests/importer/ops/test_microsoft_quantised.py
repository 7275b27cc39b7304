"""Quantised operators of ``com.microsoft`` against ONNX Runtime."""

from functools import partial

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from onnxsal.errors import ImportFault
from onnxsal.importer.build import build
from onnxsal.importer.normalise import normalise
from onnxsal.importer.ops.microsoft_quantised import qlinear_sigmoid
from tests.importer.ops.support import check, node_model, run_onnxruntime

RANDOM = np.random.default_rng(13)
check = partial(check, opset=1, domain="com.microsoft")
KINDS = [np.uint8, np.int8]


def _q(kind, *shape):
    info = np.iinfo(kind)
    return RANDOM.integers(info.min, info.max + 1, shape).astype(kind)


def _scale(value):
    return np.array(value, np.float32)


def _zero(kind, value=0):
    return np.array((130 if kind is np.uint8 else 3) + value, kind)


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int16])
@pytest.mark.parametrize("axis", [None, 1])
def test_rounding_and_back(kind, axis):
    x = (RANDOM.standard_normal((3, 4, 5)) * 3).astype(np.float32)
    attributes = {} if axis is None else {"axis": axis}
    scale = _scale(0.05) if axis is None else np.linspace(0.01, 0.1, 4).astype(np.float32)
    zero = np.full(scale.shape, 7, kind)
    check("QuantizeLinear", [x, scale, zero], constants=[1, 2], **attributes)
    check("DequantizeLinear", [_q(kind, 3, 4, 5), scale, zero], constants=[1, 2], **attributes)


@pytest.mark.parametrize("op_type", ["QLinearAdd", "QLinearMul"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("constants", [[], [1, 2, 4, 5, 6, 7]])
def test_two_operands(op_type, kind, constants):
    inputs = [_q(kind, 3, 40), _scale(0.031), _zero(kind), _q(kind, 40), _scale(0.017), _zero(kind, 5)]
    check(op_type, [*inputs, _scale(0.0533), _zero(kind, -9)], constants=constants)


@pytest.mark.parametrize("kind", KINDS)
def test_bent_elements(kind):
    x = [np.arange(256).astype(kind).reshape(2, 128), _scale(0.047), _zero(kind)]
    check("QLinearLeakyRelu", [*x, _scale(0.031), _zero(kind, 3)], alpha=0.2, constants=[1, 2, 3, 4])
    check("QLinearSigmoid", [*x, _scale(1 / 256), np.array(0 if kind is np.uint8 else -128, kind)],
          constants=[1, 2, 3, 4])  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("opset", "axis"), [(12, 1), (13, 1), (13, -1)])
def test_softmax(kind, opset, axis):
    inputs = [
        _q(kind, 2, 3, 6),
        _scale(0.05),
        _zero(kind),
        _scale(1 / 256),
        np.array(-128 if kind is np.int8 else 0, kind),
    ]
    model = node_model("QLinearSoftmax", inputs, opset=1, domain="com.microsoft", constants=[1, 2, 3, 4], axis=axis)
    model.graph.node[0].attribute.append(helper.make_attribute("opset", opset))
    (expected,) = run_onnxruntime(model, inputs[:1])
    (got,) = build(normalise(model))(torch.from_numpy(inputs[0]))
    assert got.numpy().dtype == expected.dtype
    assert np.abs(got.numpy().astype(int) - expected).max() <= 1  # ONNX Runtime sums integers from a table


@pytest.mark.parametrize("kind", KINDS)
def test_where(kind):
    condition = RANDOM.random((3, 4)) > 0.5
    inputs = [condition, _q(kind, 3, 4), _scale(0.03), _zero(kind), _q(kind, 4), _scale(0.05), _zero(kind, 2)]
    check("QLinearWhere", [*inputs, _scale(0.04), _zero(kind, 1)], constants=[2, 3, 5, 6, 7, 8])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("constants", [[], [0, 1, 3, 4, 6, 7]])
def test_concat(kind, constants):
    inputs = [
        _scale(0.04),
        _zero(kind),
        _q(kind, 2, 3),
        _scale(0.04),
        _zero(kind),
        _q(kind, 2, 5),
        _scale(0.03),
        _zero(kind, 4),
    ]
    check("QLinearConcat", inputs, axis=1, constants=constants)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("last", [0, 1])
def test_pooling(kind, last):
    x = _q(kind, 2, 6, 7, 3) if last else _q(kind, 2, 3, 6, 7)
    inputs = [x, _scale(0.0317), _zero(kind), _scale(0.0213), _zero(kind, 2)]
    constants = [1, 2, 3, 4]
    check("QLinearGlobalAveragePool", inputs, channels_last=last, constants=constants)
    for pad in (0, 1):
        check("QLinearAveragePool", inputs, channels_last=last, kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1],
              count_include_pad=pad, constants=constants)  # fmt: skip


@pytest.mark.parametrize("last", [0, 1])
def test_convolution(last):
    x = _q(np.uint8, 1, 6, 7, 4) if last else _q(np.uint8, 1, 4, 6, 7)
    w = _q(np.int8, 6, 4, 3, 3)
    scales = np.linspace(0.002, 0.01, 6).astype(np.float32)
    inputs = [x, _scale(0.03), _zero(np.uint8), w, scales, np.zeros(6, np.int8), _scale(0.4), _zero(np.uint8),
              RANDOM.integers(-500, 500, 6).astype(np.int32)]  # fmt: skip
    check("QLinearConv", inputs, channels_last=last, pads=[1, 1, 1, 1], constants=list(range(1, 9)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("columns", [False, True])
def test_integer_products(kind, columns):
    a, b = _q(np.uint8, 3, 4, 7), _q(kind, 7, 5)
    scale = np.linspace(0.01, 0.02, 5).astype(np.float32) if columns else _scale(0.013)
    zero = np.full(scale.shape, 0 if columns else 3, kind)
    bias = RANDOM.standard_normal(5).astype(np.float32)
    check(
        "MatMulIntegerToFloat", [a, b, _scale(0.02), scale, _zero(np.uint8), zero, bias], constants=[1, 2, 3, 4, 5, 6]
    )
    check("MatMulIntegerToFloat", [a, b, _scale(0.02), scale])
    real = RANDOM.standard_normal((3, 4, 7)).astype(np.float32)
    check("DynamicQuantizeMatMul", [real, b, scale, zero, bias], constants=[1, 2, 3, 4])
    check("DynamicQuantizeMatMul", [real, b, scale])


def test_integer_products_of_16_bits():
    check("MatMulInteger16", [_q(np.int16, 3, 4), _q(np.int16, 4, 2)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("turned", [(0, 0), (1, 1)])
@pytest.mark.parametrize("rounded", [False, True])
def test_gemm(kind, turned, rounded):
    a, b = turned
    left = _q(kind, 4, 3) if a else _q(kind, 3, 4)
    right = _q(kind, 5, 4) if b else _q(kind, 4, 5)
    c = RANDOM.integers(-900, 900, 5).astype(np.int32)
    inputs = [left, _scale(0.02), _zero(kind), right, _scale(0.03), _zero(kind, 1), c]
    inputs += [_scale(0.25), _zero(kind)] if rounded else []
    constants = list(range(1, len(inputs)))
    check("QGemm", inputs, transA=a, transB=b, alpha=0.5, constants=constants)
    check("QGemm", [*inputs[:6], None, *inputs[7:]], transA=a, transB=b, constants=[i for i in constants if i != 6])


BLOCKS = [(4, 16), (4, 32), (8, 32), (2, 32)]


@pytest.mark.parametrize(("bits", "block"), BLOCKS)
@pytest.mark.parametrize("zero", ["none", "packed", "float"])
@pytest.mark.parametrize("bias", [False, True])
def test_weights_of_few_bits(bits, block, zero, bias):
    wide, outputs = 80, 6
    blocks = -(-wide // block)
    a = RANDOM.standard_normal((2, 3, wide)).astype(np.float32)
    b = _q(np.uint8, outputs, blocks, block * bits // 8)
    scales = RANDOM.random((outputs, blocks)).astype(np.float32)
    zeros = {
        "none": None,
        "packed": _q(np.uint8, outputs, -(-blocks * bits // 8)),
        "float": RANDOM.random((outputs, blocks)).astype(np.float32) * 2**bits,
    }[zero]
    row = RANDOM.standard_normal(outputs).astype(np.float32) if bias else None
    inputs = [a, b, scales, zeros, None, row]
    attributes = {"K": wide, "N": outputs, "bits": bits, "block_size": block}
    given = [i for i, v in enumerate(inputs) if v is not None][1:]
    if zero == "float" and bits != 4:  # ONNX Runtime takes such zero points with 4 bits only
        return
    check("MatMulNBits", inputs, constants=given, rtol=1e-4, atol=2e-3 if bits == 8 else 1e-4, **attributes)


@pytest.mark.parametrize("level", [0, 1, 4])
@pytest.mark.parametrize(("bits", "block"), [(2, 16), (2, 64), (4, 16), (4, 32), (4, 128), (8, 16), (8, 64)])
@pytest.mark.parametrize("zero", ["none", "packed"])
@pytest.mark.parametrize("constant", [False, True])
def test_a_coarse_product_of_few_bits(level, bits, block, zero, constant):
    """At level 4 ONNX Runtime rounds the other matrix to 8 bits, where the weights are constant."""
    wide, outputs = 80, 6
    blocks = -(-wide // block)
    zeros = _q(np.uint8, outputs, -(-blocks * bits // 8)) if zero == "packed" else None
    scales = (RANDOM.random((outputs, blocks)) / 2**bits).astype(np.float32)
    inputs = [RANDOM.standard_normal((2, 3, wide)).astype(np.float32), _q(np.uint8, outputs, blocks, block * bits // 8),
              scales, zeros]  # fmt: skip
    given = [i for i, v in enumerate(inputs) if v is not None][1:] if constant else []
    check("MatMulNBits", inputs, constants=given, rtol=1e-5, atol=2e-5, trace=True, K=wide, N=outputs, bits=bits,
          block_size=block, accuracy_level=level)  # fmt: skip


def _coarse():
    """Return a model with a coarse product, its input and its weights as floats."""
    a, b, scales = (
        RANDOM.standard_normal((2, 32)).astype(np.float32),
        _q(np.uint8, 4, 1, 16),
        np.full(4, 0.1, np.float32),
    )
    model = node_model("MatMulNBits", [a, b, scales], opset=1, domain="com.microsoft", constants=[1, 2], K=32, N=4,
                       block_size=32, accuracy_level=4)  # fmt: skip
    weights = (np.stack([b & 15, b >> 4], -1).reshape(4, 32).astype(np.float32) - 8) * scales[:, None]
    return model, torch.from_numpy(a), torch.from_numpy(weights)


def test_a_coarse_product_may_be_read_without_its_rounding():
    model, a, weights = _coarse()
    exact = a @ weights.T
    torch.testing.assert_close(build(normalise(model), rounding=False)(a)[0], exact)
    assert not torch.allclose(build(normalise(model))(a)[0], exact, rtol=1e-4, atol=1e-4)


def test_a_gradient_passes_straight_through_a_coarse_product():
    model, a, weights = _coarse()
    a.requires_grad_()
    build(normalise(model))(a)[0].sum().backward()
    torch.testing.assert_close(a.grad, weights.sum(0).expand(2, -1))


def test_a_row_of_nothing_stays_nothing():
    model, a, _ = _coarse()
    assert build(normalise(model))(torch.zeros_like(a))[0].eq(0).all()


def test_weights_of_few_bits_become_a_linear_layer():
    inputs = [np.zeros((1, 32), np.float32), _q(np.uint8, 4, 1, 16), np.ones(4, np.float32)]
    model = node_model(
        "MatMulNBits", inputs, opset=1, domain="com.microsoft", constants=[1, 2], K=32, N=4, block_size=32
    )
    assert isinstance(build(normalise(model)).node, torch.nn.Linear)


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("constants", [[], [1, 2]])
def test_weights_of_4_bit_codes(kind, constants):
    a, b = RANDOM.standard_normal((2, 3, 32)).astype(np.float32), _q(np.uint8, 32 * 6 // 2)
    scales = RANDOM.random(32 * 6 // 16).astype(np.float32)
    check("MatMulBnb4", [a, b, scales], K=32, N=6, block_size=16, quant_type=kind, constants=constants, atol=1e-5)


def test_an_unknown_code_is_refused():
    inputs = [np.zeros((1, 32), np.float32), _q(np.uint8, 16), np.ones(2, np.float32)]
    sizes = {"K": 32, "N": 1, "block_size": 16, "quant_type": 2}
    model = node_model("MatMulBnb4", inputs, opset=1, domain="com.microsoft", constants=[1, 2], **sizes)
    with pytest.raises(ImportFault, match="quant_type 2"):
        build(normalise(model))


@pytest.mark.parametrize("kind", KINDS)
def test_largest_of_each_window(kind):
    check("NhwcMaxPool", [_q(kind, 2, 6, 7, 3)], kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1])
    check("NhwcMaxPool", [_q(kind, 2, 6, 7, 3)], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1, dilations=[2, 1])


def _gather(data, indices, scales, zeros, **attributes):
    """Check a table of few bits; the numbers of 4 bits come as a tensor of them, or packed in bytes."""
    inputs = [data, indices, scales] + ([] if zeros is None else [zeros])
    names = [f"x{i}" for i in range(len(inputs))]
    node = helper.make_node("GatherBlockQuantized", names, ["y"], domain="com.microsoft", **attributes)
    weights = [numpy_helper.from_array(v, n) for n, v in zip(names, inputs, strict=True) if n != "x1"]
    port = helper.make_tensor_value_info("x1", TensorProto.INT64, [None] * indices.ndim)
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "graph", [port], [output], weights)
    opsets = [helper.make_opsetid("com.microsoft", 1), helper.make_opsetid("", 21)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    (expected,) = run_onnxruntime(model, [indices])
    (got,) = build(normalise(model))(torch.from_numpy(indices))
    assert got.shape == expected.shape
    assert np.allclose(got.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["int4", "uint4"])
@pytest.mark.parametrize("zeros", [False, True])
def test_table_of_4_bits(kind, zeros):
    import ml_dtypes

    dtype = getattr(ml_dtypes, kind)
    numbers = RANDOM.integers(-8 if kind == "int4" else 0, 8, (10, 48)).astype(dtype)
    scales = RANDOM.random((10, 3)).astype(np.float32)
    zero = RANDOM.integers(0, 4, (10, 3)).astype(dtype) if zeros else None
    for indices in (np.array([[1, -1], [3, 0]]), np.array([2])):
        _gather(numbers, indices, scales, zero, block_size=16)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("zeros", [False, True])
def test_table_in_bytes(bits, zeros):
    data = _q(np.uint8, 10, 48 * bits // 8)
    scales = RANDOM.random((10, 3)).astype(np.float32)
    zero = _q(np.uint8, 10, -(-3 * bits // 8)) if zeros else None
    _gather(data, np.array([[1, -1], [3, 0]]), scales, zero, block_size=16, bits=bits)


def test_gradients_pass_from_operator_to_operator():
    """A chain of quantised operators has the slope of the unquantised one."""
    scale, zero = numpy_helper.from_array(_scale(0.01), "s"), numpy_helper.from_array(np.array(128, np.uint8), "z")
    ms = "com.microsoft"
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("QLinearAdd", ["q", "s", "z", "q", "s", "z", "s", "z"], ["twice"], domain=ms),
        helper.make_node("QLinearConcat", ["s", "z", "twice", "s", "z", "q", "s", "z"], ["both"], domain=ms, axis=1),
        helper.make_node("QLinearLeakyRelu", ["both", "s", "z", "s", "z"], ["bent"], domain=ms, alpha=0.5),
        helper.make_node("DequantizeLinear", ["bent", "s", "z"], ["y"]),
    ]
    ports = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])]
    graph = helper.make_graph(nodes, "graph", ports, outputs, [scale, zero])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(ms, 1)]
    module = build(normalise(helper.make_model(graph, opset_imports=opsets, ir_version=8)))
    x = torch.tensor([[0.2, -0.3]], requires_grad=True)
    (y,) = module(x)
    assert torch.allclose(y, torch.tensor([[0.4, -0.3, 0.2, -0.15]]), atol=1e-6)
    y.sum().backward()
    assert torch.allclose(x.grad, torch.tensor([[3.0, 1.5]]), rtol=1e-5)


def test_a_signed_result_without_a_zero_point_is_refused():
    with pytest.raises(ImportFault, match="zero point"):
        qlinear_sigmoid(torch.zeros(2, dtype=torch.int8), torch.tensor(1.0), None, torch.tensor(1.0))
