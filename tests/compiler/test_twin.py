"""A compiled graph, imported again, gives the torch engine's gradient on the same side of every kink."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import onnxsal
from onnxsal.compiler.gradient import _compile, compiled_gradient
from onnxsal.compiler.lower import lowerings
from onnxsal.compiler.twin import computed_by_torch
from onnxsal.engines.torch import TorchEngine
from onnxsal.errors import ParityError
from onnxsal.importer.values import as_tensor


class Loud(nn.Conv2d):
    """A convolution whose answers reach beyond 6."""

    def __init__(self) -> None:
        super().__init__(3, 32, 3, 2, 1)

    def forward(self, x):
        return 4 * super().forward(x)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ONNXSAL_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> onnxsal.Model:
    torch.manual_seed(0)
    layers = nn.Sequential(Loud(), nn.ReLU6(), nn.Conv2d(32, 4, 3), nn.ReLU(), nn.Flatten())
    path = tmp_path_factory.mktemp("twin") / "rectifiers.onnx"
    torch.onnx.export(
        layers, (torch.randn(2, 3, 16, 16),), path, dynamo=False, opset_version=17, input_names=["x"],
        output_names=["y"], dynamic_axes={"x": {0: "batch"}},
    )  # fmt: skip
    return onnxsal.load(path)


def feeds(rows: int) -> dict[str, torch.Tensor]:
    return {"x": as_tensor(np.random.default_rng(rows).standard_normal((rows, 3, 16, 16)).astype(np.float32))}


def test_gives_the_same_gradient_at_another_batch_size(model) -> None:
    proto, _ = _compile(model, ["x"], ["y"], feeds(2))
    engine = TorchEngine(model, "cpu")
    back = torch.ones_like(engine.run(feeds(5))["y"])
    expected = engine.gradients(feeds(5), ["x"], lambda found: found["y"].sum(1), ["y"])["x"]
    got = computed_by_torch(proto, feeds(5) | {"y_back": back})
    assert got is not None
    torch.testing.assert_close(got["x_gradient"], expected, rtol=1e-5, atol=1e-6 * float(expected.abs().max()))


def test_a_slip_that_kinks_could_hide_is_found(model, monkeypatch) -> None:
    right = lowerings()["aten.hardtanh_backward.default"]

    def slipped(g, gradient, x, low, high):
        return right(g, gradient, x, low, 0.97 * high)  # few values lie between

    monkeypatch.setitem(lowerings(), "aten.hardtanh_backward.default", slipped)
    with pytest.raises(ParityError, match="x_gradient"):
        compiled_gradient(model, ["x"], ["y"], feeds(2))
