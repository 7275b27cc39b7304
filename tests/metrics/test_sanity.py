"""Sanity checks: other classes and shuffled weights; the model that is explained stays what it is."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

import onnxsal
from onnxsal.errors import UsageError
from onnxsal.importer.weights import layers_before, shuffled
from onnxsal.metrics._ranks import ordered, rank_correlation
from tests import models_for_tests as tiny
from tests.methods.models import inputs_of, model
from tests.metrics.support import TARGETS, examined, measured

X = np.float32([[1, 2, 3], [-1, 0.5, 2]])


def test_ranks_are_scipys() -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randint(0, 6, (5, 30), generator=generator).double() for _ in range(2))
    expected = [scipy.stats.spearmanr(a, b).statistic for a, b in zip(left, right, strict=True)]
    np.testing.assert_allclose(rank_correlation(left, right), expected, rtol=1e-9)


def test_equals_keep_their_order() -> None:
    assert ordered(torch.tensor([[1.0, 3.0, 1.0, 2.0]])).tolist() == [[2, 0, 3, 1]]


def test_another_class_of_two_is_the_other() -> None:
    explanation = examined(tiny.linear(), {"x": X}, target=[0, 1], method="saliency", abs=False)
    np.testing.assert_allclose(explanation.of_other_targets()["x"], tiny.WEIGHT.T[[1, 0]])
    expected = scipy.stats.spearmanr(*tiny.WEIGHT.T).statistic
    np.testing.assert_allclose(measured(explanation, "random_logit"), [expected, expected], rtol=1e-6)


def test_a_method_that_minds_no_class_fails_the_random_logit_test() -> None:
    explanation = examined(model("cnn"), inputs_of("cnn"), method="eigen_cam", target=TARGETS)
    np.testing.assert_allclose(measured(explanation, "random_logit"), 1)


def test_one_number_has_no_other_class() -> None:
    explanation = examined(tiny.square(), {"x": X})
    with pytest.raises(UsageError, match="no other class"):
        measured(explanation, "random_logit")


def test_shuffling_a_linear_model_shuffles_its_saliency() -> None:
    linear = onnxsal.load(tiny.linear())
    explanation = examined(linear, {"x": X}, target=0, method="saliency")
    random = shuffled(linear.graph, ["weight", "bias"], seed=0).constants["weight"]
    assert sorted(random.flat) == sorted(tiny.WEIGHT.flat)
    expected = scipy.stats.spearmanr(abs(tiny.WEIGHT[:, 0]), abs(random[:, 0])).statistic
    np.testing.assert_allclose(measured(explanation, "weight_randomisation"), expected, rtol=1e-6)


def test_layers_go_one_after_the_other_from_the_output_back() -> None:
    network = model("mlp")
    explanation = examined(network, inputs_of("mlp"), target=TARGETS, method="saliency")
    layers = layers_before(network.graph, network.outputs[0].name)
    assert len(layers) == 2
    seen = list(explanation.with_random_weights(2))
    for count, values in enumerate(seen, 1):
        names = [name for layer in layers[:count] for name in layer]
        random = network.with_graph(shuffled(network.graph, names, 0)).torch()
        x = inputs_of("mlp")["x"].requires_grad_()
        random(x)[0][range(3), TARGETS].sum().backward()
        torch.testing.assert_close(values["x"], x.grad.abs())
    assert len(list(explanation.with_random_weights(9))) == 2
    (whole,) = explanation.with_random_weights(1)
    torch.testing.assert_close(whole["x"], seen[-1]["x"])


def test_the_seed_decides_the_shuffle() -> None:
    first, again, other = (
        measured(examined(model("mlp"), inputs_of("mlp"), target=TARGETS, method="saliency"), "weight_randomisation")
        if seed is None
        else onnxsal.evaluate(
            model("mlp"), inputs_of("mlp"), target=TARGETS, metrics=["weight_randomisation"], seed=seed, verify=False
        )
        .measurements["weight_randomisation"]
        .values
        for seed in (None, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_the_explained_model_keeps_its_weights() -> None:
    network = model("cnn")
    before = {name: array.copy() for name, array in network.graph.constants.items()}
    state = {name: value.clone() for name, value in network.torch().state_dict().items()}
    explanation = examined(network, inputs_of("cnn"), target=TARGETS, method="saliency")
    measured(explanation, "weight_randomisation")
    for name, array in network.graph.constants.items():
        np.testing.assert_array_equal(array, before[name])
    for name, value in network.torch().state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=0)
    torch.testing.assert_close(explanation.again(explanation.feeds)["x"], explanation.values["x"])


def test_a_model_without_weights_is_refused() -> None:
    with pytest.raises(UsageError, match="no weights lead to the score"):
        measured(examined(tiny.square(), {"x": X}), "weight_randomisation")
