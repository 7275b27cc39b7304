"""Normalisation, and losses."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from onnxsal.importer.operator import Operator
from tests.oracle.gradients import (
    Case,
    Draw,
    chance,
    flag,
    generator,
    maybe,
    numbers,
    one_of,
    options,
    shape,
    slopes,
)  # fmt: skip

MICROSOFT = "com.microsoft"
tiny = st.floats(1e-3, 0.1)


@slopes("BatchNormalization", unused={"consumed_inputs": "never changed a value", "momentum": "about the running mean"})
def batch_norm(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw, (2, 5), (2, 3))
    chosen = options(draw, op, epsilon=tiny, training_mode=flag, is_test=st.just(1), spatial=st.just(1))
    channels = [numbers(draw, sizes[1:2]) for _ in range(3)]
    variance = numbers(draw, sizes[1:2], 0.3, 2)
    training = chosen.get("training_mode")
    return Case(
        [numbers(draw, sizes), *channels, variance], chosen, 3 if training else 1, held=[3, 4] if training else []
    )


@slopes("InstanceNormalization", "GroupNormalization", unused={
    "consumed_inputs": "never changed a value", "stash_type": "a single precision, which differences drown in",
})  # fmt: skip
def instance_norm(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw, (3, 5), (2, 3))
    sizes[1] = 4
    groups = draw(one_of((1, 2, 4)))
    chosen = options(draw, op, epsilon=tiny, num_groups=st.just(groups))
    width = [groups if op.name == "GroupNormalization" and op.since < 21 else 4]
    return Case([numbers(draw, sizes), numbers(draw, width), numbers(draw, width)], chosen)


LAYER = {"stash_type": "a single precision, which differences drown in"}


@slopes("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization", unused=LAYER)
def layer_norm(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw, (2, 4), (2, 4))
    axis = draw(st.integers(1, len(sizes) - 1))
    inputs = [numbers(draw, sizes), numbers(draw, sizes[axis:])]
    if op.name == "LayerNormalization":
        inputs.append(maybe(draw, lambda: numbers(draw, sizes[axis:])))
    return Case(inputs, {"axis": axis, "stash_type": 11} | options(draw, op, epsilon=tiny))


@slopes("LpNormalization", modes={"p": (1, 2)})
def lp_norm(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw, (1, 3), (2, 4))
    return Case([numbers(draw, sizes)], options(draw, op, axis=st.integers(0, len(sizes) - 1), p=one_of((1, 2))))


@slopes("LRN")
def lrn(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw, (3, 5), (2, 4))
    part = st.floats(0.1, 1)
    return Case(
        [numbers(draw, sizes)],
        {"size": draw(one_of((1, 2, 3, 4)))} | options(draw, op, alpha=part, beta=part, bias=part),
    )


@slopes("MeanVarianceNormalization")
def mean_variance(draw: Draw, op: Operator) -> Case:
    return Case([numbers(draw, [3, 2, 3, 4])], options(draw, op, axes=one_of(([0, 2, 3], [2, 3], [0]))))


@slopes("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", domain=MICROSOFT)
def skip_layer_norm(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw, (3, 3), (2, 4))
    inputs = [numbers(draw, sizes), numbers(draw, sizes), numbers(draw, sizes[-1:])]
    inputs += [
        maybe(draw, lambda: numbers(draw, sizes[-1:])) for _ in range(2 if op.name == "SkipLayerNormalization" else 1)
    ]
    return Case(inputs, options(draw, op, epsilon=tiny), 4)


@slopes("EmbedLayerNormalization", domain=MICROSOFT, unused={"mask_index_type": "about an output of whole numbers"})
def embed_layer_norm(draw: Draw, op: Operator) -> Case:
    ids = generator(draw).integers(0, 5, [2, 3]).astype(np.int32)
    segments = chance(draw)
    inputs = [
        ids, ids % 2 if segments else None, numbers(draw, [5, 4]), numbers(draw, [3, 4]),
        numbers(draw, [2, 4]) if segments else None, numbers(draw, [4]), numbers(draw, [4]),
    ]  # fmt: skip
    return Case(inputs, options(draw, op, epsilon=tiny), 3)


@slopes("QEmbedLayerNormalization", domain=MICROSOFT)
def quantised_embed_layer_norm(draw: Draw, op: Operator) -> Case:
    random = generator(draw)
    ids = random.integers(0, 5, [2, 3]).astype(np.int32)
    tables = [random.integers(0, 256, s).astype(np.uint8) for s in ([5, 4], [3, 4], [2, 4], [4], [4])]
    scales = [np.array(v) for v in numbers(draw, [5], 0.01, 0.1)]
    zeros = [np.array(v, np.uint8) for v in random.integers(100, 150, 5)]
    inputs = [ids, ids % 2, *tables, None, *scales, *zeros]
    if chance(draw):
        inputs = [None if i in {1, 4, 10, 15} else v for i, v in enumerate(inputs)]
    return Case(inputs, options(draw, op, epsilon=tiny), 2)


@slopes("GroupNorm", "SkipGroupNorm", domain=MICROSOFT, modes={"activation": (0, 1), "channels_last": (0, 1)})
def group_norm(draw: Draw, op: Operator) -> Case:
    chosen = options(draw, op, activation=flag, channels_last=flag, epsilon=tiny, groups=one_of((1, 2, 4)))
    sizes = [2, 2, 3, 4] if chosen.get("channels_last", 1) else [2, 4, 2, 3]
    inputs = [numbers(draw, sizes), numbers(draw, [4]), numbers(draw, [4])]
    if op.name == "SkipGroupNorm":
        inputs += [numbers(draw, sizes), maybe(draw, lambda: numbers(draw, [4]))]
    return Case(inputs, chosen, 2 if op.name == "SkipGroupNorm" else 1)


@slopes("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss", modes={"reduction": ("none", "mean", "sum")})
def loss(draw: Draw, op: Operator) -> Case:
    sizes = [3, 4, *shape(draw, (0, 2), (1, 3))]
    labels = generator(draw).integers(0, 4, [sizes[0], *sizes[2:]])
    chosen = options(draw, op, ignore_index=st.integers(0, 3), reduction=one_of(("none", "mean", "sum")))
    if (labels == chosen.get("ignore_index", -1)).all():
        labels = (labels + 1) % 4
    weights = maybe(draw, lambda: numbers(draw, [4], 0.3, 2))
    return Case([numbers(draw, sizes), labels, weights], chosen, 2 if op.name.startswith("Soft") else 1)


@slopes("BiasSoftmax", domain=MICROSOFT, modes={"is_inner_broadcast": (0, 1)})
def bias_softmax(draw: Draw, op: Operator) -> Case:
    inner = draw(flag)
    axis = draw(st.integers(1, 3)) if inner else 3
    bias = [1, 1, 2, 5] if inner else [2, 1, 1, 5]
    if inner:
        bias = [1] * axis + [2, 3, 2, 5][axis:]
    return Case([numbers(draw, [2, 3, 2, 5]), numbers(draw, bias)], {"axis": axis, "is_inner_broadcast": inner})
