"""The way back through a network of pictures stays in ONNX Runtime's layout of blocks of channels, and is right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import onnxsal
from tests.compiler.lower.support import check, normal

CHANNELS = 16
"""As many as ONNX Runtime lays in blocks, on any processor."""


@st.composite
def strided(draw):
    each = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(2))  # noqa: E731
    kernel, stride = each(1, 5), each(1, 3)
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    sizes = tuple(max(1, k - 2 * p) + draw(st.integers(0, 6)) for k, p in zip(kernel, padding, strict=True))
    return kernel, stride, padding, sizes, draw(st.sampled_from([1, 2, CHANNELS]))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(strided())
def test_phases(geometry):
    kernel, stride, padding, sizes, groups = geometry
    w = normal(CHANNELS, CHANNELS // groups, *kernel, seed=1)
    check(lambda x: F.conv2d(x, w, None, stride, padding, 1, groups), normal(2, CHANNELS, *sizes))


@pytest.mark.parametrize("function", [F.silu, lambda x: x * torch.sigmoid(x), lambda x: torch.sigmoid(x) * x])
def test_swish(function):
    check(function, normal(2, 3, 4, 5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_hard_swish(dtype):
    check(F.hardswish, (4 * normal(2, 3, 4, 5)).to(dtype))


@pytest.mark.parametrize("bounds", [(0.0, 6.0), (-1.0, 1.0), (0.25, 0.75), (-3.0, -0.5)])
def test_slopes_stop_at_the_very_bounds(bounds):
    low, high = (np.float32(bound) for bound in bounds)
    least = np.finfo(np.float32).tiny
    edges = [np.nextafter(b, np.float32(to)) if b else np.sign(to) * least for b in (low, high) for to in (-9, 9)]
    x = torch.from_numpy(np.array([[low, high, *edges, 0.5, -0.5]], np.float32))
    check(lambda x: F.hardtanh(x, *bounds), x)


@pytest.mark.parametrize("sizes", [(7, 7), (3, 5), (1, 4)])
def test_a_number_for_each_map(sizes):
    def excited(x):
        return x * torch.sigmoid(2 * x.mean((2, 3), keepdim=True))

    check(excited, normal(2, CHANNELS, *sizes))
    check(lambda x: 0.05 * x.sum((2, 3), keepdim=True) * x, normal(2, CHANNELS, *sizes))


class Excited(nn.Module):
    """What networks of pictures are made of: strides, depthwise filters, clipping, squeeze and excitation, a detour."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, CHANNELS, 3, 2, 1)
        self.deep = nn.Conv2d(CHANNELS, CHANNELS, 3, 2, 1, groups=CHANNELS)
        self.squeeze = nn.Conv2d(CHANNELS, CHANNELS, 1)
        self.last = nn.Conv2d(CHANNELS, CHANNELS, 3, 1, 1)
        self.head = nn.Linear(CHANNELS, 4)

    def forward(self, x):
        x = F.relu6(self.stem(x))
        x = F.silu(self.deep(x))
        x = x * torch.sigmoid(self.squeeze(x.mean((2, 3), keepdim=True)))
        return self.head((x + F.relu(self.last(x))).mean((2, 3)))


def test_layouts_are_seldom_changed(tmp_path: Path):
    torch.manual_seed(0)
    path, optimised = tmp_path / "excited.onnx", tmp_path / "optimised.onnx"
    torch.onnx.export(
        Excited().eval(), (torch.randn(2, 3, 32, 32),), path, dynamo=False, opset_version=17, input_names=["x"],
        dynamic_axes={"x": {0: "batch"}},
    )  # fmt: skip
    before, _ = _changes(path.read_bytes(), optimised)
    changes, convolutions = _changes(onnxsal.compile(path, method="saliency").proto.SerializeToString(), optimised)
    if not convolutions:
        pytest.skip("this processor has no layout of blocks")
    assert changes <= before + 12  # 23 more where the file does not tell the shapes on the way back


def _changes(model: bytes, path: Path) -> tuple[int, int]:
    """Return how often ONNX Runtime changes the layout, and how many convolutions it computes in blocks."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(path), 4
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(path).graph.node
    return (
        sum(node.op_type.startswith("Reorder") for node in nodes),
        sum(node.op_type == "Conv" and node.domain == "com.microsoft.nchwc" for node in nodes),
    )
