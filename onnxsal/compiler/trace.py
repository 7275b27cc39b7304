"""Write down what a method does to a model, as one graph of aten operators over open sizes.

The method itself runs, once, on tensors that have shapes and no numbers. Beside the graph, the trace says which of its
values are values of the ONNX file, so that those need not be computed in another way.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, fx
from torch._decomp import core_aten_decompositions, decomposition_table
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch.backends import mkldnn
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import get_proxy_mode, make_fx
from torch.fx.experimental.symbolic_shapes import (
    DimDynamic,
    GuardOnDataDependentSymNode,
    ShapeEnv,
    StatelessSymbolicContext,
)
from torch.nn.attention import SDPBackend, sdpa_kernel

from onnxsal.compiler.alias import root
from onnxsal.compiler.lower import lowerings
from onnxsal.compiler.patterns import gather
from onnxsal.compiler.rewrites import Rewriting
from onnxsal.engines.torch import TorchEngine
from onnxsal.errors import CompileFault, OnnxsalError
from onnxsal.model import Model
from onnxsal.types import Feeds, Port


@dataclass
class Run:
    """One run of the model within the trace: what it was fed, and its values, by ONNX name."""

    feeds: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    again: list[tuple[str, Any]] = field(default_factory=list)
    """Values that were computed again, by other runs on the same feeds."""


@dataclass
class Trace:
    """What a method does to a model.

    Args:
        module: The graph of aten operators.
        inputs: The graph's inputs: the model's, and those of the method.
        results: What the method gives, by name.
        runs: The runs of the model; the first is the one whose outputs the file gives.
        fixed: Dimensions the model declares open and the trace could not keep open, as text.
    """

    module: fx.GraphModule
    inputs: dict[Port, fx.Node]
    results: dict[str, fx.Node]
    runs: list[Run]
    fixed: list[str]


Body = Callable[[TorchEngine, Feeds], Feeds]
"""What is traced: from an engine and all inputs to what the graph gives; the model's own run comes first."""


def trace(model: Model, ports: Sequence[Port], values: Mapping[str, Tensor], body: Body) -> Trace:
    """Trace what a body does to a model over examples of the inputs, whose shapes stand for all others.

    Args:
        model: The model.
        ports: The inputs: the model's, then those the body takes beside them; open dimensions stay open.
        values: Examples of them.
        body: What is traced.

    Raises:
        CompileFault: the body or the model does something that depends on values.
    """
    mode, engine, fakes = _without_numbers(model, ports, values)
    layout: list[Any] = []

    def work(*tensors: Tensor) -> list[Tensor]:
        engine.runs.clear()
        found = body(engine, dict(zip(fakes, tensors, strict=True)))
        layout[:] = [list(found), [(list(run.feeds), list(run.values)) for run in engine.runs]]
        return [*found.values(), *(v for run in engine.runs for v in (*run.feeds.values(), *run.values.values()))]

    with _faults(engine), mode, enable_python_dispatcher(), sdpa_kernel(SDPBackend.MATH), _mkldnn_off(), Rewriting():
        module = graph_of(work, list(fakes.values()))
    return _sorted(module, ports, layout, _settled(ports, fakes))


def rehearse(model: Model, ports: Sequence[Port], values: Mapping[str, Tensor], body: Body) -> None:
    """Run a body on tensors without numbers, as a trace does, and write nothing down.

    Raises:
        CompileFault: the body or the model does something that depends on values.
    """
    mode, engine, fakes = _without_numbers(model, ports, values)
    with _faults(engine), mode, enable_python_dispatcher(), sdpa_kernel(SDPBackend.MATH), _mkldnn_off(), Rewriting():
        body(engine, fakes)


def _without_numbers(
    model: Model, ports: Sequence[Port], values: Mapping[str, Tensor]
) -> tuple[FakeTensorMode, _RecordingEngine, Feeds]:
    mode = FakeTensorMode(shape_env=ShapeEnv(duck_shape=False), allow_non_fake_inputs=True)
    fakes: Feeds = {port.name: _fake(mode, values[port.name], port.shape) for port in ports}
    return mode, _RecordingEngine(model), fakes


