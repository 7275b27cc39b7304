"""Operators that only move elements: shapes, slices, picks, paddings."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from hypothesis import strategies as st

from onnxsal.importer.operator import Operator
from tests.oracle.gradients import (
    Case,
    Draw,
    chance,
    excuses,
    flag,
    generator,
    maybe,
    numbers,
    one_of,
    options,
    shape,
    slopes,
    whole,
)  # fmt: skip

MICROSOFT = "com.microsoft"


@slopes("Identity")
def identity(draw: Draw, op: Operator) -> Case:
    return Case([numbers(draw, shape(draw))])


@slopes("Reshape", modes={"allowzero": (0, 1)}, unused={"consumed_inputs": "never changed a value"})
def reshape(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw)
    wanted = [sizes[0], -1] if chance(draw) else [prod(sizes)]
    if "shape" in op.attributes:
        return Case([numbers(draw, sizes)], {"shape": wanted})
    chosen = options(draw, op, allowzero=flag)
    return Case([numbers(draw, sizes), whole(*([0, -1] if not chosen.get("allowzero") else wanted))], chosen)


@slopes("Flatten")
def flatten(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw)
    return Case([numbers(draw, sizes)], options(draw, op, axis=st.integers(0, len(sizes))) or {"axis": 0})


@slopes("Transpose")
def transpose(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw)
    return Case([numbers(draw, sizes)], options(draw, op, perm=st.permutations(range(len(sizes)))))


@slopes("Squeeze", "Unsqueeze")
def squeeze(draw: Draw, op: Operator) -> Case:
    sizes = [*shape(draw, (1, 2), (2, 3))]
    axes = [0, 2]
    if op.name == "Squeeze":
        sizes = [1, sizes[0], 1, *sizes[1:]]
        axes = draw(one_of((axes, [0], None)))
    if axes is None:
        return Case([numbers(draw, sizes)])
    if "axes" in op.attributes:
        return Case([numbers(draw, sizes)], {"axes": axes})
    return Case([numbers(draw, sizes), whole(*axes)])


@slopes("ExpandDims", domain=MICROSOFT)
def expand_dims(draw: Draw, op: Operator) -> Case:
    return Case([numbers(draw, shape(draw)), np.array(draw(one_of((0, 1, -1))), np.int32)])


@slopes("Expand")
def expand(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw)
    before = [draw(one_of((1, n))) for n in sizes]
    return Case([numbers(draw, before), whole(*([2, *sizes] if chance(draw) else sizes))])


@slopes("Tile")
def tile(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw)
    if op.since < 6:
        return Case([numbers(draw, sizes), whole(2), whole(draw(st.integers(0, len(sizes) - 1)))])
    return Case([numbers(draw, sizes), whole(*(draw(st.integers(1, 3)) for _ in sizes))])


@slopes("Concat")
def concat(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw)
    axis = draw(st.integers(0, len(sizes) - 1))
    sides = [[*sizes[:axis], n, *sizes[axis + 1 :]] for n in draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))]
    if op.since == 1 and chance(draw) and len(sizes) > 1 and axis == 1:
        return Case([numbers(draw, s) for s in sides])
    return Case([numbers(draw, s) for s in sides], {"axis": axis})


@slopes("Split")
def split(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw)
    axis = draw(st.integers(0, len(sizes) - 1))
    parts = draw(st.lists(st.integers(1, 3), min_size=2, max_size=3))
    x = numbers(draw, [*sizes[:axis], sum(parts), *sizes[axis + 1 :]])
    if "split" in op.attributes:
        return Case([x], {"axis": axis, "split": parts}, len(parts))
    if "num_outputs" in op.attributes and chance(draw):
        return Case([x], {"axis": axis, "num_outputs": 2}, 2)
    return Case([x, whole(*parts)], {"axis": axis}, len(parts))


@slopes("Slice")
def slice_(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw, (1, 3), (2, 5))
    axes = draw(st.permutations(range(len(sizes))))[: draw(st.integers(1, len(sizes)))]
    starts = [draw(st.integers(0, sizes[a] - 1)) for a in axes]
    ends = [draw(st.integers(s + 1, sizes[a])) for s, a in zip(starts, axes, strict=True)]
    x = numbers(draw, sizes)
    if "starts" in op.attributes:
        return Case([x], {"starts": starts, "ends": ends, "axes": axes})
    steps = [draw(one_of((1, 2, -1))) for _ in axes]
    ranges = [(s, e) if d > 0 else (e - 1, s - 1 - sizes[a] if s == 0 else s - 1)
              for s, e, d, a in zip(starts, ends, steps, axes, strict=True)]  # fmt: skip
    begin, end = zip(*ranges, strict=True)
    return Case([x, whole(*begin), whole(*end), whole(*axes), whole(*steps)])


@slopes("Compress")
def compress(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw, (1, 3), (2, 4))
    chosen = options(draw, op, axis=st.integers(0, len(sizes) - 1))
    length = sizes[chosen["axis"]] if chosen else prod(sizes)
    return Case([numbers(draw, sizes), np.arange(length) % 2 == 0], chosen, fed=[1] if chance(draw) else [])


def indices(draw: Draw, sizes: list[int], below: int) -> np.ndarray:
    return generator(draw).integers(-below, below, sizes)


@slopes("Gather")
def gather(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw)
    axis = draw(st.integers(0, len(sizes) - 1))
    picks = indices(draw, shape(draw, (0, 2)), sizes[axis])
    return Case([numbers(draw, sizes), picks], {"axis": axis}, fed=[1] if chance(draw) else [])


@slopes("GatherElements")
def gather_elements(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw)
    axis = draw(st.integers(0, len(sizes) - 1))
    return Case([numbers(draw, sizes), indices(draw, sizes, sizes[axis])], {"axis": axis})


@slopes("GatherND")
@slopes("GatherND", domain=MICROSOFT)
def gather_nd(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw, (2, 4))
    batch = draw(st.integers(0, 1)) if "batch_dims" in op.attributes else 0
    depth = draw(st.integers(1, len(sizes) - batch))
    places = np.stack([generator(draw).integers(0, n, [*sizes[:batch], 3]) for n in sizes[batch : batch + depth]], -1)
    return Case([numbers(draw, sizes), places], {"batch_dims": batch} if "batch_dims" in op.attributes else {})


@slopes("Scatter", "ScatterElements", modes={"reduction": ("none", "add", "mul", "max", "min")})
def scatter(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw, (1, 3), (2, 4))
    chosen = options(draw, op, axis=st.integers(0, len(sizes) - 1), reduction=one_of(REDUCTIONS))
    axis = chosen.get("axis", 0)
    both = numbers(draw, [2, *sizes])
    order = np.argsort(generator(draw).random(sizes), axis)  # each place is written once, lest the order decides
    if chosen.get("reduction", "none") != "none" and sizes[axis] > 1:
        order = order // 2
    return Case([both[0], order, both[1]], chosen)


REDUCTIONS = ("none", "add", "mul", "max", "min")


@slopes("ScatterND", modes={"reduction": REDUCTIONS})
def scatter_nd(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw, (1, 3), (2, 4))
    rows = generator(draw).permutation(sizes[0])[: draw(st.integers(1, sizes[0]))].reshape(-1, 1)
    both = numbers(draw, [2, *sizes])
    return Case([both[0], rows.astype(np.int64), both[1][: len(rows)]], options(draw, op, reduction=one_of(REDUCTIONS)))


@slopes("TensorScatter", modes={"mode": ("linear", "circular")})
def tensor_scatter(draw: Draw, op: Operator) -> Case:
    sizes = [2, *shape(draw, (2, 2), (2, 4))]
    cache, update = [sizes[0], 5, sizes[1]], [sizes[0], 2, sizes[1]]
    places = maybe(draw, lambda: generator(draw).integers(0, 4, 2))
    chosen = options(draw, op, mode=one_of(("linear", "circular"))) | {"axis": draw(one_of((1, -2)))}
    return Case([numbers(draw, cache), numbers(draw, update), places], chosen)


@slopes("OneHot")
def one_hot(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw, (1, 2))
    axis = st.integers(-1, len(sizes))
    return Case([generator(draw).integers(0, 4, sizes), whole(4), numbers(draw, [2])], options(draw, op, axis=axis))


@slopes("ReverseSequence")
def reverse_sequence(draw: Draw, op: Operator) -> Case:
    batch = draw(st.integers(0, 1))
    sizes = shape(draw, (2, 3), (2, 4))
    lens = generator(draw).integers(1, sizes[1 - batch] + 1, sizes[batch])
    return Case([numbers(draw, sizes), lens], {"batch_axis": batch, "time_axis": 1 - batch})


@slopes("Trilu", modes={"upper": (0, 1)})
@slopes("Trilu", domain=MICROSOFT, modes={"upper": (0, 1)})
def trilu(draw: Draw, op: Operator) -> Case:
    k = maybe(draw, lambda: np.array(draw(st.integers(-2, 2))))
    return Case([numbers(draw, shape(draw, (2, 3))), k], options(draw, op, upper=flag))


PAD_MODES = ("constant", "reflect", "edge", "wrap")


@slopes("Pad", modes={"mode": PAD_MODES[:3]})
@slopes("Pad", domain=MICROSOFT, modes={"mode": PAD_MODES[:3]})
def pad(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw, (1, 4), (3, 4))
    mode = draw(one_of(PAD_MODES if op.since >= 18 else PAD_MODES[:3]))
    least = -1 if mode == "constant" else 0
    pads = [draw(st.integers(least, 2)) for _ in range(2 * len(sizes))]
    chosen: dict[str, Any] = {"mode": mode}
    x = numbers(draw, sizes)
    name = next((n for n in ("pads", "paddings") if n in op.attributes), None)
    if name:
        return Case([x], {**chosen, name: pads, "value": 0.5})
    inputs = [x, whole(*pads), np.array(0.5) if chance(draw) else None]
    if op.since >= 18 and chance(draw):
        inputs = [x, whole(pads[0], pads[1]), inputs[2], whole(len(sizes) - 1)]
    return Case(inputs, chosen, held=[2])


@slopes("CenterCropPad")
def center_crop_pad(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw, (2, 3), (2, 4))
    if chance(draw):
        return Case([numbers(draw, sizes), whole(3)], {"axes": [draw(st.integers(0, len(sizes) - 1))]})
    return Case([numbers(draw, sizes), whole(*(draw(st.integers(1, 6)) for _ in sizes))])


@slopes("DynamicSlice")
def dynamic_slice(draw: Draw, op: Operator) -> Case:
    return Case([numbers(draw, [3, 4]), whole(1, 0), whole(3, 2), maybe(draw, lambda: whole(1, 0))])


@slopes("Crop")
def crop(draw: Draw, op: Operator) -> Case:
    border = {"border": [1, 0, 1, 1]}
    return Case([numbers(draw, [1, 2, 5, 6])], border | ({"scale": [2, 3]} if chance(draw) else {}))


@slopes("Unique", "SampleOp", domain=MICROSOFT)
def handed_on(draw: Draw, op: Operator) -> Case:
    return Case([numbers(draw, [5])], {}, 3 if op.name == "Unique" else 1)


@slopes("NGramRepeatBlock", domain=MICROSOFT)
def without_repetition(draw: Draw, op: Operator) -> Case:
    ids = np.array([[1, 2, 1], [0, 1, 2]])  # nothing is repeated yet, for minus infinity has no differences
    return Case([ids, numbers(draw, [2, 4])], {"ngram_size": 3})


@slopes("UnfoldTensor", domain=MICROSOFT)
def unfold(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw, (1, 3), (3, 5))
    dim = st.integers(0, len(sizes) - 1)
    return Case(
        [numbers(draw, sizes)], {"size": draw(st.integers(1, 3)), **options(draw, op, dim=dim, step=one_of((1, 2)))}
    )


@slopes("DepthToSpace", modes={"mode": ("DCR", "CRD")})
def depth_to_space(draw: Draw, op: Operator) -> Case:
    size = draw(st.integers(1, 2))
    chosen = {"blocksize": size} | options(draw, op, mode=one_of(("DCR", "CRD")))
    return Case([numbers(draw, [2, 2 * size**2, 2, 3])], chosen)


@slopes("SpaceToDepth", modes={"mode": ("DCR", "CRD")})
def space_to_depth(draw: Draw, op: Operator) -> Case:
    size = draw(st.integers(1, 2))
    chosen = {"blocksize": size} | options(draw, op, mode=one_of(("DCR", "CRD")))
    return Case([numbers(draw, [2, 2, 2 * size, 3 * size])], chosen)


@slopes("Col2Im")
def col2im(draw: Draw, op: Operator) -> Case:
    rank = draw(st.integers(1, 3))
    image = shape(draw, (rank, rank), (3, 5))
    chosen = options(
        draw, op, dilations=st.just([1] * rank), strides=st.lists(one_of((1, 2)), min_size=rank, max_size=rank),
        pads=st.lists(flag, min_size=2 * rank, max_size=2 * rank),
    )  # fmt: skip
    pads, strides = chosen.get("pads", [0] * 2 * rank), chosen.get("strides", [1] * rank)
    counts = [(n + b + e - 2) // s + 1 for n, b, e, s in zip(image, pads[:rank], pads[rank:], strides, strict=True)]
    return Case([numbers(draw, [2, 2 * 2**rank, prod(counts)]), whole(*image), whole(*[2] * rank)], chosen)


@slopes("Cast", "CastLike", unused={"saturate": "about 8-bit floats", "round_mode": "about 8-bit floats"})
def cast(draw: Draw, op: Operator) -> Case:
    x = numbers(draw, shape(draw))
    if op.name == "CastLike":
        return Case([x, np.zeros(1)], held=[1])
    return Case([x], {"to": "DOUBLE" if op.since < 6 else 11})


@slopes("Dropout", unused={"consumed_inputs": "never changed a value"})
def dropout(draw: Draw, op: Operator) -> Case:
    x = numbers(draw, shape(draw))
    if "ratio" in op.attributes:
        return Case([x], {"ratio": 0.3} | ({"is_test": 1} if "is_test" in op.attributes else {}), 2)
    training = chance(draw)
    given = [np.array(0.3), np.array(True)] if training else []
    return Case([x, *given], {"seed": 3}, 2, held=[1])


excuses(
    "hands whole values on, as tests/importer/ops/test_sequence.py shows",
    *("ConcatFromSequence", "Optional", "OptionalGetElement", "SequenceAt", "SequenceConstruct", "SequenceErase"),
    *("SequenceInsert", "SplitToSequence"),
)
excuses(
    "runs a sub-graph: tests/importer/ops/test_control_flow.py takes differences through it",
    *("If", "Loop", "Scan", "SequenceMap"),
)
