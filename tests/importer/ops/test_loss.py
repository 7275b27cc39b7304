from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.importer.ops.support import check

RANDOM = np.random.default_rng(0)
WEIGHT = np.array([0.2, 1.5, 0.7, 1.0], np.float32)
CASES = [(reduction, ignore) for reduction in ("mean", "sum", "none") for ignore in (None, 2, -1)]


def _case(dims: tuple[int, ...], ignore: int | None) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    scores = RANDOM.normal(size=(3, 4, *dims)).astype(np.float32)
    labels = RANDOM.integers(0, 4, (3, *dims))
    if ignore is None:
        return scores, labels, {}
    labels.flat[0] = ignore
    return scores, labels, {"ignore_index": ignore}


@pytest.mark.parametrize("name", ["NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"])
@pytest.mark.parametrize("dims", [(), (5,), (2, 3), (2, 2, 2)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("reduction", "ignore"), CASES)
def test_like_onnxruntime(name: str, dims: tuple[int, ...], weighted: bool, reduction: str, ignore: int | None) -> None:
    scores, labels, options = _case(dims, ignore)
    inputs = [scores, labels, WEIGHT] if weighted else [scores, labels]
    check(name, inputs, opset=13, reduction=reduction, constants=(2,)[: len(inputs) - 2], **options)


@pytest.mark.parametrize("name", ["NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"])
def test_gradient(name: str) -> None:
    scores, labels, options = _case((2,), 2)
    check(name, [scores, labels, WEIGHT], opset=12, constants=(2,), gradient=True, trace=True, **options)


def test_log_probabilities_are_the_second_output() -> None:
    scores, labels, _ = _case((2,), None)
    check("SoftmaxCrossEntropyLoss", [scores, labels], opset=13, n_outputs=2, gradient=True)


def test_labels_may_be_short_integers() -> None:
    scores, labels, _ = _case((), None)
    check("NegativeLogLikelihoodLoss", [scores, labels.astype(np.int32)], opset=13)
