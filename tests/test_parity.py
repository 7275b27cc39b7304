from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import onnxsal
from onnxsal import parity
from onnxsal.errors import InputError, ParityError
from onnxsal.parity import distance, draw, verify, verify_once
from tests import models_for_tests as tiny

X = np.array([[1.0, 2.0, 3.0]], np.float32)


def chain() -> onnx.ModelProto:
    """Three nodes in a row: double, add, relu."""
    nodes = [
        onnx.helper.make_node("Mul", ["x", "two"], ["doubled"], name="double"),
        onnx.helper.make_node("Add", ["doubled", "one"], ["more"], name="add"),
        onnx.helper.make_node("Relu", ["more"], ["y"], name="relu"),
    ]
    constants = {"two": np.full((3, 3), 2, np.float32), "one": np.full((2, 3), 1, np.float32)[:1]}
    constants["two"] = constants["two"][:1]
    return tiny.model(nodes, [("x", tiny.FLOAT, ["N", 3])], [("y", tiny.FLOAT, ["N", 3])], constants)


def test_the_figures_are_per_output_and_relative_to_its_scale() -> None:
    found = verify(onnxsal.load(chain()), {"x": X})
    (output,) = found.outputs
    assert found.ok
    assert (output.name, output.scale, output.max_abs) == ("y", 7.0, 0.0)
    assert output.optimised_rel == 0
    assert found.tolerance == 1e-3
    json.dumps(found.meta)


def test_the_first_node_that_differs_is_named() -> None:
    model = onnxsal.load(chain())
    parameters = dict(model.torch().named_parameters())
    parameters["weight_one"].data.add_(0.5)
    found = verify(model, {"x": X})
    assert not found.ok
    assert found.first is not None
    assert (found.first.node, found.first.op_type, found.first.value) == ("add", "Add", "more")
    assert found.first.max_abs == pytest.approx(0.5)
    with pytest.raises(ParityError, match="first to differ is node 'add'") as fault:
        found.require("model.onnx")
    assert fault.value.exit_code == 6
    assert "--tolerance" in str(fault.value)


def test_a_wider_tolerance_accepts_it() -> None:
    model = onnxsal.load(chain())
    dict(model.torch().named_parameters())["weight_one"].data.add_(0.5)
    assert verify(model, {"x": X}, tolerance=0.5 / 7 + 1e-6).ok
    assert not verify(model, {"x": X}, tolerance=0.5 / 7 - 1e-6).ok


def test_a_model_is_proved_once_and_a_mismatch_every_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = onnxsal.load(tiny.save(chain(), tmp_path))
    feeds = {"x": torch.tensor(X)}
    assert not verify_once(model, feeds, device="cpu", tolerance=None).cached
    again = verify_once(model, feeds, device="cpu", tolerance=None)
    assert again.cached
    assert again.ok
    assert not verify_once(model, feeds, device="cpu", tolerance=1e-5).cached
    dict(model.torch().named_parameters())["weight_one"].data.add_(0.5)
    for _ in range(2):
        wrong = verify_once(model, feeds, device="cpu", tolerance=1e-4)
        assert (wrong.ok, wrong.cached) == (False, False)


def test_a_damaged_cache_entry_is_made_again(tmp_path: Path, private_cache: Path) -> None:
    model = onnxsal.load(tiny.save(chain(), tmp_path))
    feeds = {"x": torch.tensor(X)}
    verify_once(model, feeds, device="cpu", tolerance=None)
    (entry,) = private_cache.rglob("*.json")
    entry.write_text(entry.read_text()[:20])
    again = onnxsal.load(model.source)
    assert not verify_once(again, feeds, device="cpu", tolerance=None).cached
    assert verify_once(again, feeds, device="cpu", tolerance=None).cached


