"""Methods that only call the score, on models that people deploy: pictures, text, sound and tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import onnxsal
from onnxsal.inputs import read_inputs
from tests import corpus

pytestmark = pytest.mark.oracle
EYE = (slice(60, 105), slice(40, 85))
"""Where the cat's right eye is, rows and columns of 224."""


def explained(name: str, feeds: dict[str, Any] | None = None, **options: Any) -> onnxsal.Attribution:
    return onnxsal.explain(onnxsal.load(corpus.model(name)), feeds or corpus.inputs(name), **options)


def cat() -> dict[str, np.ndarray]:
    ports = onnxsal.load(corpus.model("efficientnet_lite0_ts13")).inputs
    return read_inputs(ports, {None: corpus.file("samples/chelsea.png")}, preset="imagenet")[0]


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("lime", {"samples": 300, "features": "superpixels:50"}),
        ("rise", {"samples": 400}),
    ],
)
def test_a_cat_is_known_by_its_eye(method: str, options: dict[str, Any]) -> None:
    a = explained("efficientnet_lite0_ts13", cat(), method=method, target=285, **options)
    speaks = a.values["image"][0].sum(0)
    assert a.provenance.engine == "onnxruntime"
    assert speaks[EYE].mean() > speaks.mean() + speaks.std() / 2


def test_a_letter_is_read_where_it_stands() -> None:
    a = explained(
        "ppocr4_rec", method="occlusion", target="softmax_11.tmp_0[5,argmax]", window=(48, 16), stride=(48, 8)
    )
    assert 32 <= a.values["x"][0].sum((0, 1)).argmax() < 64  # step 5 of 69 stands for columns 40 to 48 of 552


def test_a_word_carries_the_sentences_meaning_whatever_stands_for_a_missing_one() -> None:
    ids = corpus.inputs("minilm_l3")["input_ids"][0].tolist()
    movie = ids.index(3185)
    for baseline in (0, 103):
        a = explained(
            "minilm_l3",
            method="feature_ablation",
            inputs=["input_ids"],
            features="tokens",
            baselines=baseline,
            target="461[0]",
        )
        assert np.abs(a.values["input_ids"][0]).argmax() in {movie, movie - 1, movie + 1}
        assert a.values["input_ids"].dtype == np.float32


def test_sound_is_heard_where_it_is_loud() -> None:
    feeds = {
        "input": np.random.default_rng(0).normal(size=(1, 576)).astype(np.float32) * 1e-4,
        "state": np.zeros((2, 1, 128), np.float32),
        "sr": np.array(16000),
    }
    feeds["input"][0, 300:500] += np.sin(np.arange(200) / 8).astype(np.float32) / 2
    for method in ("occlusion", "feature_ablation"):
        a = explained("silero_vad_v6", feeds, method=method, inputs=["input"])
        loud = np.abs(a.values["input"][0])
        assert loud[300:500].mean() > 3 * loud[:250].mean()


@pytest.mark.parametrize(("name", "spread"), [("surfaces_tree_cls", 140), ("atspm_tree_decode", 2)])
def test_trees_are_explained_alike_by_their_branches_and_by_sampling(name: str, spread: float) -> None:
    port = onnxsal.load(corpus.model(name)).inputs[0]
    x = np.random.default_rng(0).uniform(0, spread, (20, port.shape[1])).astype(port.dtype)  # type: ignore[index,arg-type]
    options = {"target": "probabilities[1]" if "cls" in name else None, "baselines": {port.name: x[::7]}}
    trees = explained(name, {port.name: x}, method="tree_shap", **options)
    few = x.shape[1] < 10
    other = explained(name, {port.name: x}, method="shapley" if few else "kernel_shap", **options)
    scale = np.abs(trees.values[port.name]).max()
    assert scale > 0.1
    assert np.abs(trees.values[port.name] - other.values[port.name]).max() < (1e-6 if few else 0.1) * scale


def test_a_linear_model_of_scikit_learn_shares_out_its_probabilities() -> None:
    a = explained("logreg_iris", method="shapley", target="probabilities[0]")
    b = explained("logreg_iris", method="kernel_shap", target="probabilities[0]")
    np.testing.assert_allclose(a.values["float_input"], b.values["float_input"], atol=1e-6)
    np.testing.assert_allclose(a.completeness, 0, atol=1e-6)  # type: ignore[arg-type]
