"""Large models: weights in other files are mapped, held once, and read no sooner than they are used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

import onnxsal
from onnxsal.parity import verify
from tests import models_for_tests as tiny
from tests.importer.test_read import is_mapped

ROWS, COLUMNS = 600_000, 1_000
"""A table of 2.4 GB: more than a protobuf can hold."""


def external(name: str, location: str, dims: list[int], **where: int) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **where}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def two_weights(first: TensorProto, second: TensorProto) -> onnx.ModelProto:
    nodes = [
        helper.make_node("MatMul", ["x", first.name], ["a"], name="first"),
        helper.make_node("MatMul", ["a", second.name], ["y"], name="second"),
    ]
    proto = tiny.model(nodes, [("x", tiny.FLOAT, ["N", 3])], [("y", tiny.FLOAT, ["N", 3])])
    proto.graph.initializer.extend([first, second])
    return proto


MATRICES = np.arange(18, dtype=np.float32).reshape(2, 3, 3)


def test_weights_in_many_files(tmp_path: Path) -> None:
    for name, matrix in zip("ab", MATRICES, strict=True):
        matrix.tofile(tmp_path / f"{name}.bin")
    path = tiny.save(two_weights(external("v", "a.bin", [3, 3]), external("w", "b.bin", [3, 3])), tmp_path)
    model = onnxsal.load(path)
    assert model.external_files == ["a.bin", "b.bin"]
    assert verify(model, {"x": np.eye(3, dtype=np.float32)}).ok
    assert model.torch()(torch.eye(3))[0].tolist() == (MATRICES[0] @ MATRICES[1]).tolist()


def test_weights_in_one_file_at_offsets(tmp_path: Path) -> None:
    with (tmp_path / "all.bin").open("wb") as stream:
        stream.write(b"\0" * 64 + MATRICES.tobytes())
    first, second = (external(n, "all.bin", [3, 3], offset=64 + i * 36, length=36) for i, n in enumerate("vw"))
    model = onnxsal.load(tiny.save(two_weights(first, second), tmp_path))
    assert verify(model, {"x": np.eye(3, dtype=np.float32)}).ok
    assert all(is_mapped(array) for array in model.graph.constants.values())


def test_a_weight_that_two_nodes_read_is_mapped_once(tmp_path: Path) -> None:
    MATRICES[0].tofile(tmp_path / "a.bin")
    proto = two_weights(external("v", "a.bin", [3, 3]), external("w", "a.bin", [3, 3]))
    proto.graph.node[1].input[1] = "v"
    del proto.graph.initializer[1]
    model = onnxsal.load(tiny.save(proto, tmp_path))
    storages = {p.untyped_storage().data_ptr() for p in model.torch().parameters()}
    assert storages == {model.graph.constants["v"].__array_interface__["data"][0]}


def test_weights_inside_the_file_are_held_once_at_the_peak_too(tmp_path: Path) -> None:
    """As the benchmark measures it, in a process of its own: 96 MB of weights in two tensors."""
    matrices = {name: np.random.default_rng(0).random((3_464, 3_464), np.float32) for name in "vw"}
    nodes = [helper.make_node("MatMul", ["x", "v"], ["a"]), helper.make_node("MatMul", ["a", "w"], ["y"])]
    ports = [("x", tiny.FLOAT, ["N", 3_464])], [("y", tiny.FLOAT, ["N", 3_464])]
    path = tiny.save(tiny.model(nodes, *ports, matrices), tmp_path)
    benchmark = Path(__file__).parents[2] / "benchmarks" / "import_models.py"
    command = [sys.executable, str(benchmark), "--measure", "onnxsal", str(path)]
    grown = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    weights = sum(matrix.nbytes for matrix in matrices.values())
    assert 0.9 * weights < grown["held"] <= grown["peak"] < 1.2 * weights


@pytest.mark.slow
def test_more_than_a_protobuf_holds_is_mapped_and_not_read(tmp_path: Path) -> None:
    data = tmp_path / "table.bin"
    with data.open("wb") as stream:  # a file with a hole, which takes no room
        stream.truncate(ROWS * COLUMNS * 4)
        stream.seek((ROWS - 1) * COLUMNS * 4)
        stream.write(np.full(COLUMNS, 7, np.float32).tobytes())
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["row"], name="embed"),
        helper.make_node("Mul", ["row", "x"], ["y"], name="mul"),
    ]
    inputs = [("ids", tiny.INT64, ["N"]), ("x", tiny.FLOAT, ["N", COLUMNS])]
    proto = tiny.model(nodes, inputs, [("y", tiny.FLOAT, ["N", COLUMNS])])
    proto.graph.initializer.append(external("table", "table.bin", [ROWS, COLUMNS]))
    path = tiny.save(proto, tmp_path)
    before = _private_bytes()
    model = onnxsal.load(path)
    (y,) = model.torch()(torch.tensor([0, ROWS - 1]), torch.ones(2, COLUMNS))
    assert _private_bytes() - before < 2**28
    assert y[:, 0].tolist() == [0, 7]
    assert model.size > 2**31
    feeds = {"ids": np.array([ROWS - 1]), "x": np.ones((1, COLUMNS), np.float32)}
    a = onnxsal.explain(model, feeds, target=5, abs=False)
    assert a.values["x"][0, 5] == 7


def _private_bytes() -> int:
    """Return the bytes of memory that are the process's own (Linux)."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024
