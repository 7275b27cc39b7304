"""Labels, categories and maps of ``ai.onnx.ml`` against ONNX Runtime."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from onnxsal.errors import ImportFault
from onnxsal.importer.build import build
from onnxsal.importer.normalise import normalise
from onnxsal.importer.ops.ml_labels import cast_map, dict_vectorizer, zip_map
from tests.importer.ops.support import check

DOMAIN = "ai.onnx.ml"
TEXT = np.array([["b", "a"], ["?", "b"]], dtype=object)
NUMBERS = np.array([[2, 1], [9, 2]], np.int64)
FLOATS = np.array([[2.5, np.nan], [9.0, 1.5]], np.float32)


@pytest.mark.parametrize("opset", [2, 4])
@pytest.mark.parametrize(
    ("x", "keys"),
    [
        (TEXT, {"keys_strings": ["a", "b"]}),
        (NUMBERS, {"keys_int64s": [1, 2]}),
        (FLOATS, {"keys_floats": [1.5, 2.5]}),
    ],
)
@pytest.mark.parametrize(
    "values",
    [
        {"values_strings": ["x", "y"], "default_string": "none"},
        {"values_int64s": [7, 8], "default_int64": 5},
        {"values_floats": [0.5, 0.25], "default_float": -3.0},
        {"values_floats": [0.5, 0.25]},
    ],
)
def test_label_encoder(opset, x, keys, values):
    check("LabelEncoder", [x], opset=opset, domain=DOMAIN, **keys, **values)


@pytest.mark.parametrize("opset", [2, 4])
@pytest.mark.parametrize("keys", [[float("nan"), 2.5], [9.0, float("nan")]])
def test_no_number_is_a_key_from_opset_4_on(opset, keys):
    check("LabelEncoder", [FLOATS], opset=opset, domain=DOMAIN, keys_floats=keys, values_int64s=[1, 2])
    check("LabelEncoder", [FLOATS], opset=opset, domain=DOMAIN, keys_floats=keys, values_strings=["x", "y"])


def test_the_first_of_equal_keys_counts():
    check("LabelEncoder", [NUMBERS], opset=2, domain=DOMAIN, keys_int64s=[2, 1, 2], values_int64s=[3, 4, 5])


def test_label_encoder_with_tensors():
    table = {
        "keys_tensor": onnx.numpy_helper.from_array(np.array([1.5, 2.5], np.float64)),
        "values_tensor": onnx.numpy_helper.from_array(np.array([3.5, 4.5], np.float64)),
        "default_tensor": onnx.numpy_helper.from_array(np.array([-1.0], np.float64)),
    }
    check("LabelEncoder", [FLOATS.astype(np.float64)], opset=4, domain=DOMAIN, **table)
    table = {
        "keys_tensor": onnx.numpy_helper.from_array(np.array(["a", "b"], dtype=object)),
        "values_tensor": onnx.numpy_helper.from_array(np.array([3, 4], np.int16)),
        "default_tensor": onnx.numpy_helper.from_array(np.array([-5], np.int16)),
    }
    check("LabelEncoder", [TEXT], opset=4, domain=DOMAIN, **table)


def test_label_encoder_1():
    check("LabelEncoder", [TEXT], opset=1, domain=DOMAIN, classes_strings=["a", "b"])
    check("LabelEncoder", [NUMBERS], opset=1, domain=DOMAIN, classes_strings=["a", "b", "c"], default_string="other")


def test_category_mapper():
    table = {"cats_strings": ["a", "b"], "cats_int64s": [10, 2], "default_int64": 4, "default_string": "other"}
    check("CategoryMapper", [TEXT], opset=1, domain=DOMAIN, **table)
    check("CategoryMapper", [NUMBERS], opset=1, domain=DOMAIN, **table)


def _map_model(op_type, key, value, **attributes):
    kind = helper.make_map_type_proto(key, helper.make_tensor_type_proto(value, None))
    node = helper.make_node(op_type, ["x"], ["y"], domain=DOMAIN, **attributes)
    inputs = [helper.make_value_info("x", kind)]
    graph = helper.make_graph([node], "graph", inputs, [onnx.ValueInfoProto(name="y")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid(DOMAIN, 1)], ir_version=8)


def _check_map(model, fed):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": fed})
    (got,) = build(normalise(model))(fed)
    assert got.shape == expected.shape
    assert np.asarray(got).dtype == expected.dtype
    assert np.asarray(got).tolist() == expected.tolist()


@pytest.mark.parametrize("form", [{"map_form": "DENSE"}, {"map_form": "SPARSE", "max_map": 6}])
@pytest.mark.parametrize("cast_to", ["TO_FLOAT", "TO_INT64"])
def test_cast_map(form, cast_to):
    model = _map_model("CastMap", TensorProto.INT64, TensorProto.FLOAT, cast_to=cast_to, **form)
    _check_map(model, {4: 2.5, 1: -1.5})


@pytest.mark.parametrize("form", [{"map_form": "DENSE"}, {"map_form": "SPARSE", "max_map": 6}])
def test_cast_map_of_text(form):
    # ONNX Runtime takes no such map from Python
    words = cast_map({4: "four", 1: "one"}, cast_to="TO_STRING", **form)
    assert words.tolist() == [["one", "four"]] if form["map_form"] == "DENSE" else [["", "one", "", "", "four", ""]]
    numbers = cast_map({4: "4.5", 1: "-1"}, cast_to="TO_FLOAT", **form)
    assert numbers.tolist() == [[-1.0, 4.5]] if form["map_form"] == "DENSE" else [[0.0, -1.0, 0.0, 0.0, 4.5, 0.0]]


def test_dict_vectorizer():
    model = _map_model("DictVectorizer", TensorProto.STRING, TensorProto.FLOAT, string_vocabulary=["b", "z", "a"])
    _check_map(model, {"a": 1.5, "b": 2.5, "c": 3.5})
    model = _map_model("DictVectorizer", TensorProto.INT64, TensorProto.FLOAT, int64_vocabulary=[3, 1])
    _check_map(model, {1: 1.5, 2: 2.5})
    assert dict_vectorizer({"a": 7}, string_vocabulary=["b", "a"]).tolist() == [[0, 7]]
    assert dict_vectorizer({1: "one"}, int64_vocabulary=[3, 1]).tolist() == [["", "one"]]


@pytest.mark.parametrize("labels", [{"classlabels_int64s": [4, 9]}, {"classlabels_strings": ["cat", "dog"]}])
def test_zip_map(labels):
    scores = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)
    maps = [{k: float(v) for k, v in zip(next(iter(labels.values())), row, strict=True)} for row in scores]
    (got,) = build(normalise(_zip_map_model(labels)))(torch.from_numpy(scores))
    assert [{k: float(v) for k, v in row.items()} for row in got] == maps


def _zip_map_model(labels):
    node = helper.make_node("ZipMap", ["x"], ["y"], domain=DOMAIN, **labels)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])]
    graph = helper.make_graph([node], "graph", inputs, [onnx.ValueInfoProto(name="y")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid(DOMAIN, 1)], ir_version=8)


def test_zip_map_keeps_the_gradient():
    scores = torch.tensor([[0.25, 0.75]], requires_grad=True)
    (row,) = zip_map(scores, classlabels_strings=["cat", "dog"])
    row["dog"].backward()
    assert scores.grad.tolist() == [[0.0, 1.0]]


def test_zip_map_with_too_few_names():
    with pytest.raises(ImportFault, match="names 1 classes for 2 scores"):
        zip_map(torch.zeros(1, 2), classlabels_int64s=[3])
