"""RNN, GRU and LSTM against ONNX Runtime: the kernels' path and the loop, in every direction, layout and mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.importer.ops.support import check

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
STEPS, BATCH, INPUT, HIDDEN = 5, 3, 4, 6
DIRECTIONS = ("forward", "reverse", "bidirectional")


def arrays(kind: str, direction: str, *, optional: str = "bshcp", layout: int = 0) -> list[Any]:
    """Return a node's inputs; ``optional`` names those present: bias, sequence lengths, h, c, peepholes."""
    rng = np.random.default_rng(3)
    d, gates = 1 + (direction == "bidirectional"), GATES[kind]

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.6, shape).astype(np.float32)

    x = normal(BATCH, STEPS, INPUT) if layout else normal(STEPS, BATCH, INPUT)
    state = (BATCH, d, HIDDEN) if layout else (d, BATCH, HIDDEN)
    inputs = [x, normal(d, gates * HIDDEN, INPUT), normal(d, gates * HIDDEN, HIDDEN)]
    inputs.append(normal(d, 2 * gates * HIDDEN) if "b" in optional else None)
    inputs.append(np.array([5, 2, 3], np.int32) if "s" in optional else None)
    inputs.append(normal(*state) if "h" in optional else None)
    if kind == "LSTM":
        inputs.append(normal(*state) if "c" in optional else None)
        inputs.append(normal(d, 3 * HIDDEN) if "p" in optional else None)
    return inputs


def compare(kind: str, inputs: list[Any], *, opset: int = 14, **options: Any) -> None:
    check(kind, inputs, opset=opset, n_outputs=3 if kind == "LSTM" else 2, rtol=1e-5, atol=2e-6, **options)


@pytest.mark.parametrize("optional", ["", "b", "bh", "bhc", "bs", "bshcp"])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("kind", GATES)
def test_directions_and_optional_inputs(kind: str, direction: str, optional: str) -> None:
    inputs = arrays(kind, direction, optional=optional)
    compare(kind, inputs, constants=(1, 2), direction=direction, hidden_size=HIDDEN)


@pytest.mark.parametrize("optional", ["b", "bshcp"])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("kind", GATES)
def test_gradients(kind: str, direction: str, optional: str) -> None:
    inputs = arrays(kind, direction, optional=optional)
    compare(kind, inputs, direction=direction, hidden_size=HIDDEN, gradient=True)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("kind", GATES)
def test_batch_first_layout_is_the_other_transposed(kind: str, direction: str) -> None:
    usual = arrays(kind, direction, optional="bhc")
    expected = check(kind, usual, opset=14, n_outputs=2, direction=direction, hidden_size=HIDDEN)
    swapped = [v.swapaxes(0, 1) if i in {0, 5, 6} and v is not None else v for i, v in enumerate(usual)]
    y, h = expected
    check(
        kind,
        swapped,
        opset=14,
        n_outputs=2,
        expected=[y.transpose(2, 0, 1, 3), h.swapaxes(0, 1)],
        direction=direction,
        hidden_size=HIDDEN,
        layout=1,
    )


@pytest.mark.parametrize("optional", ["b", "bshc"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_gru_linear_before_reset(direction: str, optional: str) -> None:
    inputs = arrays("GRU", direction, optional=optional)
    compare("GRU", inputs, direction=direction, hidden_size=HIDDEN, linear_before_reset=1, gradient=True)


@pytest.mark.parametrize("kind", GATES)
def test_clip(kind: str) -> None:
    compare(kind, arrays(kind, "forward"), direction="forward", hidden_size=HIDDEN, clip=0.4, gradient=True)


def test_lstm_input_forget() -> None:
    inputs = arrays("LSTM", "bidirectional")
    compare("LSTM", inputs, direction="bidirectional", hidden_size=HIDDEN, input_forget=1, gradient=True)


ACTIVATIONS = ["Relu", "Tanh", "Sigmoid", "Softsign", "Softplus", "LeakyRelu", "ThresholdedRelu", "Elu", "HardSigmoid"]


@pytest.mark.parametrize("name", [*ACTIVATIONS, "Affine", "ScaledTanh"])
def test_activations(name: str) -> None:
    inputs = arrays("RNN", "bidirectional", optional="b")
    compare("RNN", inputs, direction="bidirectional", hidden_size=HIDDEN, activations=[name, name])


def test_activation_parameters_are_handed_out_in_order() -> None:
    compare(
        "LSTM",
        arrays("LSTM", "forward"),
        hidden_size=HIDDEN,
        activations=["HardSigmoid", "Tanh", "LeakyRelu"],
        activation_alpha=[0.3, 0.05],
        activation_beta=[0.4],
        gradient=True,
    )


@pytest.mark.parametrize("kind", GATES)
def test_old_opset(kind: str) -> None:
    compare(kind, arrays(kind, "forward", optional="bs"), opset=7, hidden_size=HIDDEN)


@pytest.mark.parametrize("optional", ["bhc", "bshcp"])
@pytest.mark.parametrize("kind", GATES)
def test_traces_with_symbolic_batch(kind: str, optional: str) -> None:
    compare(
        kind,
        arrays(kind, "bidirectional", optional=optional),
        direction="bidirectional",
        hidden_size=HIDDEN,
        trace=True,
    )


def test_runs_without_gradient() -> None:
    with torch.no_grad():
        compare("LSTM", arrays("LSTM", "reverse", optional="b"), direction="reverse", hidden_size=HIDDEN)
