"""Reductions along axes, running sums, sorting."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from onnxsal.importer.operator import Operator
from tests.oracle.gradients import Case, Draw, flag, numbers, options, shape, slopes, whole

POSITIVE = {"ReduceLogSum", "ReduceProd"}


@slopes(
    *(
        f"Reduce{kind}"
        for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
    ),
    modes={"keepdims": (0, 1)},
)
def reduce(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw, (1, 4), (1, 3))
    low = 0.3 if op.name in POSITIVE else -2.0
    x = numbers(draw, sizes, low)
    axes = sorted(draw(st.sets(st.integers(0, len(sizes) - 1), min_size=1)))
    axes = [axis - len(sizes) if draw(st.booleans()) and op.since >= 11 else axis for axis in axes]
    chosen = options(draw, op, axes=st.just(axes), keepdims=flag, noop_with_empty_axes=flag)
    # of no axes at all, opset 18 says to reduce nothing but to apply the function; both are tried
    given = [whole(*axes)] if "axes" not in op.attributes and draw(st.integers(0, 2)) else []
    return Case([x, *given], chosen)


@slopes("CumSum", "CumProd", modes={"exclusive": (0, 1), "reverse": (0, 1)})
def running(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw, (1, 3))
    axis = np.array(draw(st.integers(-len(sizes), len(sizes) - 1)))
    return Case([numbers(draw, sizes), axis], options(draw, op, exclusive=flag, reverse=flag))


@slopes("TopK", modes={"largest": (0, 1), "sorted": (0, 1)})
def top_k(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw, (1, 3), (2, 4))
    axis = draw(st.integers(0, len(sizes) - 1))
    k = draw(st.integers(1, sizes[axis]))
    chosen = {"axis": axis} | options(draw, op, largest=flag, sorted=flag)
    if "k" in op.attributes:
        return Case([numbers(draw, sizes)], {**chosen, "k": k}, 2)
    return Case([numbers(draw, sizes), whole(k)], chosen, 2)


@slopes("Unique", modes={"sorted": (0, 1)})
def unique(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw, (2, 3))
    return Case([numbers(draw, sizes)], options(draw, op, axis=st.integers(0, len(sizes) - 1), sorted=flag), 4)


@slopes("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def globally(draw: Draw, op: Operator) -> Case:
    p = st.integers(1, 4) if op.since > 1 else st.floats(1.5, 3)
    return Case([numbers(draw, shape(draw, (3, 5)))], options(draw, op, p=p))
