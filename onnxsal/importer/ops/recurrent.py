"""Recurrent layers: torch's own kernels where a node means exactly them, a loop over the steps otherwise.

Shapes while computing: steps T, batch N, directions D, hidden H. The layout attribute only changes the way in and out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from onnxsal.errors import ImportFault
from onnxsal.importer.operator import op
from onnxsal.importer.parts import gate, gated, linear, signal, total, wanted

Cell = Callable[..., tuple[Tensor, ...]]
"""One step: the projected input and the states before, to the states after; the first state is the output."""


@op("RNN")
def rnn(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    sequence_lens: Tensor | None = None,
    initial_h: Tensor | None = None,
    *,
    activation_alpha: list[float] | None = None,
    activation_beta: list[float] | None = None,
    activations: Sequence[str] = ("Tanh", "Tanh"),
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    layout: int = 0,
    output_sequence: int = 0,
) -> tuple[Tensor, Tensor]:
    """Run a plain recurrent layer over a sequence, in one direction or both."""
    del hidden_size, output_sequence  # R says the first; the second only says whether Y is wanted
    names = list(activations)[: len(r)]
    functions = activations_of(names, activation_alpha, activation_beta)
    x, (h,) = arrange(x, r, [initial_h], layout)
    same = {name.lower() for name in names}
    if sequence_lens is None and not clip and same in ({"tanh"}, {"relu"}) and not wanted("Tanh"):
        kernel = torch._VF.rnn_tanh if same == {"tanh"} else torch._VF.rnn_relu
        y, h = _native(kernel, x, h, _parameters(w, r, b, [0]), direction)
        return restore(layout, y, h)
    cells = [partial(_rnn_step, r[d], functions[d], clip) for d in range(len(r))]
    return restore(layout, *loop(cells, _project(x, w, total_bias(b)), [h], sequence_lens, direction))


def _rnn_step(r: Tensor, f: Activation, clip: float | None, x: Tensor, h: Tensor) -> tuple[Tensor]:
    return (signal(f, _clip(total(x, linear(h, r)), clip)),)


@op("GRU")
def gru(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    sequence_lens: Tensor | None = None,
    initial_h: Tensor | None = None,
    *,
    activation_alpha: list[float] | None = None,
    activation_beta: list[float] | None = None,
    activations: Sequence[str] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    layout: int = 0,
    linear_before_reset: int = 0,
    output_sequence: int = 0,
) -> tuple[Tensor, Tensor]:
    """Run a layer of gated recurrent units over a sequence, in one direction or both."""
    del hidden_size, output_sequence
    names = list(activations or ("Sigmoid", "Tanh") * len(r))
    functions = activations_of(names, activation_alpha, activation_beta)
    x, (h,) = arrange(x, r, [initial_h], layout)
    usual = _are(names, ("sigmoid", "tanh")) and linear_before_reset
    if sequence_lens is None and not clip and usual and not wanted("Tanh"):
        y, h = _native(torch._VF.gru, x, h, _parameters(w, r, b, [1, 0, 2]), direction)
        return restore(layout, y, h)
    bias, hidden_bias = _gru_biases(b, r, bool(linear_before_reset))
    step = _gru_step_linear_before_reset if linear_before_reset else _gru_step
    cells = [partial(step, r[d], hidden_bias[d], functions[2 * d : 2 * d + 2], clip) for d in range(len(r))]
    return restore(layout, *loop(cells, _project(x, w, bias), [h], sequence_lens, direction))


def _gru_biases(b: Tensor | None, r: Tensor, separate: bool) -> tuple[Tensor | None, Tensor]:
    """Return what to add to the projected input, and what to the hidden gate's share of the state."""
    hidden = r.shape[-1]
    none = r.new_zeros(len(r), hidden)
    if b is None or not separate:
        return total_bias(b), none
    keep = torch.cat([b[:, 3 * hidden : 5 * hidden], none], 1)
    return b[:, : 3 * hidden] + keep, b[:, 5 * hidden :]


def _gru_step(
    r: Tensor, bias: Tensor, functions: Sequence[Activation], clip: float | None, x: Tensor, h: Tensor
) -> tuple[Tensor]:
    f, g = functions
    hidden = h.shape[-1]
    z, reset = _gru_gates(r, f, clip, x, h)
    proposed = signal(g, _clip(total(x[:, 2 * hidden :], linear(gated(reset, h), r[2 * hidden :], bias)), clip))
    return (total(gated(1 - z, proposed), gated(z, h)),)


