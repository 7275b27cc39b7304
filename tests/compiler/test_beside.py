"""Weights beside a compiled file: where they are asked for, and where one protobuf could not hold them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import onnxsal
from onnxsal.errors import OutputError

MODELS = Path(__file__).parents[2] / "models"
DIGITS = MODELS / "digits_cnn.onnx"
GIGABYTE = 1024**3


def digits(count: int = 4) -> dict[str, np.ndarray]:
    return {"image": np.load(MODELS / "samples" / "digits.npz")["image"][:count]}


def run(path: Path, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, feeds)


@pytest.mark.parametrize("draws", ["constant", "fresh"])
def test_weights_lie_beside_the_file_where_that_is_asked_for(tmp_path, draws):
    options = {"method": "smoothgrad", "samples": 4, "target": 3, "draws": draws}
    compiled = onnxsal.compile(DIGITS, external_data=True, **options)
    path = compiled.save(tmp_path / "explained.onnx")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["explained.onnx", "explained.onnx.data"]
    assert path.stat().st_size < DIGITS.stat().st_size < (tmp_path / "explained.onnx.data").stat().st_size + 20_000
    onnx.checker.check_model(str(path), full_check=True)
    alone = onnxsal.compile(DIGITS, **options).save(tmp_path / "alone.onnx")
    assert not (tmp_path / "alone.onnx.data").exists()
    there, here = run(path, digits()), run(alone, digits())
    np.testing.assert_array_equal(there[0], here[0])
    if draws == "constant":
        np.testing.assert_array_equal(there[1], here[1])


def test_a_file_can_be_saved_again_and_moved_with_its_weights(tmp_path):
    compiled = onnxsal.compile(DIGITS, external_data=True, target=3)
    (tmp_path / "there").mkdir()
    paths = [compiled.save(tmp_path / name) for name in ("one.onnx", "there/two.onnx")]
    first, second = (run(path, digits()) for path in paths)
    np.testing.assert_array_equal(first[1], second[1])


def test_nothing_is_left_where_it_cannot_be_written(tmp_path, monkeypatch):
    compiled = onnxsal.compile(DIGITS, external_data=True, target=3)
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OutputError, match="No space left"):
        compiled.save(tmp_path / "explained.onnx")
    assert not list(tmp_path.iterdir())


SCRIPT = """
import resource, sys
import numpy as np
import onnxsal
compiled = onnxsal.compile(sys.argv[1], method="input_x_gradient", target=3)
assert compiled.facts["checked"]["x_attribution"] < 1e-4
compiled.save(sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def large(folder: Path, size: int, layers: int) -> Path:
    """Write a network of relu layers whose weights lie beside it; each layer is one block of the same few numbers."""
    rng = np.random.default_rng(0)
    row = (rng.standard_normal(size) / np.sqrt(size)).astype(np.float32)
    nodes, tensors, name = [], [], "x"
    with (folder / "large.data").open("wb") as stream:
        for layer in range(layers):
            tensor = TensorProto(name=f"w{layer}", data_type=TensorProto.FLOAT, dims=[size, size])
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", "large.data"), ("offset", stream.tell()), ("length", 4 * size * size)):
                tensor.external_data.add(key=key, value=str(value))
            for shift in range(size):
                stream.write(np.roll(row, shift * (layer + 3)).tobytes())
            nodes += [
                helper.make_node("MatMul", [name, f"w{layer}"], [f"h{layer}"], f"product{layer}"),
                helper.make_node("Relu", [f"h{layer}"], [f"r{layer}"], f"relu{layer}"),
            ]
            tensors.append(tensor)
            name = f"r{layer}"
    nodes[-1] = helper.make_node("Identity", [f"h{layers - 1}"], [name], "end")
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", size]) for n in ("x", name)]
    graph = helper.make_graph(nodes, "large", ports[:1], ports[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "large.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's account of memory")
def test_a_model_of_more_than_two_gigabytes(tmp_path):
    size, layers = 8192, 9
    source, out = large(tmp_path, size, layers), tmp_path / "explained.onnx"
    weights = 4 * size * size * layers
    assert weights > 2.2 * GIGABYTE
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, source, out], capture_output=True, text=True, timeout=540, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) < 3 * weights
    assert out.stat().st_size < 1_000_000
    assert weights <= out.with_name("explained.onnx.data").stat().st_size < 1.01 * weights
    x = np.random.default_rng(1).standard_normal((5, size)).astype(np.float32)
    y, attribution = run(out, {"x": x})
    np.testing.assert_allclose(y, run(source, {"x": x})[0], rtol=1e-4, atol=1e-4)
    assert attribution.shape == x.shape
