"""One node against ONNX Runtime: `check` builds a model of it, runs both, and compares shape, dtype and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from onnxsal.importer.build import build
from onnxsal.importer.normalise import normalise
from onnxsal.importer.values import to_host
from tests.oracle.node_cases import differs, to_value


def check(
    op_type: str,
    inputs: Sequence[Any],
    *,
    opset: int,
    domain: str = "",
    n_outputs: int = 1,
    constants: Sequence[int] = (),
    expected: Sequence[Any] | None = None,
    gradient: bool = False,
    trace: bool = False,
    rtol: float = 1e-5,
    atol: float = 1e-6,
    **attributes: Any,
) -> list[Any]:
    """Compare one node with ONNX Runtime (or with ``expected``, where it has no kernel); return what we computed.

    Args:
        op_type: The operator.
        inputs: numpy arrays; lists of them for sequences; None for an absent one. Strings: arrays of dtype object.
        opset: The version of ``domain``.
        domain: The operator's domain.
        n_outputs: How many outputs the node declares.
        constants: Positions of the inputs that are initialisers, known when the graph is built.
        expected: Values to compare with instead of ONNX Runtime's.
        gradient: Also compare autograd in float64 with finite differences, for every floating input not constant.
        trace: Also trace with symbolic shapes and compare the traced graph's answer.
        rtol: The relative tolerance.
        atol: The absolute tolerance.
        attributes: The node's attributes.
    """
    model = node_model(
        op_type, inputs, opset=opset, domain=domain, n_outputs=n_outputs, constants=constants, **attributes
    )
    fed = [v for i, v in enumerate(inputs) if v is not None and i not in constants]
    module = build(normalise(model))
    got = list(module(*map(to_value, fed)))
    expected = run_onnxruntime(model, fed) if expected is None else list(expected)
    reason = differs(got, expected, rtol, atol)
    assert reason is None, f"{op_type}-{opset} {attributes}: {reason}\ngot {got}\nexpected {expected}"
    if trace:
        check_trace(module, [to_value(v) for v in fed])
    if gradient:
        doubles = [_double(v) for v in inputs]
        model = node_model(
            op_type, doubles, opset=opset, domain=domain, n_outputs=n_outputs, constants=constants, **attributes
        )
        check_gradient(
            build(normalise(model)), [v for i, v in enumerate(doubles) if v is not None and i not in constants]
        )
    return [to_host(v) if isinstance(v, Tensor) else v for v in got]


def node_model(
    op_type: str,
    inputs: Sequence[Any],
    *,
    opset: int,
    domain: str = "",
    n_outputs: int = 1,
    constants: Sequence[int] = (),
    **attributes: Any,
) -> onnx.ModelProto:
    """Return a model of one node; its inputs are ``x0``, ``x1``, ... and its outputs ``y0``, ``y1``, ..."""
    names = ["" if v is None else f"x{i}" for i, v in enumerate(inputs)]
    outputs = [f"y{i}" for i in range(n_outputs)]
    node = helper.make_node(op_type, names, outputs, name="node", domain=domain, **attributes)
    ports = [_port(n, v) for i, (n, v) in enumerate(zip(names, inputs, strict=True)) if n and i not in constants]
    weights = [onnx.numpy_helper.from_array(np.asarray(inputs[i]), names[i]) for i in constants]
    graph = helper.make_graph([node], "graph", ports, [onnx.ValueInfoProto(name=n) for n in outputs], weights)
    opsets = [helper.make_opsetid(domain, opset)] + ([helper.make_opsetid("", 17)] if domain else [])
    return helper.make_model(graph, opset_imports=opsets, ir_version=min(10, onnx.IR_VERSION) if opset < 23 else 11)


def run_onnxruntime(model: onnx.ModelProto, inputs: Sequence[Any]) -> list[Any]:
    """Run a model in ONNX Runtime as it is written, without optimisations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    ports = session.get_inputs()
    return list(session.run(None, {port.name: v for port, v in zip(ports, inputs, strict=True)}))


def check_gradient(module: fx.GraphModule, inputs: Sequence[Any]) -> None:
    """Compare autograd with finite differences for every floating input; outputs that are not floating are left out."""
    values = [to_value(v) for v in inputs]
    values = [v.requires_grad_() if isinstance(v, Tensor) and v.is_floating_point() else v for v in values]

    def floating(*arguments: Any) -> tuple[Tensor, ...]:
        return tuple(v for v in module(*arguments) if isinstance(v, Tensor) and v.is_floating_point())

    assert torch.autograd.gradcheck(floating, values)


def check_trace(module: fx.GraphModule, inputs: Sequence[Any]) -> None:
    """Trace with symbolic shapes and compare the traced graph with the module."""
    traced = make_fx(module, tracing_mode="symbolic", _allow_non_fake_inputs=True)(*inputs)
    reason = differs(list(traced(*inputs)), [to_host(v) for v in module(*inputs)], 1e-6, 1e-7)
    assert reason is None, reason


def _port(name: str, value: Any) -> onnx.ValueInfoProto:
    if isinstance(value, list):
        item = helper.make_tensor_type_proto(_element(np.asarray(value[0])), None)
        return helper.make_value_info(name, helper.make_sequence_type_proto(item))
    array = np.asarray(value)
    return helper.make_tensor_value_info(name, _element(array), [f"{name}_{i}" for i in range(array.ndim)])


def _element(array: np.ndarray) -> int:
    if array.dtype.kind in "OUST":
        return int(onnx.TensorProto.STRING)
    return int(helper.np_dtype_to_tensor_dtype(array.dtype))


def _double(value: Any) -> Any:
    if isinstance(value, list):
        return [_double(v) for v in value]
    is_float = value is not None and np.asarray(value).dtype.kind == "f"
    return np.asarray(value, np.float64) if is_float else value
