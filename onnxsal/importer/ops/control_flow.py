"""Control flow: sub-graphs run as often as the data asks.

A sub-graph arrives as a function of its own inputs; the outer values it reads are bound to it already. Shapes may pass
in and out on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any

import ml_dtypes
import numpy as np
import torch
from torch import Tensor

from onnxsal.importer.operator import AsIs, Host, op
from onnxsal.importer.shapes import settled
from onnxsal.importer.values import Value, as_tensor, device_of, ints, on_device, to_host
from onnxsal.types import Port

Body = Callable[..., tuple[Value, ...]]


@op("If")
def if_(cond: Host, *, then_branch: Body, else_branch: Body) -> tuple[Any, ...]:
    """Run one of two sub-graphs."""
    return then_branch() if _holds(cond) else else_branch()


@op("Loop")
def loop(
    m: Host | None = None, cond: Host | None = None, *v_initial: AsIs, n_outputs: int, body: Body
) -> tuple[Any, ...]:
    """Run a sub-graph over and over, up to a count and while its condition holds; gather what the runs give."""
    states: list[Value] = list(v_initial)
    rows: list[Sequence[Value]] = []
    limit = None if m is None else m.item()
    goes_on = cond is None or _holds(cond)
    while goes_on and (limit is None or len(rows) < limit):
        kept, *results = body(np.array(len(rows)), np.array(True), *states)
        states, row = results[: len(states)], results[len(states) :]
        rows.append(row)
        goes_on = _holds(kept)
    return *states, *_gather(rows, body, n_outputs - len(states))


@op("Scan", since=9)
def scan(
    *initial_state_and_scan_inputs: AsIs,
    body: Body,
    num_scan_inputs: int,
    scan_input_axes: list[int] | None = None,
    scan_input_directions: list[int] | None = None,
    scan_output_axes: list[int] | None = None,
    scan_output_directions: list[int] | None = None,
) -> tuple[Any, ...]:
    """Run a sub-graph along an axis of some inputs, handing states on from run to run; gather what the runs give."""
    states, inputs = _split_off(initial_state_and_scan_inputs, num_scan_inputs)
    columns = [
        _elements(v, axis, backwards)
        for v, axis, backwards in zip(inputs, _each(scan_input_axes), _each(scan_input_directions), strict=False)
    ]
    rows = []
    for elements in zip(*columns, strict=True):
        results = body(*states, *elements)
        states, row = list(results[: len(states)]), results[len(states) :]
        rows.append(row)
    gathered = _gather(rows, body, len(_ports(body)) - len(states), _each(scan_output_axes))
    turns = zip(gathered, _each(scan_output_axes), _each(scan_output_directions), strict=False)
    return *states, *(_turned(v, axis) if backwards else v for v, axis, backwards in turns)


@op("Scan", since=8)
def scan_batch(
    sequence_lens: Host | None = None,
    *initial_state_and_scan_inputs: AsIs,
    body: Body,
    num_scan_inputs: int,
    directions: list[int] | None = None,
) -> tuple[Any, ...]:
    """Run a sub-graph along the second axis of some inputs, one example of the batch after the other."""
    values = [as_tensor(v) for v in initial_state_and_scan_inputs]
    states, inputs = _split_off(values, num_scan_inputs)
    steps = inputs[0].shape[1]
    lens = [steps] * len(inputs[0]) if sequence_lens is None else ints(sequence_lens)
    examples = [
        scan(
            *(s[i] for s in states),
            *(x[i, :length] for x in inputs),
            body=body,
            num_scan_inputs=num_scan_inputs,
            scan_input_directions=directions,
        )
        for i, length in enumerate(lens)
    ]
    finals, outputs = zip(*(_split_off(example, len(example) - len(states)) for example in examples), strict=True)
    padded = [[_padded(v, steps) for v in row] for row in outputs]
    return tuple(torch.stack(parts) for rows in (finals, padded) for parts in zip(*rows, strict=True))


def _holds(condition: Value) -> bool:
    return bool(to_host(condition).item())


def _each(values: Sequence[int] | None) -> Iterable[int]:
    """Return one value for each input or output: those given, or zero for as many as there are."""
    return repeat(0) if values is None else values


def _split_off(values: Sequence[Value], count: int) -> tuple[list[Value], list[Value]]:
    """Split into all but the last ``count`` and those."""
    first = len(values) - count
    return list(values[:first]), list(values[first:])


def _elements(value: Value, axis: int, backwards: int) -> list[Tensor]:
    elements = list(as_tensor(value).unbind(axis))
    return elements[::-1] if backwards else elements


def _gather(rows: Sequence[Sequence[Value]], body: Body, count: int, axes: Iterable[int] = repeat(0)) -> list[Value]:
    """Stack what each run gave, output by output; nothing of the declared shape where there was no run."""
    columns = zip(*rows, strict=True) if rows else [None] * count
    ports = _ports(body)[len(_ports(body)) - count :]
    return [
        _nothing(port, axis) if column is None else _stack(column, axis)
        for column, port, axis in zip(columns, ports, axes, strict=False)
    ]


def _stack(values: Sequence[Value], axis: int) -> Value:
    if all(isinstance(v, np.ndarray) for v in values):
        return settled(np.stack(values, axis))
    device = device_of(values)
    return torch.stack([on_device(v, device) for v in values], axis)


def _ports(body: Any) -> Sequence[Port]:
    """Return the outputs a sub-graph declares."""
    ports: Sequence[Port] = body.func.meta["onnx_ports"]
    return ports


def _nothing(port: Port, axis: int) -> Value:
    """Return an output no run has added to; dimensions the sub-graph leaves open are taken for zero."""
    sizes = [size if isinstance(size, int) else 0 for size in port.shape or ()]
    sizes.insert(axis if axis >= 0 else axis + len(sizes) + 1, 0)
    if port.dtype == "string":
        return np.zeros(sizes, object)
    return as_tensor(np.zeros(sizes, np.dtype(getattr(ml_dtypes, port.dtype, port.dtype))))


def _turned(value: Value, axis: int) -> Value:
    return as_tensor(value).flip(axis)


def _padded(value: Tensor, steps: int) -> Tensor:
    return torch.cat([value, value.new_zeros(steps - len(value), *value.shape[1:])])