@contextmanager
def _faults(engine: _RecordingEngine) -> Iterator[None]:
    """Tell where a trace failed, at a node of the model or a line of the method, and over what."""
    try:
        yield
    except OnnxsalError:
        raise
    except Exception as error:
        raise CompileFault(
            f"cannot be traced: {_reason(error, engine.node)}",
            where=str(engine.node) if engine.node is not None else _line(error),
            hint="a graph can only hold what does not depend on the values it is fed; an input that decides can be "
            "held to one: --fix NAME=NUMBER",
        ) from error


def graph_of(work: Callable[..., Any], inputs: Sequence[Tensor]) -> fx.GraphModule:
    """Return the aten operators of some work on tensors without numbers; none of them writes into a tensor."""
    module = make_fx(work, decomposition_table=_decompositions())(*inputs)
    if any(_writes(node) for node in module.graph.nodes):
        module = _without_writes(module, inputs)
    gather(module)
    return module


def _reason(error: Exception, node: Any) -> str:
    """Return what an exception of the trace means for a method or a model."""
    if getattr(node, "op_type", "") == "If":
        return "a number that is fed or computed decides which branch is run"
    said = " ".join(str(error).split()).partition(" While executing")[0]
    if isinstance(error, GuardOnDataDependentSymNode | DataDependentOutputException) or "data-dependent" in said:
        return "a number that is computed decides what is done next"
    if isinstance(error, DynamicOutputShapeException):
        return "numbers that are computed decide how many there are of something"
    if ".numpy()" in said or "meta tensor" in said:
        return "numbers that are computed leave the graph, for numpy or Python to go on with"
    return said[:300]


def _line(error: Exception) -> str:
    """Return the line of the method, or of what it calls, at which an exception came up."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_of_a_method(Path(frame.filename))]
    return f"method, {Path(frames[-1].filename).name} line {frames[-1].lineno}" if frames else "method"


def _is_of_a_method(file: Path) -> bool:
    """Say whether a file may be a method's: it is neither torch's nor one of those that run it."""
    return file.parent.name == "methods" or not {"torch", "onnxsal"}.intersection(file.parts)


@contextmanager
def _mkldnn_off() -> Iterator[None]:
    """Leave out kernels that compute a whole recurrent layer at once: they can't be taken apart.

    Not ``mkldnn.flags``: that sets what else there is, too, and warns of it.
    """
    flags: Any = mkldnn
    before, flags.enabled = flags.enabled, False
    try:
        yield
    finally:
        flags.enabled = before


def _fake(mode: FakeTensorMode, value: Tensor, shape: Sequence[Any] | None) -> FakeTensor:
    """Return a tensor without numbers; the dimensions that are declared open stay open."""
    declared = list(value.shape) if shape is None else shape
    kinds = [DimDynamic.STATIC if isinstance(dim, int) else DimDynamic.DYNAMIC for dim in declared]
    context: Any = StatelessSymbolicContext(dynamic_sizes=kinds)
    return mode.from_tensor(value, static_shapes=False, symbolic_context=context)  # type: ignore[return-value]


def _writes(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable


def _without_writes(module: fx.GraphModule, inputs: Sequence[Tensor]) -> fx.GraphModule:
    """Return a graph of the same outputs that writes into no tensor."""

    class Marking(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            return _marked(super().run_node, n)

    run = Marking(module).run
    return make_fx(functionalize(run, remove="mutations"), decomposition_table=_decompositions())(*inputs)


def _marked(run_node: Callable[[fx.Node], Any], n: fx.Node) -> Any:
    """Run a node and mark the traced calls that it makes with the ONNX node it belongs to."""
    mode = get_proxy_mode()
    if mode is None or "onnx" not in n.meta:
        return run_node(n)
    last = next(iter(reversed(mode.tracer.graph.nodes)), None)
    result = run_node(n)
    for traced in reversed(mode.tracer.graph.nodes):
        if traced is last:
            break
        traced.meta["onnx"] = n.meta["onnx"]
    return result


def _settled(ports: Sequence[Port], fakes: Mapping[str, Tensor]) -> list[str]:
    """Return the dimensions that were declared open and have become numbers."""
    return [
        f"{port.name}[{axis}] = {int(fakes[port.name].shape[axis])}"
        for port in ports
        for axis, dim in enumerate(port.shape or ())
        if not isinstance(dim, int) and _is_settled(fakes[port.name].shape[axis])
    ]


def _is_settled(size: Any) -> bool:
    return isinstance(size, int) or not size.node.expr.free_symbols


def _decompositions() -> dict[Any, Any]:
    """Return torch's own decompositions of operators that are not lowered as they are."""
    known = lowerings()
    table = {**decomposition_table, **core_aten_decompositions()}
    return {operator: function for operator, function in table.items() if str(operator) not in known}


