"""Functions of one value, and of two element by element."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from onnxsal.importer.operator import Operator
from tests.oracle.gradients import Case, Draw, chance, numbers, one_of, options, shape, slopes

some = st.floats(0.2, 1.5)
EVERYWHERE = (
    *("Abs", "Asinh", "Atan", "Cos", "Cosh", "Erf", "Exp", "Mish", "Neg", "Reciprocal", "Relu", "Sigmoid", "Sin"),
    *("Sinh", "Softplus", "Softsign", "Tanh"),
)
"""Functions of all numbers, with a kink at zero if anywhere."""
RANGES: dict[str, dict[str, Any]] = {
    "HardSwish": {"away": (-3.0, 3.0), "low": -5.0, "high": 5.0},
    "Tan": {"low": -1.2, "high": 1.2},
    "Asin": {"low": -0.9, "high": 0.9},
    "Acos": {"low": -0.9, "high": 0.9},
    "Atanh": {"low": -0.9, "high": 0.9},
    "Acosh": {"low": 1.1, "high": 4.0},
    "Sqrt": {"low": 0.1, "high": 4.0},
    "Log": {"low": 0.1, "high": 4.0},
}
WITH_OPTIONS: dict[str, dict[str, Any]] = {
    "LeakyRelu": {"alpha": some},
    "Elu": {"alpha": some},
    "Celu": {"alpha": some},
    "Selu": {"alpha": some, "gamma": some},
    "Swish": {"alpha": some},
    "Gelu": {"approximate": one_of(("none", "tanh"))},
    "Affine": {"alpha": some, "beta": some},
    "Scale": {"scale": some},
    "ScaledTanh": {"alpha": some, "beta": some},
    "ParametricSoftplus": {"alpha": some, "beta": some},
}


def _unary(draw: Draw, op: Operator) -> Case:
    chosen = options(draw, op, **WITH_OPTIONS.get(op.name, {}))
    if op.name in {"ScaledTanh", "ParametricSoftplus"}:  # neither attribute has a default
        chosen = {key: draw(some) for key in ("alpha", "beta")}
    return Case([numbers(draw, shape(draw), **RANGES.get(op.name, {}))], chosen)


slopes(*EVERYWHERE, *RANGES, *(set(WITH_OPTIONS) - {"Gelu"}), unused={"consumed_inputs": "never changed a value"})(
    _unary
)
slopes("Gelu", modes={"approximate": ("none", "tanh")})(_unary)


@slopes("ThresholdedRelu")
def threshold(draw: Draw, op: Operator) -> Case:
    chosen = options(draw, op, alpha=some)
    return Case([numbers(draw, shape(draw), away=(chosen.get("alpha", 1.0),))], chosen)


@slopes("HardSigmoid")
def hard_sigmoid(draw: Draw, op: Operator) -> Case:
    chosen = options(draw, op, alpha=some, beta=some)
    alpha, beta = chosen.get("alpha", 0.2), chosen.get("beta", 0.5)
    return Case([numbers(draw, shape(draw), -4, 4, away=(-beta / alpha, (1 - beta) / alpha))], chosen)


@slopes("Shrink")
def shrink(draw: Draw, op: Operator) -> Case:
    chosen = options(draw, op, bias=some, lambd=some)
    edge = chosen.get("lambd", 0.5)
    return Case([numbers(draw, shape(draw), away=(-edge, edge))], chosen)


@slopes("Clip")
def clip(draw: Draw, op: Operator) -> Case:
    low, high = draw(st.floats(-1, -0.2)), draw(st.floats(0.2, 1))
    x = numbers(draw, shape(draw), away=(low, high))
    if "min" in op.attributes:
        return Case([x], {"min": low, "max": high} if chance(draw) else {})
    bounds = [np.array(low) if chance(draw) else None, np.array(high) if chance(draw) else None]
    return Case([x, *bounds])


@slopes("Softmax", "LogSoftmax")
def softmax(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw, (2, 4), (2, 4))
    axis = st.integers(-len(sizes) if op.since >= 13 else 0, len(sizes) - 1)
    return Case([numbers(draw, sizes)], options(draw, op, axis=axis))


@slopes("PRelu")
def prelu(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw, (2, 4))
    slope = [1] if chance(draw) else [sizes[1]] if op.since < 7 else [sizes[1], *[1] * (len(sizes) - 2)]
    return Case([numbers(draw, sizes), numbers(draw, slope)])


@slopes("SwiGLU")
def swiglu(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw)
    return Case([numbers(draw, sizes), numbers(draw, sizes)], options(draw, op, alpha=some))


def pair(draw: Draw, op: Operator) -> tuple[list[int], list[int], dict[str, Any]]:
    """Draw two shapes that broadcast, and what opsets below 7 have to say so."""
    sizes = shape(draw)
    if "broadcast" in op.attributes:
        first = draw(st.integers(0, len(sizes) - 1))
        last = draw(st.integers(first + 1, len(sizes)))
        chosen = {"broadcast": 1, "axis": first} if chance(draw) or last < len(sizes) else {"broadcast": 1}
        return sizes, sizes[first:last], chosen
    squeezed = [draw(one_of((1, n))) for n in sizes][draw(st.integers(0, len(sizes) - 1)) :]
    return (sizes, squeezed, {}) if chance(draw) else (squeezed, sizes, {})


@slopes("Add", "Sub", "Mul", "Div")
def arithmetic(draw: Draw, op: Operator) -> Case:
    a, b, chosen = pair(draw, op)
    return Case([numbers(draw, a), numbers(draw, b, 0.4) * draw(one_of((1, -1)))], chosen)


@slopes("Pow")
def power(draw: Draw, op: Operator) -> Case:
    a, b, chosen = pair(draw, op)
    if op.since >= 7 and draw(st.integers(0, 3)) == 0:
        return Case([numbers(draw, a), np.array(draw(st.integers(-2, 3)))], held=[1])
    return Case([numbers(draw, a, 0.2, 3), numbers(draw, b)], chosen)


@slopes("Mod", modes={"fmod": (0, 1)})
def mod(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw)
    b = numbers(draw, sizes, 1, 2)
    return Case([b * quotients(draw, sizes), b], {"fmod": 1} if chance(draw) else {"fmod": 0})


def quotients(draw: Draw, sizes: list[int]) -> np.ndarray:
    """Draw quotients that are far from whole numbers."""
    return np.floor(numbers(draw, sizes, -3, 3)) + numbers(draw, sizes, 0.2, 0.8, away=())


@slopes("Min", "Max", "Sum", "Mean")
def variadic(draw: Draw, op: Operator) -> Case:
    count, sizes = draw(st.integers(1, 4)), shape(draw)
    together = numbers(draw, [count, *sizes])
    if op.name in {"Sum", "Mean"} and chance(draw):
        return Case([*together, numbers(draw, [1])])
    return Case(list(together))


@slopes("Where")
def where(draw: Draw, op: Operator) -> Case:
    a, b, _ = pair(draw, op)
    return Case([numbers(draw, a) > 0, numbers(draw, a), numbers(draw, b)], fed=[0])


@slopes("ScaledSiLU", domain="com.microsoft")
def scaled_silu(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw)
    scale = numbers(draw, [1]) if chance(draw) else None
    return Case([numbers(draw, sizes), scale], options(draw, op, alpha=some))


@slopes("Gelu", "QuickGelu", domain="com.microsoft")
def gelu(draw: Draw, op: Operator) -> Case:
    return Case([numbers(draw, shape(draw))], options(draw, op, alpha=some))


@slopes("FastGelu", "BiasGelu", domain="com.microsoft")
def bias_gelu(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw)
    bias = numbers(draw, sizes[-1:])
    return Case([numbers(draw, sizes), None if op.name == "FastGelu" and chance(draw) else bias])


@slopes("ImageScaler")
def image_scaler(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw, (4, 4))
    bias = st.lists(some, min_size=sizes[1], max_size=sizes[1])
    return Case([numbers(draw, sizes)], {"scale": draw(some), "bias": draw(bias)})
