"""The checker: a gradient that autograd gives, against central differences along random directions in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor

import onnxsal
from onnxsal.importer.operator import Operator
from tests.oracle.gradients import Case


@dataclass(frozen=True)
class Precision:
    """How far to step, and how far a difference may be from the gradient, as a part of the gradient's length."""

    step: float
    tolerance: float
    noise: float
    """What rounding may make of a score of one."""


DOUBLE = Precision(1e-5, 1e-6, 1e-9)
SINGLE = Precision(1e-2, 3e-3, 1e-4)


def node_model(case: Case, op: Operator, held: frozenset[int]) -> onnx.ModelProto:
    """Return a model of one node; the inputs at the ``held`` positions are constants."""
    given = {i: array for i, array in enumerate(case.inputs) if array is not None}
    names = [f"in{i}" if i in given else "" for i in range(len(case.inputs))]
    outputs = [f"out{i}" for i in range(case.outputs)]
    node = helper.make_node(op.name, names, outputs, "node", domain=op.domain, **case.attributes)
    graph = helper.make_graph(
        [node],
        "slopes",
        [_port(names[i], array) for i, array in given.items() if i not in held],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(array, names[i]) for i, array in given.items() if i in held],
    )
    versions = {"": 17} | {op.domain: op.since}
    return helper.make_model(graph, opset_imports=[helper.make_opsetid(d, v) for d, v in versions.items()])


def _port(name: str, array: np.ndarray) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


def check(case: Case, op: Operator, seed: int) -> float:
    """Fail where the gradient is not what the differences say; return the gradient's length."""
    held = frozenset(i for i, a in enumerate(case.inputs) if a is not None and _is_held(case, i, a))
    return compare(onnxsal.load(node_model(case, op, held)).torch(), _fed(case, held), seed, _precision(case))


def check_layer(case: Case, op: Operator, seed: int) -> None:
    """The same where all inputs but the first are constants, which gives a native layer where there is one."""
    held = frozenset(i for i, a in enumerate(case.inputs) if a is not None and (i or _is_held(case, i, a)))
    fed = _fed(case, held)
    if any(value.is_floating_point() for value in fed):
        compare(onnxsal.load(node_model(case, op, held)).torch(), fed, seed, _precision(case))


def _precision(case: Case) -> Precision:
    return SINGLE if case.single else DOUBLE


def _is_held(case: Case, place: int, array: np.ndarray) -> bool:
    return place in case.held or (array.dtype != np.float64 and place not in case.fed)


def _fed(case: Case, held: frozenset[int]) -> list[Tensor]:
    return [torch.from_numpy(np.array(a)) for i, a in enumerate(case.inputs) if a is not None and i not in held]


def compare(module: torch.nn.Module, values: list[Tensor], seed: int, precision: Precision = DOUBLE) -> float:
    """Compare gradient and differences for each floating-point input by itself; return the gradient's length."""
    random = torch.Generator().manual_seed(seed)
    moved = [i for i, value in enumerate(values) if value.is_floating_point()]
    weights: list[Tensor] = []

    def score(changed: list[Tensor]) -> Tensor:
        tensors = [t for t in module(*changed) if isinstance(t, Tensor)]
        answers = [t for t in tensors if t.is_floating_point()] or tensors
        if not weights:
            weights.extend(torch.randn(t.shape, generator=random, dtype=torch.float64) for t in answers)
        return torch.stack([(w * t.double()).sum() for w, t in zip(weights, answers, strict=True)]).sum()

    leaves = [v.clone().requires_grad_() if i in moved else v for i, v in enumerate(values)]
    total = score(leaves)
    wanted = [leaves[i] for i in moved]
    found = torch.autograd.grad(total, wanted, allow_unused=True) if total.requires_grad else [None] * len(wanted)
    lengths = []
    for place, gradient in zip(moved, found, strict=True):
        slope = torch.zeros_like(values[place]) if gradient is None else gradient
        assert slope.isfinite().all(), f"input {place}: the gradient is not finite"
        lengths.append(float(slope.norm()))
        for _ in range(2):
            way = torch.randn(slope.shape, generator=random, dtype=slope.dtype)
            with torch.no_grad():
                ahead, behind = (
                    float(score([v + sign * precision.step * way if i == place else v for i, v in enumerate(values)]))
                    for sign in (1, -1)
                )
            measured, promised = (ahead - behind) / (2 * precision.step), float((slope * way).sum())
            room = precision.tolerance * max(lengths[-1], abs(measured))
            room += precision.noise * (1 + abs(float(total)))
            assert abs(measured - promised) <= room, f"input {place}: {promised} promised, {measured} measured"
    return max(lengths, default=0.0)


def values_of(case: Case) -> dict[str, Any]:
    """Return the attributes a case gives, lists as tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in case.attributes.items()}
