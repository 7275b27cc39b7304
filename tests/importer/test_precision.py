"""Models in half precision, as they are and raised to float32."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

import onnxsal
from onnxsal.errors import ParityError
from onnxsal.importer.normalise import normalise
from onnxsal.importer.precision import has_halves, raised
from tests import models_for_tests as tiny
from tests import models_quantised as quantised

X = np.full((1, 3), 0.5, np.float16)


def test_half_precision_is_kept_unless_asked() -> None:
    model = onnxsal.load(quantised.half_overflow())
    (y,) = model.torch()(torch.from_numpy(X))
    assert y.dtype == torch.float16
    (y,) = model.torch(precision="float32")(torch.from_numpy(X).float())
    assert y.dtype == torch.float32


def test_the_remedy_that_is_offered_helps() -> None:
    high = {"x": np.ones((1, 3), np.float16)}
    native = onnxsal.explain(quantised.half_overflow(), high, target=0, abs=False, verify=False)
    assert "half precision overflows" in native.provenance.notes[0]
    assert "--precision float32" in native.provenance.notes[0]
    a = onnxsal.explain(quantised.half_overflow(), high, target=0, abs=False, precision="float32")
    assert a.provenance.notes == ()
    assert a.values["x"].dtype == np.float32
    assert a.values["x"].tolist() == [[pytest.approx(2 * 300**2 * 1e-3, rel=1e-3), 0, 0]]


def test_where_onnx_runtime_computes_in_more_than_halves_the_refusal_says_how_to_do_so() -> None:
    with pytest.raises(ParityError, match="--precision float32"):
        onnxsal.explain(quantised.half_overflow(), {"x": np.ones((1, 3), np.float16)}, target=0)


def test_the_provenance_says_which() -> None:
    native = onnxsal.explain(quantised.half_overflow(), {"x": X}, target=0)
    wide = onnxsal.explain(quantised.half_overflow(), {"x": X}, target=0, precision="float32")
    assert (native.provenance.precision, native.provenance.dtype) == ("native", {"x": "float16"})
    assert (wide.provenance.precision, wide.provenance.dtype) == ("float32", {"x": "float32"})
    assert wide.parity is not None
    assert wide.parity["ok"]
    assert onnxsal.explain(tiny.linear(), {"x": np.ones((1, 3), np.float32)}, target=0).provenance.precision is None


@pytest.mark.parametrize("half", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_types_are_raised_wherever_a_file_names_them(half: int) -> None:
    def branch(name: str) -> onnx.GraphProto:
        dtype = np.float16 if half == TensorProto.FLOAT16 else ml_dtypes.bfloat16
        constant = onnx.numpy_helper.from_array(np.ones(3, dtype), f"{name}_k")
        node = helper.make_node("Add", ["c", f"{name}_k"], [name])
        port = helper.make_tensor_value_info(name, half, None)
        return helper.make_graph([node], name, [], [port], [constant])

    nodes = [
        helper.make_node("Cast", ["x"], ["c"], name="cast", to=half),
        helper.make_node("If", ["flag"], ["y"], name="if", then_branch=branch("t"), else_branch=branch("e")),
    ]
    proto = tiny.model(nodes, [("flag", TensorProto.BOOL, []), ("x", tiny.FLOAT, ["N", 3])], [("y", half, ["N", 3])])
    graph = raised(normalise(proto))
    assert has_halves(normalise(proto))
    assert not has_halves(graph)
    y = onnxsal.load(proto).torch(precision="float32")(torch.tensor(True), torch.full((1, 3), 1 / 3))[0]
    assert y.dtype == torch.float32
    assert y.tolist() == [[pytest.approx(4 / 3)] * 3]


def test_a_sequences_type_is_raised() -> None:
    proto = tiny.model(
        [helper.make_node("SequenceAt", ["s", "i"], ["y"])], [("i", TensorProto.INT64, [])], [("y", 10, None)]
    )
    proto.graph.input.append(helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT16, None))
    assert raised(normalise(proto)).inputs[1].dtype == "sequence(float32)"
