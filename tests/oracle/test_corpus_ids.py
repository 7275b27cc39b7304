"""Real models of text and bytes are explained at the embeddings that their ids index."""

from __future__ import annotations

import numpy as np
import pytest

import onnxsal
from onnxsal.errors import UsageError
from tests import corpus

pytestmark = pytest.mark.oracle

TARGETS = {
    "minilm_l3": "onnx::Shape_422[2,7]",
    "lac_paddle_gru": "fetch_name_0[3,argmax]",
    "attacut_sc": "output[12]",
    "deepcut": "dense_13[0]",
    "magika_v3_3": "target_label[3]",
    "khmersm": "emissions[5,1]",
}
IDS = {
    "minilm_l3": ["input_ids"],
    "traceforge_t5_encoder": ["input_ids"],
    "lac_paddle_gru": ["token_ids"],
    "attacut_sc": ["input"],
    "deepcut": ["input_1", "input_2"],
    "magika_v3_3": ["bytes"],
    "khmersm": ["x"],
    "tashkeel_bilstm_int8": ["input_ids"],
}


def explained(name: str, **options: object) -> onnxsal.Attribution:
    return onnxsal.explain(corpus.model(name), corpus.inputs(name), device="cpu", verify=False, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", IDS)
def test_each_id_gets_a_number(name):
    output = next(port.name for port in onnxsal.load(corpus.model(name)).outputs if port.is_float)
    result = explained(name, method="saliency", target=TARGETS.get(name, f"{output}.max()"))
    assert list(result.values) == IDS[name]
    for port, value in result.values.items():
        assert value.shape == corpus.inputs(name)[port].shape
        assert np.isfinite(value).all()
        assert value.any()


@pytest.mark.parametrize("name", ["lac_paddle_gru", "attacut_sc", "khmersm"])
def test_the_ids_share_out_the_score_s_difference(name):
    result = explained(name, method="integrated_gradients", target=TARGETS[name], steps=300)
    total = sum(np.abs(value).sum() for value in result.values.values())
    assert np.abs(result.completeness).max() < 2e-3 * max(total, 1e-3)


def test_a_tagger_that_answers_classes_is_explained_before_them():
    with pytest.raises(UsageError, match=r"--neuron '.*\["):
        explained("unidic_imitator", method="saliency", target="403[3]")
    result = explained("unidic_imitator", method="saliency", neuron="/model/predictions/decoder/Add[3,argmax]")
    assert list(result.values) == ["input.1"]
    filled = corpus.inputs("unidic_imitator")["onnx::Unsqueeze_1"] == 0
    assert not result.values["input.1"][filled].any()
    assert result.values["input.1"][~filled].all()


def test_the_token_so_far_is_explained_where_it_is_asked_for():
    result = explained("arname_decoder", method="input_x_gradient", inputs=["prefix"], target="logprobs[argmax]")
    assert result.values["prefix"].shape == (1, 1)
    assert result.values["prefix"].any()
