"""Random numbers agree with no other library's; what is proved is their shape, type, distribution and repeatability."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from torch import Tensor

from onnxsal.importer.build import build
from onnxsal.importer.normalise import normalise
from tests.importer.ops.support import node_model

MANY = [100, 200]


def _draw(op_type: str, inputs: list[np.ndarray], runs: int = 1, opset: int = 22, **attributes: Any) -> list[Tensor]:
    module = build(normalise(node_model(op_type, inputs, opset=opset, **attributes)))
    return [module(*map(torch.from_numpy, inputs))[0] for _ in range(runs)]


@pytest.mark.parametrize("opset", [7, 22])
def test_normal(opset: int) -> None:
    torch.manual_seed(0)
    (drawn,) = _draw("RandomNormal", [], opset=opset, shape=MANY, mean=3.0, scale=2.0)
    assert drawn.shape == tuple(MANY)
    assert drawn.dtype == torch.float32
    assert abs(drawn.mean() - 3) < 0.05
    assert abs(drawn.std() - 2) < 0.05


@pytest.mark.parametrize("opset", [7, 22])
def test_uniform(opset: int) -> None:
    torch.manual_seed(0)
    (drawn,) = _draw("RandomUniform", [], opset=opset, shape=MANY, low=-1.0, high=3.0, dtype=TensorProto.DOUBLE)
    assert drawn.dtype == torch.float64
    assert -1 <= drawn.min() < -0.99
    assert 2.99 < drawn.max() < 3
    assert abs(drawn.mean() - 1) < 0.05


@pytest.mark.parametrize("name", ["RandomNormalLike", "RandomUniformLike"])
def test_like_another(name: str) -> None:
    x = np.zeros((3, 4), np.float16)
    assert _draw(name, [x])[0].dtype == torch.float16
    drawn = _draw(name, [x], dtype=TensorProto.FLOAT)[0]
    assert drawn.dtype == torch.float32
    assert drawn.shape == (3, 4)


def test_bernoulli() -> None:
    torch.manual_seed(0)
    p = np.full(MANY, 0.3, np.float32)
    (drawn,) = _draw("Bernoulli", [p], dtype=TensorProto.INT32)
    assert drawn.dtype == torch.int32
    assert set(drawn.flatten().tolist()) == {0, 1}
    assert abs(drawn.double().mean() - 0.3) < 0.02
    assert _draw("Bernoulli", [p.astype(np.float64)])[0].dtype == torch.float64


def test_multinomial() -> None:
    torch.manual_seed(0)
    logits = np.log(np.array([[0.2, 0.8], [1.0, 1e-30]], np.float32)) + 5  # probabilities need not be normalised
    (drawn,) = _draw("Multinomial", [logits], sample_size=10_000, dtype=TensorProto.INT64)
    assert drawn.dtype == torch.int64
    assert drawn.shape == (2, 10_000)
    assert abs(drawn[0].double().mean() - 0.8) < 0.02
    assert drawn[1].sum() == 0


SEEDED = [
    ("RandomNormal", [], {"shape": [50]}),
    ("RandomUniform", [], {"shape": [50]}),
    ("RandomNormalLike", [np.zeros(50, np.float32)], {}),
    ("RandomUniformLike", [np.zeros(50, np.float32)], {}),
    ("Bernoulli", [np.full(50, 0.5, np.float32)], {}),
    ("Multinomial", [np.zeros((1, 9), np.float32)], {"sample_size": 50}),
]


@pytest.mark.parametrize(("name", "inputs", "options"), SEEDED)
def test_a_seed_repeats_the_numbers(name: str, inputs: list[np.ndarray], options: dict[str, Any]) -> None:
    first, second = _draw(name, inputs, runs=2, seed=1.5, **options)
    (other,) = _draw(name, inputs, seed=1.25, **options)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("name", "inputs", "options"), SEEDED)
def test_without_a_seed_torch_decides(name: str, inputs: list[np.ndarray], options: dict[str, Any]) -> None:
    torch.manual_seed(3)
    first, second = _draw(name, inputs, runs=2, **options)
    torch.manual_seed(3)
    (again,) = _draw(name, inputs, **options)
    assert not torch.equal(first, second)
    assert torch.equal(first, again)


def test_a_scalar_can_be_drawn() -> None:
    node = onnx.helper.make_node("RandomNormal", [], ["y"])
    node.attribute.append(onnx.helper.make_attribute("shape", [], attr_type=onnx.AttributeProto.INTS))
    graph = onnx.helper.make_graph([node], "g", [], [onnx.ValueInfoProto(name="y")])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 22)])
    assert build(normalise(model))()[0].shape == ()