@pytest.mark.parametrize(
    ("got", "expected", "gap"),
    [
        (np.float32([1, 2]), np.float32([1, 2.5]), 0.5),
        (np.float32([1, np.nan]), np.float32([1, np.nan]), 0.0),
        (np.float32([1, np.nan]), np.float32([1, 2]), math.inf),
        (np.float32([np.inf]), np.float32([np.inf]), 0.0),
        (np.float32([np.inf]), np.float32([1]), math.inf),
        (np.float32([[1]]), np.float32([1]), math.inf),
        (np.int64([1, 2]), np.int64([1, 3]), math.inf),
        (np.int64([1, 2]), np.int64([1, 2]), 0.0),
        (np.array(["a"], object), np.array(["b"], object), math.inf),
        ([np.float32([1])], [np.float32([1]), np.float32([2])], math.inf),
        ([np.float32([1])], [np.float32([4])], 3.0),
        ([{0: 0.5}], [{0: 0.25}], 0.25),
        ([{0: 0.5}], [{1: 0.5}], math.inf),
        (None, np.float32([1]), math.inf),
    ],
)
def test_distance(got: object, expected: object, gap: float) -> None:
    assert distance(got, expected)[0] == gap


def test_drawn_inputs_fit_the_ports_and_the_embedding_table() -> None:
    arrays = draw(onnxsal.load(tiny.two_inputs()))
    assert {n: a.dtype.name for n, a in arrays.items()} == {"a": "float32", "gate": "float32", "ids": "int64"}
    assert arrays["ids"].max() < 4


def test_drawn_sizes_are_tried_until_onnx_runtime_accepts_them() -> None:
    nodes = [onnx.helper.make_node("Reshape", ["x", "shape"], ["y"], name="reshape")]
    model = tiny.model(
        nodes, [("x", tiny.FLOAT, ["N", "T"])], [("y", tiny.FLOAT, None)], {"shape": np.array([-1, 224])}
    )
    assert draw(onnxsal.load(model))["x"].shape == (1, 224)


def test_ports_nothing_can_be_drawn_for_ask_for_an_input() -> None:
    nodes = [onnx.helper.make_node("SequenceLength", ["x"], ["y"], name="length")]
    proto = tiny.model(nodes, [("x", tiny.FLOAT, [1])], [("y", tiny.INT64, [])])
    proto.graph.input[0].CopyFrom(onnx.helper.make_tensor_sequence_value_info("x", tiny.FLOAT, None))
    with pytest.raises(InputError, match="sequence") as fault:
        draw(onnxsal.load(proto))
    assert fault.value.hint == "give an input"


def test_half_precision_is_given_more_room() -> None:
    half = tiny.model(
        [onnx.helper.make_node("Relu", ["x"], ["y"], name="relu")],
        [("x", onnx.TensorProto.FLOAT16, ["N"])],
        [("y", onnx.TensorProto.FLOAT16, ["N"])],
    )
    assert parity.default_tolerance(onnxsal.load(half)) == 1e-2
    assert parity.default_tolerance(onnxsal.load(chain())) == 1e-3


def test_rounding_to_8_bits_is_given_room() -> None:
    scale = np.array(0.1, np.float32)
    nodes = [onnx.helper.make_node("QuantizeLinear", ["x", "scale"], ["y"])]
    model = tiny.model(
        nodes, [("x", tiny.FLOAT, ["N", 3])], [("y", onnx.TensorProto.UINT8, ["N", 3])], {"scale": scale}
    )
    assert parity.default_tolerance(onnxsal.load(model)) == parity.ROUNDING_TOLERANCE


def test_an_answer_that_hangs_on_the_last_bit_is_not_held_against_us() -> None:
    """The logarithm of what is left of two numbers that are all but equal."""
    nodes = [
        onnx.helper.make_node("Sub", ["x", "one"], ["rest"]),
        onnx.helper.make_node("Log", ["rest"], ["y"]),
    ]
    constants = {"one": np.array([1], np.float32)}
    model = onnxsal.load(tiny.model(nodes, [("x", tiny.FLOAT, ["N", 3])], [("y", tiny.FLOAT, ["N", 3])], constants))
    with torch.no_grad():
        dict(model.torch().named_parameters())["weight_one"].add_(2**-23)
    near = np.full((50, 3), 1 + 3 * 2**-23, np.float32)
    (output,) = verify(model, {"x": near}).outputs
    assert output.ok
    assert output.own_rel >= output.max_rel > 1e-3


def test_carried_numbers_are_compared_as_numbers() -> None:
    assert distance(np.array([3.0, 4.0], np.float32), np.array([3, 5], np.uint8)) == (1.0, 5.0)
    assert distance(np.array([3, 4], np.uint8), np.array([3, 5], np.uint8))[0] == math.inf
