"""Convolution and pooling: 1-D to 3-D, every way to pad, strides, dilations, groups, ceil_mode."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from onnxsal.importer.operator import Operator
from tests.oracle.gradients import Case, Draw, chance, flag, generator, maybe, numbers, one_of, shape, slopes, whole

LAYOUT = "about indices, which are not returned"
AUTO = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")
MICROSOFT = "com.microsoft"


def each(rank: int, low: int, high: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(low, high), min_size=rank, max_size=rank)


def geometry(draw: Draw, op: Operator, kernel: list[int], *, most: int = 1, extra: bool = True) -> dict[str, Any]:
    """Draw strides, dilations and one of the ways to pad."""
    rank = len(kernel)
    auto = draw(one_of(AUTO))
    chosen: dict[str, Any] = {"auto_pad": auto, "kernel_shape": kernel, "strides": draw(each(rank, 1, 2))}
    if auto == "NOTSET" and chance(draw):
        del chosen["auto_pad"]
    if auto == "NOTSET":
        chosen["pads"] = draw(each(2 * rank, 0, most))
    if "dilations" in op.attributes and extra:
        chosen["dilations"] = draw(each(rank, 1, 2))
    return chosen


@slopes("Conv", modes={"auto_pad": AUTO})
@slopes(
    "FusedConv", domain=MICROSOFT, modes={"activation": ("Relu", "Tanh", "Sigmoid", "LeakyRelu", "Clip", "HardSigmoid")}
)
@slopes("NhwcConv", domain=MICROSOFT)
def conv(draw: Draw, op: Operator) -> Case:
    rank, group = draw(st.integers(1, 2 if op.name == "NhwcConv" else 3)), draw(st.integers(1, 2))
    kernel, sizes = draw(each(rank, 1, 3)), draw(each(rank, 5, 6))
    chosen = {**geometry(draw, op, kernel), "group": group}
    x, w = numbers(draw, [2, 2 * group, *sizes]), numbers(draw, [2 * group, 2, *kernel])
    inputs: list[Any] = [x, w, maybe(draw, lambda: numbers(draw, [2 * group]))]
    if op.name == "NhwcConv":
        inputs[:2] = np.ascontiguousarray(np.moveaxis(x, 1, -1)), np.ascontiguousarray(np.moveaxis(w, 1, -1))
    if op.name == "FusedConv":
        chosen |= activation(draw)
    return Case(inputs, chosen)


def activation(draw: Draw) -> dict[str, Any]:
    """Draw one of the activations that are fused, none of which has a kink that generated numbers meet."""
    name = draw(one_of(("Relu", "Tanh", "Sigmoid", "LeakyRelu", "Clip", "HardSigmoid")))
    parameters = {"LeakyRelu": [0.2], "Clip": [-2.1234, 2.3456], "HardSigmoid": [0.21, 0.52]}
    return (
        {"activation": name, "activation_params": parameters.get(name, [])}
        if name in parameters
        else {"activation": name}
    )


@slopes("ConvTranspose", modes={"auto_pad": AUTO})
@slopes("ConvTransposeWithDynamicPads", domain=MICROSOFT)
def conv_transpose(draw: Draw, op: Operator) -> Case:
    rank, group = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    kernel, sizes = draw(each(rank, 2, 3)), draw(each(rank, 2, 4))
    chosen = {**geometry(draw, op, kernel), "group": group}
    if "auto_pad" not in chosen or chosen["auto_pad"] in {"NOTSET", "VALID"}:
        chosen["output_padding"] = [draw(st.integers(0, max(s, d) - 1))
                                    for s, d in zip(chosen["strides"], chosen["dilations"], strict=True)]  # fmt: skip
    if "output_shape" in op.attributes and draw(st.integers(0, 4)) == 0:
        chosen.pop("pads", None)
        chosen.pop("output_padding", None)
        chosen["output_shape"] = [n * s for n, s in zip(sizes, chosen["strides"], strict=True)]
    inputs = [numbers(draw, [2, 2 * group, *sizes]), numbers(draw, [2 * group, 2, *kernel])]
    bias = maybe(draw, lambda: numbers(draw, [2 * group]))
    if op.name == "ConvTranspose":
        return Case([*inputs, bias], chosen)
    pads = chosen.pop("pads", None)
    return Case([*inputs, None if pads is None else whole(*pads), bias], chosen)


@slopes("DeformConv")
def deform_conv(draw: Draw, op: Operator) -> Case:
    group, offset_group = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    kernel, sizes = draw(each(2, 1, 2)), draw(each(2, 4, 5))
    strides, dilations, pads = draw(each(2, 1, 2)), draw(each(2, 1, 2)), draw(each(4, 0, 1))
    counts = [
        (n + pads[i] + pads[i + 2] - (k - 1) * d - 1) // s + 1
        for i, (n, k, d, s) in enumerate(zip(sizes, kernel, dilations, strides, strict=True))
    ]
    taps = kernel[0] * kernel[1]
    offsets = np.round(numbers(draw, [2, 2 * taps * offset_group, *counts])) + numbers(
        draw, [2, 2 * taps * offset_group, *counts], 0.2, 0.8, away=()
    )
    mask = maybe(draw, lambda: numbers(draw, [2, taps * offset_group, *counts]))
    inputs = [numbers(draw, [2, 4, *sizes]), numbers(draw, [2 * group, 4 // group, *kernel]), offsets]
    bias = maybe(draw, lambda: numbers(draw, [2 * group]))
    chosen = {"kernel_shape": kernel, "strides": strides, "dilations": dilations, "pads": pads}
    return Case([*inputs, bias, mask], chosen | {"group": group, "offset_group": offset_group})


@slopes("MaxPool", "AveragePool", "LpPool", modes={"auto_pad": AUTO, "ceil_mode": (0, 1), "count_include_pad": (0, 1)})
def pool(draw: Draw, op: Operator) -> Case:
    rank = draw(st.integers(1, 3))
    kernel, sizes = draw(each(rank, 2, 3)), draw(each(rank, 5, 6))
    chosen = geometry(draw, op, kernel)
    for name, choice in {"ceil_mode": flag, "count_include_pad": flag, "storage_order": flag}.items():
        if name in op.attributes:
            chosen[name] = draw(choice)
    if "p" in op.attributes:
        chosen["p"] = draw(st.integers(1, 4) if op.since > 1 else st.floats(1.5, 3))
    outputs = 2 if op.name == "MaxPool" and op.since >= 8 and chance(draw) else 1
    return Case([numbers(draw, [2, 2, *sizes])], chosen, outputs)


@slopes("NhwcMaxPool", domain=MICROSOFT, modes={"ceil_mode": (0, 1)})
def nhwc_max_pool(draw: Draw, op: Operator) -> Case:
    kernel, sizes = draw(each(2, 2, 3)), draw(each(2, 5, 6))
    return Case([numbers(draw, [2, *sizes, 2])], {**geometry(draw, op, kernel), "ceil_mode": draw(flag)})


@slopes("MaxUnpool")
def max_unpool(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw, (2, 2), (2, 3))
    whole_size = 2 * sizes[0] * 2 * sizes[1] * 2
    places = generator(draw).permutation(whole_size)[: 2 * sizes[0] * sizes[1]].reshape(1, 2, *sizes)
    chosen = {"kernel_shape": [2, 2], "strides": [2, 2]}
    if chance(draw):
        chosen["pads"] = [0, 0, 0, 0]
    wanted = maybe(draw, lambda: whole(1, 2, 2 * sizes[0], 2 * sizes[1]))
    return Case([numbers(draw, [1, 2, *sizes]), places.astype(np.int64), wanted], chosen)


@slopes("MaxpoolWithMask", domain=MICROSOFT, modes={"auto_pad": AUTO}, unused={"storage_order": LAYOUT})
def masked_pool(draw: Draw, op: Operator) -> Case:
    rank = draw(st.integers(1, 3))
    sizes = [2, 2, *draw(each(rank, 4, 5))]
    mask = np.ones(sizes, np.int32)
    mask[..., -1] = 0  # windows still begin with an element that counts
    chosen = geometry(draw, op, [2] * rank, extra=False) | {"strides": [1] * rank}
    if set(chosen.get("pads", ())) != {0} or chosen.get("auto_pad", "NOTSET") != "VALID":
        mask[:] = 1
    return Case([numbers(draw, sizes), mask], chosen)