def _sorted(module: fx.GraphModule, ports: Sequence[Port], layout: list[Any], fixed: list[str]) -> Trace:
    """Take the traced graph's outputs apart."""
    graph = module.graph
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    (outputs,) = next(node for node in graph.nodes if node.op == "output").args
    left = iter(outputs)  # type: ignore[arg-type]
    given, runs = layout
    results = {name: next(left) for name in given}
    found = [Run({n: next(left) for n in feeds}, {n: next(left) for n in values}) for feeds, values in runs]
    inputs = dict(zip(ports, placeholders, strict=True))
    return Trace(module, inputs, results, _merged(found), fixed)


def _merged(runs: list[Run]) -> list[Run]:
    """Return the runs, those on the same feeds as one."""
    merged: dict[Any, Run] = {}
    for run in runs:
        run.feeds = {name: root(node) for name, node in run.feeds.items()}
        run.values = {name: root(node) for name, node in run.values.items()}
        key = tuple(sorted((name, node.name) for name, node in run.feeds.items()))
        if key in merged:
            first = merged[key].values
            merged[key].again += [(name, node) for name, node in run.values.items() if name in first]
            first |= {name: node for name, node in run.values.items() if name not in first}
        else:
            merged[key] = run
    return list(merged.values())


class _RecordingEngine(TorchEngine):
    """Runs the imported graph node by node, keeps every value's ONNX name, and marks what each node was traced to."""

    def __init__(self, model: Model) -> None:
        super().__init__(model, "cpu")
        self.runs: list[Run] = []
        self.node: Any = None

    def _call(self, part: fx.GraphModule, arguments: Sequence[Any]) -> Sequence[Any]:
        return self._interpret(fx.Interpreter(part), arguments)

    def _interpret(self, run: fx.Interpreter, arguments: Sequence[Any]) -> Sequence[Any]:
        record, run_node = Run(), run.run_node
        self.runs.append(record)

        def recorded(n: fx.Node) -> Any:
            self.node = n.meta.get("onnx", self.node)
            result = _marked(run_node, n)
            names = n.meta.get("onnx_outputs", ())
            if n.op != "get_attr" and len(names) == 1 and names[0] and isinstance(result, Tensor):
                (record.feeds if n.op == "placeholder" else record.values)[names[0]] = result
            return result

        run.run_node = recorded  # type: ignore[method-assign]
        found: Sequence[Any] = run.run(*arguments)
        self.node = None
        return found


def origin(node: fx.Node) -> Any:
    """Return the ONNX node that a traced call belongs to: its own, or the latest of those whose values it reads."""
    seen: set[fx.Node] = set()
    waiting = [node]
    while waiting:
        here = waiting.pop(0)
        if "onnx" in here.meta:
            return here.meta["onnx"]
        fresh = [n for n in here.all_input_nodes if n not in seen]
        seen.update(fresh)
        waiting += sorted(fresh, key=lambda n: "onnx" not in n.meta)
        if len(seen) > 200:
            return None
    return None
