"""Recurrent layers of every direction, layout and activation."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from onnxsal.importer.operator import Operator
from tests.oracle.gradients import Case, Draw, chance, flag, maybe, numbers, one_of, slopes

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
FUNCTIONS = {"RNN": 1, "GRU": 2, "LSTM": 3}
KNOWN = ("Tanh", "Sigmoid", "Softsign", "Softplus", "Affine", "ScaledTanh", "Elu", "LeakyRelu", "Relu", "HardSigmoid",
         "ThresholdedRelu")  # fmt: skip
PARAMETERS = {
    "Affine": (0.7, 0.3),
    "ScaledTanh": (0.9, 0.8),
    "Elu": (1.1,),
    "LeakyRelu": (0.3,),
    "HardSigmoid": (0.213, 0.517),
    "ThresholdedRelu": (0.1234,),
}


@slopes("RNN", "GRU", "LSTM", modes={
    "direction": ("forward", "reverse", "bidirectional"), "layout": (0, 1), "linear_before_reset": (0, 1),
    "input_forget": (0, 1),
}, unused={"output_sequence": "says what is wanted, and changes nothing"})  # fmt: skip
def recurrent(draw: Draw, op: Operator) -> Case:
    direction = draw(one_of(("forward", "reverse", "bidirectional")))
    both, layout = 1 + (direction == "bidirectional"), draw(flag)
    steps, batch, width, hidden = draw(st.integers(1, 3)), 2, 2, 2
    gates = GATES[op.name]
    chosen: dict[str, Any] = {"hidden_size": hidden, "direction": direction}
    if layout or chance(draw):
        chosen["layout"] = layout
    if op.name == "GRU":
        chosen["linear_before_reset"] = draw(flag)
    if op.name == "LSTM" and chance(draw):
        chosen["input_forget"] = draw(flag)
    if chance(draw):
        chosen["clip"] = draw(st.sampled_from((0.837, 2.713)))
    if chance(draw):
        chosen |= activations(draw, both * FUNCTIONS[op.name])
    x, state = [steps, batch, width], [both, batch, hidden]
    x, state = ([x[1], x[0], x[2]], [batch, both, hidden]) if layout else (x, state)
    inputs: list[Any] = [
        numbers(draw, x),
        numbers(draw, [both, gates * hidden, width]),
        numbers(draw, [both, gates * hidden, hidden]),
    ]
    inputs.append(maybe(draw, lambda: numbers(draw, [both, 2 * gates * hidden])))
    inputs.append(maybe(draw, lambda: np.array([steps, max(steps - 1, 1)], np.int32)))
    inputs.append(maybe(draw, lambda: numbers(draw, state)))
    if op.name == "LSTM":
        inputs.append(maybe(draw, lambda: numbers(draw, state)))
        inputs.append(maybe(draw, lambda: numbers(draw, [both, 3 * hidden])))
    return Case(inputs, chosen, 3 if op.name == "LSTM" else 2)


def activations(draw: Draw, count: int) -> dict[str, Any]:
    names = [draw(one_of(KNOWN)) for _ in range(count)]
    alphas = [PARAMETERS[name][0] for name in names if name in PARAMETERS]
    betas = [PARAMETERS[name][1] for name in names if len(PARAMETERS.get(name, ())) > 1]
    given = {"activation_alpha": alphas, "activation_beta": betas}
    return {"activations": names} | {name: values for name, values in given.items() if values}
