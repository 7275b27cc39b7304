"""What a method is handed for its options: baselines as tensors, other methods as functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import onnxsal
from onnxsal.errors import UsageError
from onnxsal.options import choose
from tests import models_for_tests as tiny
from tests.methods.models import inputs_of, model, score_of

X = np.array([[1.0, 2.0, 3.0], [-1.0, 0.5, 0.0]], np.float32)


def smooth(of: Any, **options: Any) -> onnxsal.Attribution:
    settings = {"noise": 0.0, "samples": 2} | options
    return onnxsal.explain(tiny.square(), {"x": X}, method="smoothgrad", of=of, **settings)


def test_a_method_within_is_told_with_its_own_options() -> None:
    assert smooth("integrated_gradients:steps=7").options == {
        "of": {"method": "integrated_gradients", "baseline": "zero", "steps": 7, "quadrature": "gausslegendre"},
        "kind": "mean",
        "samples": 2,
        "noise": 0.0,
    }


def test_a_method_within_may_be_a_pair_whose_options_need_no_text() -> None:
    baseline = {"x": np.array([[1.0, 1.0, 0.0], [0.0, 2.0, 0.0]], np.float32)}
    found = smooth(("integrated_gradients", {"baseline": baseline})).values["x"]
    np.testing.assert_allclose(found, X**2 - baseline["x"] ** 2, rtol=1e-5, atol=1e-6)


def test_several_baselines_of_a_method_within_stay_each_examples_own() -> None:
    rows = {"x": np.array([[0.0, 1.0, 1.0], [2.0, 0.0, 1.0], [1.0, 1.0, 1.0]], np.float32)}
    of = ("gradient_shap", {"baselines": rows, "samples": 4000})
    found = smooth(of).values["x"]
    np.testing.assert_allclose(found, X**2 - (rows["x"] ** 2).mean(0), atol=0.15)
    alone = onnxsal.explain(tiny.square(), {"x": X}, method="gradient_shap", baselines=rows, samples=4000)
    np.testing.assert_allclose(found, alone.values["x"], rtol=1e-5, atol=1e-6)


def test_a_method_within_may_hold_one_itself() -> None:
    nested = choose("smoothgrad", {"of": "smoothgrad:samples=3,of=integrated_gradients:steps=4"})
    assert [method.name for method in nested.methods] == ["smoothgrad", "smoothgrad", "integrated_gradients"]


def test_without_noise_every_method_within_says_what_it_says_alone() -> None:
    inputs = inputs_of("cnn")
    for method in ("ablation_cam", "grad_cam", "integrated_gradients"):
        alone = onnxsal.explain(model("cnn"), inputs, method=method, target=[2, 0, 1], verify=False)
        within = onnxsal.explain(
            model("cnn"), inputs, method="smoothgrad", of=method, noise=0.0, target=[2, 0, 1], verify=False
        )
        np.testing.assert_allclose(within.values["x"], alone.values["x"], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("method", ["ablation_cam", "integrated_gradients:baseline=blur", "gradient_shap"])
def test_a_method_within_explains_the_copies_as_if_they_had_been_fed(method: str) -> None:
    """Ablation-CAM looks at inner values, whatever is fed beside them: they must be those of the copies."""
    inputs, classes = inputs_of("cnn"), [2, 0, 1]
    other = {n: v + 0.3 * torch.sin(torch.arange(v.numel())).reshape(v.shape) for n, v in inputs.items()}
    score, choice = score_of("cnn", inputs, classes), choose("smoothgrad", {"of": method}).options["of"]
    copies = {n: torch.cat([v, other[n]]) for n, v in inputs.items()}
    found = choice.bound(score, inputs)(score, copies)["x"]
    arguments = choice.arguments(score, inputs)
    for start, feeds in ((0, inputs), (3, other)):
        alone = choice.method.explain(score_of("cnn", feeds, classes), feeds, **arguments)["x"]
        torch.testing.assert_close(found[start : start + 3], alone, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("of", "words"),
    [
        ("saliencey", "no method 'saliencey'"),
        ("saliency:ab=1", "no option 'ab'"),
        ("integrated_gradients:baseline=zreo", "no baseline 'zreo'"),
        (3, "int is no method"),
        (("saliency", "abs"), "tuple is no method"),
    ],
)
def test_a_method_that_does_not_exist_is_refused_before_anything_runs(of: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        choose("smoothgrad", {"of": of})


def test_an_engine_without_gradients_is_refused_for_the_sake_of_the_method_within() -> None:
    with pytest.raises(UsageError, match="'saliency' needs gradients"):
        onnxsal.explain(tiny.square(), {"x": X}, method="smoothgrad", engine="onnxruntime")
