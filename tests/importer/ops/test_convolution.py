"""Convolution against ONNX Runtime: ranks, pads, groups, layers, gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from onnxsal.importer.build import build
from onnxsal.importer.normalise import normalise
from tests.importer.ops.support import check, node_model

PADS: list[dict[str, Any]] = [
    {},
    {"pads": [1, 2, 1, 2]},
    {"pads": [0, 1, 2, 0]},
    {"auto_pad": "SAME_UPPER"},
    {"auto_pad": "SAME_LOWER"},
    {"auto_pad": "VALID"},
    {"auto_pad": "SAME_UPPER", "strides": [2, 3]},
    {"auto_pad": "SAME_LOWER", "strides": [2, 1]},
    {"pads": [1, 1, 1, 1], "strides": [2, 1], "dilations": [2, 1]},
]


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def layers(model: Any) -> list[nn.Module]:
    return [m for m in build(normalise(model)).children() if isinstance(m, nn.Module)]


@pytest.mark.parametrize("attributes", PADS)
@pytest.mark.parametrize("opset", [1, 11, 22])
def test_conv_over_a_plane(attributes: dict[str, Any], opset: int) -> None:
    inputs = [floats(2, 3, 8, 9), floats(4, 3, 3, 2), floats(4)]
    check("Conv", inputs, opset=opset, **attributes)
    check("Conv", inputs, opset=opset, constants=(1, 2), kernel_shape=[3, 2], trace=True, **attributes)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("group", [1, 2])
def test_conv_of_every_rank_has_the_right_gradient(rank: int, group: int) -> None:
    x, w = floats(1, 4, *[4] * rank), floats(4, 4 // group, *[2] * rank)
    check("Conv", [x, w, floats(4)], opset=13, group=group, pads=[1, 0] * rank, gradient=True)


def test_depthwise_conv() -> None:
    check("Conv", [floats(2, 6, 7, 7), floats(12, 1, 3, 3)], opset=13, group=6, pads=[1] * 4, constants=(1,))


def test_constant_weights_become_a_layer_that_shares_their_memory() -> None:
    x, w, b = floats(1, 3, 8, 8), floats(4, 3, 3, 3), floats(4)
    model = node_model("Conv", [x, w, b], opset=13, constants=(1, 2), pads=[1, 1, 1, 1], strides=[2, 2])
    (layer,) = layers(model)
    assert isinstance(layer, nn.Conv2d)
    assert layer.padding == (1, 1)
    assert layer.weight.device.type == "cpu"
    assert not layer.weight.requires_grad


@pytest.mark.parametrize("attributes", [{"pads": [0, 1, 2, 0]}, {"auto_pad": "SAME_LOWER"}])
def test_pads_a_layer_cannot_say_stay_a_function(attributes: dict[str, Any]) -> None:
    model = node_model("Conv", [floats(1, 3, 8, 8), floats(4, 3, 3, 3)], opset=13, constants=(1,), **attributes)
    assert layers(model) == []


def test_same_upper_without_strides_is_a_layer() -> None:
    inputs = [floats(1, 3, 8, 8), floats(4, 3, 4, 3)]
    model = node_model("Conv", inputs, opset=13, constants=(1,), auto_pad="SAME_UPPER")
    assert isinstance(layers(model)[0], nn.Conv2d)
    check("Conv", inputs, opset=13, constants=(1,), auto_pad="SAME_UPPER")


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_conv_keeps_the_type(dtype: str) -> None:
    x, w = floats(1, 2, 5, 5).astype(dtype), floats(2, 2, 3, 3).astype(dtype)
    expected = torch.nn.functional.conv2d(torch.from_numpy(x).double(), torch.from_numpy(w).double())
    check("Conv", [x, w], opset=22, expected=[expected.numpy().astype(dtype)], rtol=1e-2, atol=1e-2)


TRANSPOSED: list[dict[str, Any]] = [
    {},
    {"strides": [2, 2]},
    {"strides": [2, 2], "output_padding": [1, 1]},
    {"strides": [2, 3], "pads": [1, 1, 1, 1], "output_padding": [1, 0]},
    {"strides": [2, 2], "pads": [0, 1, 1, 0]},
    {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
    {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
    {"strides": [3, 3], "auto_pad": "SAME_UPPER"},
    {"strides": [1, 1], "auto_pad": "SAME_UPPER"},
    {"strides": [2, 2], "auto_pad": "VALID"},
    {"strides": [2, 2], "output_shape": [10, 8]},
    {"strides": [2, 2], "output_shape": [9, 7]},
    {"strides": [2, 2], "output_shape": [9, 7], "auto_pad": "SAME_UPPER"},
    {"strides": [2, 2], "output_shape": [9, 7], "auto_pad": "SAME_LOWER"},
    {"strides": [3, 3], "output_shape": [11, 8], "output_padding": [1, 1]},
    {"dilations": [2, 1], "pads": [1, 0, 1, 0]},
    {"strides": [2, 2], "dilations": [3, 3], "output_padding": [1, 1]},
]


@pytest.mark.parametrize("attributes", TRANSPOSED)
@pytest.mark.parametrize("opset", [1, 11])
def test_conv_transpose_over_a_plane(attributes: dict[str, Any], opset: int) -> None:
    inputs = [floats(2, 3, 5, 4), floats(3, 2, 3, 3), floats(2)]
    check("ConvTranspose", inputs, opset=opset, **attributes)
    check("ConvTranspose", inputs, opset=opset, constants=(1, 2), trace=True, **attributes)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("pads", ["even", "uneven"])
def test_conv_transpose_of_every_rank_has_the_right_gradient(rank: int, pads: str) -> None:
    x, w = floats(1, 4, *[3] * rank), floats(4, 1, *[3] * rank)
    around = [1] * 2 * rank if pads == "even" else [0] * rank + [1] * rank
    check("ConvTranspose", [x, w, floats(2)], opset=13, group=2, strides=[2] * rank, pads=around, gradient=True)


def test_conv_transpose_with_constant_weights_is_a_layer() -> None:
    model = node_model(
        "ConvTranspose", [floats(1, 3, 5, 5), floats(3, 2, 3, 3)], opset=13, constants=(1,), strides=[2, 2]
    )
    assert isinstance(layers(model)[0], nn.ConvTranspose2d)


def test_deform_conv() -> None:
    x, w = floats(1, 4, 5, 5), floats(4, 2, 2, 2)
    offset, mask = floats(1, 16, 4, 4, seed=1) * 0.7, np.abs(floats(1, 8, 4, 4, seed=2))
    for opset in (19, 22):
        check("DeformConv", [x, w, offset, floats(4), mask], opset=opset, group=2, offset_group=2)
    check("DeformConv", [x, w, offset, None, mask], opset=19, group=2, offset_group=2, trace=True)


def test_deform_conv_has_the_right_gradient() -> None:
    x, w = floats(1, 1, 3, 3), floats(1, 1, 2, 2)
    offset = np.random.default_rng(3).uniform(0.2, 0.6, (1, 8, 2, 2)).astype(np.float32)
    check("DeformConv", [x, w, offset], opset=19, gradient=True)


def test_no_convolution_over_four_axes() -> None:
    from onnxsal.errors import ImportFault

    model = node_model("Conv", [floats(1, 1, 2, 2, 2, 2), floats(1, 1, 1, 1, 1, 1)], opset=13)
    with pytest.raises(ImportFault, match="4 spatial axes"):
        build(normalise(model))(torch.zeros(1, 1, 2, 2, 2, 2), torch.zeros(1, 1, 1, 1, 1, 1))