def _gru_gates(r: Tensor, f: Activation, clip: float | None, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """Return how much of the state stays, and how much of it the proposal sees."""
    hidden = h.shape[-1]
    z, reset = gate(f, _clip(total(x[:, : 2 * hidden], linear(h, r[: 2 * hidden])), clip)).chunk(2, -1)
    return z, reset


def _gru_step_linear_before_reset(
    r: Tensor, bias: Tensor, functions: Sequence[Activation], clip: float | None, x: Tensor, h: Tensor
) -> tuple[Tensor]:
    f, g = functions
    hidden = h.shape[-1]
    z, reset = _gru_gates(r, f, clip, x, h)
    proposed = signal(g, _clip(total(x[:, 2 * hidden :], gated(reset, linear(h, r[2 * hidden :], bias))), clip))
    return (total(gated(1 - z, proposed), gated(z, h)),)


@op("LSTM")
def lstm(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    sequence_lens: Tensor | None = None,
    initial_h: Tensor | None = None,
    initial_c: Tensor | None = None,
    p: Tensor | None = None,
    *,
    activation_alpha: list[float] | None = None,
    activation_beta: list[float] | None = None,
    activations: Sequence[str] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    input_forget: int = 0,
    layout: int = 0,
    output_sequence: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run a layer of long short-term memory over a sequence, in one direction or both."""
    del hidden_size, output_sequence
    names = list(activations or ("Sigmoid", "Tanh", "Tanh") * len(r))
    functions = activations_of(names, activation_alpha, activation_beta)
    x, (h, c) = arrange(x, r, [initial_h, initial_c], layout)
    usual = _are(names, ("sigmoid", "tanh", "tanh")) and not input_forget
    if sequence_lens is None and p is None and not clip and usual and not wanted("Tanh"):
        return restore(layout, *_native(torch._VF.lstm, x, (h, c), _parameters(w, r, b, [0, 2, 3, 1]), direction))
    cells = [lstm_cell(partial(linear, weight=r[d]), p, d, functions, clip, input_forget) for d in range(len(r))]
    return restore(layout, *loop(cells, _project(x, w, total_bias(b)), [h, c], sequence_lens, direction))


def lstm_cell(
    recur: Activation,
    p: Tensor | None,
    direction: int,
    functions: Sequence[Activation],
    clip: float | None,
    input_forget: int,
) -> Cell:
    """Return one direction's step; ``recur`` gives the output's share in the gates, ``p`` are the peepholes of all."""
    peepholes = (0.0, 0.0, 0.0) if p is None else p[direction].chunk(3)
    return partial(_lstm_step, recur, peepholes, functions[3 * direction :][:3], clip, bool(input_forget))


def _lstm_step(
    recur: Activation,
    peepholes: Sequence[Tensor | float],
    functions: Sequence[Activation],
    clip: float | None,
    input_forget: bool,
    x: Tensor,
    h: Tensor,
    c: Tensor,
) -> tuple[Tensor, Tensor]:
    f, g, last = functions
    to_input, to_output, to_forget = peepholes
    i, o, forget, proposed = total(x, recur(h)).chunk(4, -1)
    i = gate(f, _clip(i + to_input * c, clip))
    forget = 1 - i if input_forget else gate(f, _clip(forget + to_forget * c, clip))
    c = total(gated(forget, c), gated(i, signal(g, _clip(proposed, clip))))
    o = gate(f, _clip(o + to_output * c, clip))
    return gated(o, signal(last, c)), c


# what the three have in common


def arrange(x: Tensor, r: Tensor, states: Sequence[Tensor | None], layout: int) -> tuple[Tensor, list[Tensor]]:
    """Return the input with the steps first, and the initial states with the directions first, zero where absent."""
    x = x.transpose(0, 1) if layout else x
    zeros = x.new_zeros(len(r), x.shape[1], r.shape[-1])
    return x, [zeros if s is None else s.transpose(0, 1) if layout else s for s in states]


def restore(layout: int, y: Tensor, *states: Tensor) -> tuple[Any, ...]:
    """Return the outputs, which are [T, D, N, H] and [D, N, H], as the layout wants them."""
    return (y.permute(2, 0, 1, 3), *(s.transpose(0, 1) for s in states)) if layout else (y, *states)


def total_bias(b: Tensor | None) -> Tensor | None:
    return None if b is None else sum(b.chunk(2, 1))  # type: ignore[return-value]


def _project(x: Tensor, w: Tensor, bias: Tensor | None) -> list[Tensor]:
    """Return each direction's share of the input in the gates, for all steps at once."""
    return [linear(x, w[d], None if bias is None else bias[d]) for d in range(len(w))]


def _clip(x: Tensor, clip: float | None) -> Tensor:
    return signal(lambda value: value.clamp(-clip, clip), x) if clip else x


def loop(
    cells: Sequence[Cell], projected: Sequence[Tensor], states: Sequence[Tensor], lens: Tensor | None, direction: str
) -> tuple[Tensor, ...]:
    """Run one cell a direction over the steps; return the outputs of all steps and the final states."""
    runs = [
        _over_steps(cell, x, tuple(s[d] for s in states), lens, backwards=direction == "reverse" or d == 1)
        for d, (cell, x) in enumerate(zip(cells, projected, strict=True))
    ]
    outputs, finals = zip(*runs, strict=True)
    return torch.stack(outputs, 1), *(torch.stack(parts) for parts in zip(*finals, strict=True))


def _over_steps(
    cell: Cell, x: Tensor, states: tuple[Tensor, ...], lens: Tensor | None, *, backwards: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a cell over the steps of one direction; past a sequence's end its states stay and its output is zero."""
    outputs = [torch.zeros_like(states[0])] * len(x)
    for t in range(len(x))[:: -1 if backwards else 1]:
        after = cell(x[t], *states)
        outputs[t] = after[0]
        if lens is not None:
            runs = (lens > t).unsqueeze(1)
            outputs[t] = torch.where(runs, after[0], 0.0)
            after = tuple(torch.where(runs, new, old) for new, old in zip(after, states, strict=True))
        states = after
    return torch.stack(outputs), states


def _native(
    kernel: Callable[..., Any], x: Tensor, states: Any, parameters: Sequence[Tensor], direction: str
) -> tuple[Tensor, ...]:
    """Run one of torch's own recurrent kernels, which know forward and bidirectional."""
    both, flipped = direction == "bidirectional", direction == "reverse"
    biased = len(parameters) == (8 if both else 4)
    x = x.flip(0) if flipped else x
    # a kernel in training mode keeps what its gradient needs; without dropout the numbers are the same
    y, *finals = kernel(x, states, parameters, biased, 1, 0.0, torch.is_grad_enabled(), both, False)
    y = y.flip(0) if flipped else y
    y = y.reshape(*y.shape[:2], 2 if both else 1, -1).transpose(1, 2)
    return y, *finals


def _parameters(w: Tensor, r: Tensor, b: Tensor | None, order: Sequence[int]) -> list[Tensor]:
    """Return the weights as torch's kernels take them: a flat list, the gates in torch's order."""
    parts = [w, r] if b is None else [w, r, *b.chunk(2, 1)]
    return [_reorder(part[d], order) for d in range(len(w)) for part in parts]


def _reorder(weight: Tensor, order: Sequence[int]) -> Tensor:
    gates = weight.chunk(len(order))
    return torch.cat([gates[i] for i in order]) if len(order) > 1 else weight


# activations

Activation = Callable[[Tensor], Tensor]

_ACTIVATIONS: dict[str, tuple[Callable[..., Tensor], tuple[float, ...]]] = {
    "relu": (F.relu, ()),
    "tanh": (torch.tanh, ()),
    "sigmoid": (torch.sigmoid, ()),
    "softsign": (F.softsign, ()),
    "softplus": (F.softplus, ()),
    "leakyrelu": (F.leaky_relu, (0.01,)),
    "thresholdedrelu": (lambda x, alpha: torch.where(x > alpha, x, 0.0), (0.0,)),
    "elu": (F.elu, (1.0,)),
    "affine": (lambda x, alpha, beta: alpha * x + beta, (0.0, 0.0)),
    "scaledtanh": (lambda x, alpha, beta: alpha * torch.tanh(beta * x), (0.0, 0.0)),
    "hardsigmoid": (lambda x, alpha, beta: (alpha * x + beta).clamp(0, 1), (0.2, 0.5)),
}
"""The activation of each name, and its alpha and beta where the node gives none.

Where the specification names no default, or another than ONNX Runtime uses, it is ONNX Runtime's.
"""


def _are(names: Sequence[str], pattern: Sequence[str]) -> bool:
    return [name.lower() for name in names] == [*pattern] * (len(names) // len(pattern))


def activations_of(names: Sequence[str], alphas: list[float] | None, betas: list[float] | None) -> list[Activation]:
    """Return the named activations; alphas and betas are handed out in order to those that take them."""
    left = [list(alphas or ()), list(betas or ())]
    chosen: list[Activation] = []
    for name in names:
        if name.lower() not in _ACTIVATIONS:
            raise ImportFault(f"activation {name!r} is unknown", hint=f"known: {', '.join(_ACTIVATIONS)}")
        function, defaults = _ACTIVATIONS[name.lower()]
        values = [given.pop(0) if given else default for given, default in zip(left, defaults, strict=False)]
        chosen.append(partial(_activate, function, values))
    return chosen


def _activate(function: Callable[..., Tensor], values: Sequence[float], x: Tensor) -> Tensor:
    return function(x, *values)
