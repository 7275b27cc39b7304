"""Quantised models, read as they are deployed and without their rounding."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

import onnxsal
from onnxsal.engine import open_engine
from onnxsal.entries import Method
from onnxsal.errors import ParityError, UsageError
from onnxsal.importer.quantised import quantise
from onnxsal.parity import verify
from tests import models_for_tests as tiny
from tests import models_quantised as quantised

X = torch.tensor([[0.1, 0.2345, 0.3]])
DEQUANTISED = torch.tensor(np.round(quantised.WEIGHT / quantised.WEIGHT_SCALE) * quantised.WEIGHT_SCALE)


@pytest.mark.parametrize("proto", [quantised.qdq_linear(), quantised.dynamic_linear()])
def test_without_rounding_the_answer_is_that_of_the_real_numbers(proto: onnx.ModelProto) -> None:
    module = onnxsal.load(proto).torch(quantized="float")
    torch.testing.assert_close(module(X)[0], X @ DEQUANTISED.T)
    assert not torch.allclose(onnxsal.load(proto).torch()(X)[0], X @ DEQUANTISED.T, atol=1e-4)


def test_what_the_type_cannot_hold_saturates_either_way() -> None:
    """Quantisers leave the clipping of a ReLU to the range: to drop it would change the network."""
    model = onnxsal.load(quantised.qdq_linear())
    below = torch.tensor([[-9.0, 0.0, 0.0]], requires_grad=True)
    for reading in ("ste", "float"):
        (logits,) = model.torch(quantized=reading)(below)
        torch.testing.assert_close(logits, torch.tensor([[-4.0, 0, 0]]) @ DEQUANTISED.T)
        (gradient,) = torch.autograd.grad(logits[0, 0], below)
        assert gradient[0, 0] == 0
        torch.testing.assert_close(gradient[0, 1:], DEQUANTISED[0, 1:])


def test_a_range_made_for_the_numbers_clips_none_of_them() -> None:
    """The zero point is rounded, which moves the range by a part of a step; the largest number must survive that."""
    model = onnxsal.load(quantised.dynamic_linear())
    wide = torch.tensor([[-0.37, 0.2, 0.61]], requires_grad=True)
    (logits,) = model.torch(quantized="float")(wide)
    torch.testing.assert_close(logits, wide @ DEQUANTISED.T)
    (gradient,) = torch.autograd.grad(logits[0, 0], wide)
    torch.testing.assert_close(gradient, DEQUANTISED[:1])


def test_integers_that_leave_the_graph_are_whole_either_way() -> None:
    nodes = [helper.make_node("QuantizeLinear", ["x", "scale"], ["q"], name="quantize")]
    proto = tiny.model(
        nodes, [("x", tiny.FLOAT, ["N", 3])], [("q", onnx.TensorProto.UINT8, ["N", 3])], {"scale": np.float32(0.25)}
    )
    (q,) = onnxsal.load(proto).torch(quantized="float")(torch.tensor([[0.2, 0.3, 0.9]]))
    assert q.dtype == torch.uint8
    assert q.tolist() == [[1, 1, 4]]


@pytest.mark.parametrize("stored", ["float8_e4m3fn", "float8_e5m2"])
def test_eight_bit_floats_too(stored: str) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], name="quantize"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"], name="dequantize"),
    ]
    element = getattr(onnx.TensorProto, stored.replace("_", "").upper())
    proto = tiny.model(nodes, [("x", tiny.FLOAT, [3])], [("y", tiny.FLOAT, [3])], opset=19)
    proto.graph.initializer.append(helper.make_tensor("scale", tiny.FLOAT, [], [0.5]))
    proto.graph.initializer.append(helper.make_tensor("zero", element, [], [0]))
    x = torch.tensor([0.3, 1.7, 1e9])
    (y,) = onnxsal.load(proto).torch(quantized="float")(x)
    assert torch.equal(y[:2], x[:2])
    assert y[2] == torch.finfo(getattr(torch, stored)).max * 0.5


@pytest.mark.parametrize("proto", [quantised.qdq_linear(), quantised.dynamic_linear()])
def test_the_reading_is_traced_with_the_operators(proto: onnx.ModelProto) -> None:
    module = onnxsal.load(proto).torch(quantized="float")
    batch = torch.export.Dim("batch", min=2, max=64)
    traced = torch.export.export(module, (torch.ones(3, 3),), dynamic_shapes=({0: batch},), strict=False)
    x = torch.linspace(-1, 1, 15).reshape(5, 3)
    torch.testing.assert_close(traced.module()(x)[0], x @ DEQUANTISED.T)


def test_the_reading_ends_with_the_call() -> None:
    onnxsal.load(quantised.qdq_linear()).torch(quantized="float")(X)
    assert quantise(torch.tensor([0.4]), None, "uint8").tolist() == [0.0]


def test_each_reading_is_built_once_and_only_where_there_is_something_to_read() -> None:
    model = onnxsal.load(quantised.qdq_linear())
    assert model.torch() is model.torch(quantized="ste", precision="float32")
    assert model.torch(quantized="float") is model.torch(quantized="float")
    assert model.torch(quantized="float") is not model.torch()
    plain = onnxsal.load(tiny.linear())
    assert plain.torch(quantized="float") is plain.torch()


def test_the_provenance_says_how_it_was_read_and_how_far_that_is_from_what_is_deployed() -> None:
    feeds = {"x": np.float32([[0.1, 0.7, 2.2]])}
    real_logits = torch.tensor(feeds["x"]) @ DEQUANTISED.T
    deployed = onnxsal.explain(quantised.qdq_linear(), feeds, target=0)
    real = onnxsal.explain(quantised.qdq_linear(), feeds, target=0, quantized="float")
    assert (deployed.provenance.quantized, real.provenance.quantized) == ("ste", "float")
    assert real.parity is not None
    assert real.parity["quantized"] == "float"
    assert real.score == pytest.approx(real_logits[0, :1].numpy(), rel=1e-5)
    (note,) = real.provenance.notes
    distance = real.parity["outputs"][0]["max_rel"]
    assert distance > 0.01
    assert note == (
        f"the quantised model is read without its rounding: output 'logits' was up to {distance:.2g} of its scale "
        "from the deployed answer"
    )
    assert deployed.provenance.notes == ()
    unproved = onnxsal.explain(quantised.qdq_linear(), feeds, target=0, quantized="float", verify=False)
    assert "was not looked at" in unproved.provenance.notes[0]
    assert onnxsal.explain(tiny.linear(), feeds, target=0, quantized="float").provenance.quantized is None


def test_a_reading_too_far_from_what_is_deployed_is_refused() -> None:
    far = np.full((1, 3), 0.12, np.float32)  # rounds to nothing, so that any other answer is infinitely far
    with pytest.raises(ParityError, match="read without its rounding, output 'logits' differs") as fault:
        onnxsal.explain(quantised.qdq_linear(), {"x": far}, target=0, quantized="float", tolerance=1e-3)
    assert "--quantized ste" in str(fault.value)
    assert verify(onnxsal.load(quantised.qdq_linear()), {"x": far}, quantized="float").tolerance == 0.25


def test_the_original_file_cannot_be_read_otherwise() -> None:
    with pytest.raises(UsageError, match=r"--quantized: engine 'onnxruntime' runs the file as it is deployed"):
        open_engine(
            onnxsal.load(quantised.qdq_linear()),
            Method("any", dict, gradient=False),
            "score",
            "onnxruntime",
            "cpu",
            {"quantized": "float"},
        )


def test_a_bias_among_the_integers_lets_the_gradient_through() -> None:
    """A bias in steps of the activations' own scale, as ONNX Runtime's quantiser of convolutions once wrote it."""
    proto = quantised.dynamic_linear()
    nodes = {n.name: n for n in proto.graph.node}
    nodes["cast"].input[0] = "shifted"
    bias = [
        helper.make_node("Div", ["bias", "factor"], ["steps"], name="steps"),
        helper.make_node("Floor", ["steps"], ["floor"], name="floor"),
        helper.make_node("Cast", ["floor"], ["whole"], name="whole", to=onnx.TensorProto.INT32),
        helper.make_node("Add", ["sums", "whole"], ["shifted"], name="add"),
    ]
    order = [nodes[n] for n in ("quantize", "matmul", "factor")] + bias + [nodes["cast"], nodes["scale"]]
    del proto.graph.node[:]
    proto.graph.node.extend(order)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([5.0, -3.0], np.float32), "bias"))
    x = torch.tensor([[-0.37, 0.2, 0.61]], requires_grad=True)
    (logits,) = onnxsal.load(proto).torch()(x)
    torch.testing.assert_close(logits, x @ DEQUANTISED.T + torch.tensor([5.0, -3.0]), atol=0.05, rtol=0)
    (gradient,) = torch.autograd.grad(logits[0, 0], x)
    torch.testing.assert_close(gradient, DEQUANTISED[:1])
