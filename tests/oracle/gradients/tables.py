"""The operators of ``ai.onnx.ml`` that have slopes; they answer in single precision."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from onnxsal.importer.operator import Operator
from tests.oracle.gradients import Case, Draw, excuses, generator, numbers, one_of, options, shape, slopes

DOMAIN = "ai.onnx.ml"
FEATURES = 3
TRANSFORMS = ("NONE", "LOGISTIC", "SOFTMAX")
EARLY = "the answer is an iteration that stops early, the gradient that of its limit: see test_ml_linear.py"
KERNELS = ("LINEAR", "POLY", "RBF", "SIGMOID")


def weights(draw: Draw, *sizes: int) -> list[float]:
    return [float(w) for w in numbers(draw, sizes, -0.5, 0.5).ravel()]


@slopes("Scaler", domain=DOMAIN)
def scaler(draw: Draw, op: Operator) -> Case:
    x = numbers(draw, [2, FEATURES])
    return Case(
        [x],
        options(draw, op, offset=st.just(weights(draw, FEATURES)), scale=st.just(weights(draw, FEATURES))),
        single=True,
    )


@slopes("Normalizer", domain=DOMAIN, modes={"norm": ("MAX", "L1", "L2")})
def normalizer(draw: Draw, op: Operator) -> Case:
    apart = np.arange(FEATURES)  # no two values of a row are near each other
    return Case(
        [numbers(draw, [3, FEATURES], 0.5, 1) + apart], {"norm": draw(one_of(("MAX", "L1", "L2")))}, single=True
    )


@slopes(
    "Imputer",
    domain=DOMAIN,
    unused={"imputed_value_int64s": "of whole numbers", "replaced_value_int64": "of whole numbers"},
)
def imputer(draw: Draw, op: Operator) -> Case:
    chosen = {"imputed_value_floats": weights(draw, FEATURES), "replaced_value_float": 0.5}
    return Case([numbers(draw, [2, FEATURES], away=(0.5,))], chosen, single=True)


@slopes("FeatureVectorizer", domain=DOMAIN)
def vectorizer(draw: Draw, op: Operator) -> Case:
    widths = shape(draw, (1, 3), (1, 3))
    return Case([numbers(draw, [2, n]) for n in widths], {"inputdimensions": widths}, single=True)


@slopes("ArrayFeatureExtractor", domain=DOMAIN)
def extractor(draw: Draw, op: Operator) -> Case:
    return Case([numbers(draw, [2, 4]), generator(draw).integers(0, 4, 3)], single=True)


@slopes("LinearRegressor", domain=DOMAIN)
def regressor(draw: Draw, op: Operator) -> Case:
    targets = draw(st.integers(1, 3))
    chosen: dict[str, Any] = {"coefficients": weights(draw, targets, FEATURES), "targets": targets}
    chosen |= options(draw, op, intercepts=st.just(weights(draw, targets)), post_transform=one_of(TRANSFORMS))
    return Case([numbers(draw, [2, FEATURES])], chosen, single=True)


@slopes("LinearClassifier", domain=DOMAIN, modes={"post_transform": TRANSFORMS}, unused={
    "classlabels_strings": "about the other output", "multi_class": "no kernel reads it",
})  # fmt: skip
def classifier(draw: Draw, op: Operator) -> Case:
    classes = draw(st.integers(2, 3))
    chosen = {"coefficients": weights(draw, classes, FEATURES), "intercepts": weights(draw, classes)}
    chosen |= {"classlabels_ints": list(range(classes)), "post_transform": draw(one_of(TRANSFORMS))}
    return Case([numbers(draw, [2, FEATURES])], chosen, 2, single=True)


@slopes("SVMRegressor", domain=DOMAIN, modes={"kernel_type": KERNELS}, unused={
    "one_class": "answers a sign", "post_transform": "of one number, does nothing",
})  # fmt: skip
def svm_regressor(draw: Draw, op: Operator) -> Case:
    vectors = 4
    chosen = {
        "coefficients": weights(draw, vectors), "kernel_params": [0.4, 0.3, 2.0], "kernel_type": draw(one_of(KERNELS)),
        "n_supports": vectors, "rho": [0.2], "support_vectors": weights(draw, vectors, FEATURES),
    }  # fmt: skip
    return Case([numbers(draw, [2, FEATURES])], chosen, single=True)


@slopes("SVMClassifier", domain=DOMAIN, modes={"kernel_type": KERNELS}, unused={
    "prob_a": EARLY, "prob_b": EARLY, "classlabels_strings": "about the other output",
})  # fmt: skip
def svm_classifier(draw: Draw, op: Operator) -> Case:
    classes = draw(st.integers(2, 3))
    vectors, pairs = 2 * classes, classes * (classes - 1) // 2
    chosen: dict[str, Any] = {
        "classlabels_ints": list(range(classes)), "coefficients": weights(draw, classes - 1, vectors),
        "kernel_params": [0.4, 0.3, 2.0], "kernel_type": draw(one_of(KERNELS)), "rho": weights(draw, pairs),
        "support_vectors": weights(draw, vectors, FEATURES), "vectors_per_class": [2] * classes,
    }  # fmt: skip
    chosen |= options(draw, op, post_transform=one_of(("NONE", "LOGISTIC")))
    return Case([numbers(draw, [2, FEATURES])], chosen, 2, single=True)


excuses("only names what it is handed", "ZipMap", domain=DOMAIN)
