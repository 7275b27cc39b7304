"""Hyper-connections: several streams side by side, and the gates between them."""

from __future__ import annotations

from hypothesis import strategies as st

from onnxsal.importer.operator import Operator
from tests.oracle.gradients import Case, Draw, chance, maybe, numbers, one_of, options, slopes

MICROSOFT = "com.microsoft"
BATCH, COUNT, WIDTH = 2, 3, 4
GATES = ([BATCH, COUNT], [BATCH, COUNT, 1], [BATCH, COUNT, WIDTH])
tiny = st.floats(1e-3, 0.1)


@slopes("BranchwiseRMSNorm", domain=MICROSOFT)
def branchwise(draw: Draw, op: Operator) -> Case:
    flat = chance(draw)
    scale = maybe(draw, lambda: numbers(draw, draw(one_of(([COUNT * WIDTH], [COUNT, WIDTH], [WIDTH])))))
    chosen = options(draw, op, epsilon=tiny) | ({"num_branches": COUNT} if flat else {})
    return Case([_streams(draw, flat), scale], chosen)


def _streams(draw: Draw, flat: bool):
    return numbers(draw, [BATCH, COUNT * WIDTH] if flat else [BATCH, COUNT, WIDTH])


@slopes("HyperConnectionPreMix", domain=MICROSOFT)
def before(draw: Draw, op: Operator) -> Case:
    flat = chance(draw)
    chosen = options(draw, op, reduction_scale=st.floats(0.3, 2)) | ({"num_branches": COUNT} if flat else {})
    return Case([_streams(draw, flat), numbers(draw, draw(one_of(GATES)))], chosen)


@slopes("HyperConnectionPostMix", domain=MICROSOFT)
def after(draw: Draw, op: Operator) -> Case:
    flat = chance(draw)
    mix = maybe(draw, lambda: numbers(draw, [BATCH, COUNT, COUNT]))
    inputs = [_streams(draw, flat), numbers(draw, [BATCH, WIDTH]), numbers(draw, draw(one_of(GATES))), mix]
    return Case(inputs, {"num_branches": COUNT} if flat else {})


@slopes("EngramGate", domain=MICROSOFT)
def memory(draw: Draw, op: Operator) -> Case:
    sizes = [BATCH, 2, COUNT, WIDTH]
    inputs = [numbers(draw, sizes), numbers(draw, sizes), numbers(draw, [BATCH, 2, WIDTH])]
    inputs += [numbers(draw, [COUNT, WIDTH]) for _ in range(draw(one_of((2, 3))))]
    return Case(inputs, options(draw, op, epsilon=tiny), len(inputs) - 4)
