"""The import against ONNX Runtime: proves that both answer the same, or names the first node that differs.

What a file means is ONNX Runtime's answer with its optimisations off. The optimised run may differ from that by itself
(int8 networks by several percent), so its distance is reported beside ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import fx

from onnxsal import cache
from onnxsal.errors import InputError, ModelError, ParityError
from onnxsal.importer.dtypes import dtype_named
from onnxsal.importer.graph import Graph
from onnxsal.importer.precision import raised_tensor
from onnxsal.importer.read import read_apart
from onnxsal.importer.values import as_tensor, to_host
from onnxsal.joining import calls_of
from onnxsal.model import Model
from onnxsal.types import Dim, Port, Precision, Quantized

TOLERANCES = {"float16": 1e-2, "bfloat16": 5e-2}
DEFAULT_TOLERANCE = 1e-3
"""The largest distance from ONNX Runtime, as a part of an output's scale, that is taken for rounding."""

ROUNDING_TOLERANCE = 3e-2
"""The same for models that round to 8 bits. One number in ten thousand lies so near the middle between two steps that a
float's last bit decides where it goes; a step is 1/255 of the range, and moves everything behind it."""

FLOAT_TOLERANCE = 0.25
"""The same for a quantised model that is read as if it were not: what rounding did to the answer is in it."""

ACCEPTING = "--tolerance accepts a larger distance, --no-verify explains the imported graph all the same"

NUDGES = 3
"""How often an input is moved by its last bit, to see how far ONNX Runtime's own answer moves with it."""

MAX_DRAWN_BYTES = 2**30
"""How large an input may be that is drawn because none is given."""

FREE_SIZES = (8, 16, 32, 64, 224, 1, 3)
"""Sizes tried for dimensions the model leaves open, when an input has to be drawn."""


@dataclass(frozen=True)
class OutputParity:
    """How far one output is from ONNX Runtime's.

    ``max_abs`` is in the output's unit, ``max_rel`` a part of the output's ``scale`` (its largest absolute value);
    ``optimised_rel`` is how far ONNX Runtime's optimised run is from its own run without optimisations; ``own_rel`` how
    far its answer moves (at least) with the last bit of the floating inputs, looked at only where we are too far.
    """

    name: str
    max_abs: float
    max_rel: float
    scale: float
    optimised_rel: float
    ok: bool
    own_rel: float = 0.0


@dataclass(frozen=True)
class Statistics:
    """What a tensor's numbers are like; the figures are of the finite ones."""

    shape: tuple[int, ...]
    least: float
    mean: float
    largest: float
    not_finite: int

    def __str__(self) -> str:
        wild = f", {self.not_finite} not finite" if self.not_finite else ""
        return f"{list(self.shape)} from {self.least:.4g} to {self.largest:.4g}, mean {self.mean:.4g}{wild}"


def statistics(value: Any) -> Statistics | None:
    """Return what a tensor's numbers are like; None for values that are no tensors of numbers."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiubV":
        return None
    numbers = value.astype(np.float64)
    finite = numbers[np.isfinite(numbers)]
    least, mean, largest = (finite.min(), finite.mean(), finite.max()) if finite.size else (0.0, 0.0, 0.0)
    return Statistics(value.shape, float(least), float(mean), float(largest), numbers.size - finite.size)


@dataclass(frozen=True)
class Divergence:
    """The first node whose inputs agree with ONNX Runtime and whose output does not, and both outputs' numbers."""

    node: str
    op_type: str
    value: str
    max_abs: float
    max_rel: float
    ours: Statistics | None = None
    theirs: Statistics | None = None
    call: int = 0
    """In which call of the model, where more examples were given than it takes at once."""

    def __str__(self) -> str:
        return f"node {self.node!r} ({self.op_type}): {self.value!r} differs by {self.max_rel:.3g} of its scale"


@dataclass(frozen=True)
class Parity:
    """The import's distance from ONNX Runtime, per output."""

    outputs: tuple[OutputParity, ...]
    tolerance: float
    first: Divergence | None = None
    cached: bool = False
    quantized: Quantized = "ste"
    """How the imported graph was read: without rounding it is another model, near the deployed one."""

    @property
    def ok(self) -> bool:
        """Whether every output is as near as the tolerance asks."""
        return all(output.ok for output in self.outputs)

    @property
    def meta(self) -> dict[str, Any]:
        """The figures as plain values."""
        return {"ok": self.ok, **asdict(self)}

    def require(self, where: str, remedy: str = "") -> None:
        """Refuse to go on with another model than was deployed.

        Args:
            where: The model's name.
            remedy: What may help, beside accepting the distance.

        Raises:
            ParityError: an output differs; the message names the first node that does.
        """
        if self.ok:
            return
        worst = max((o for o in self.outputs if not o.ok), key=lambda o: o.max_rel)
        culprit = f"; the first to differ is {self.first}" if self.first else ""
        reading = "read without its rounding, " if self.quantized == "float" else ""
        raise ParityError(
            f"{reading}output {worst.name!r} differs from ONNX Runtime by {worst.max_rel:.3g} of its scale "
            f"(accepted: {self.tolerance:g}){culprit}",
            where=where,
            hint="; ".join(filter(None, (remedy, ACCEPTING))),
        )


def verify(
    model: Model,
    feeds: Mapping[str, Any] | None = None,
    *,
    device: str = "cpu",
    tolerance: float | None = None,
    seed: int = 0,
    quantized: Quantized = "ste",
    precision: Precision = "native",
) -> Parity:
    """Compare the imported graph with ONNX Runtime on the same input.

    Args:
        model: The model.
        feeds: Arrays or tensors by input name; drawn to fit the ports where None. Of more examples than the file was
            exported for, the worst is told.
        device: The torch device of the imported graph.
        tolerance: The largest accepted distance as a part of an output's scale; 1e-3, more for half precision.
        seed: Seeds the drawn input.
        quantized: How a quantised model is read, as for `Model.torch`.
        precision: Whether half precision is raised, as for `Model.torch`.

    Raises:
        ImportFault: the model cannot be imported.
        InputError: no input could be drawn that ONNX Runtime accepts.
    """
    arrays = {n: to_host(v) for n, v in feeds.items()} if feeds is not None else draw(model, seed)
    tolerance = default_tolerance(model, quantized) if tolerance is None else tolerance
    calls = calls_of(model.inputs, arrays).of(arrays)
    return _worst([_verified(model, call, device, tolerance, quantized, precision) for call in calls])


def _worst(found: Sequence[Parity]) -> Parity:
    """Return the worst of each output in several calls, and the first node that differs in any."""
    outputs = zip(*(parity.outputs for parity in found), strict=True)
    first = next((replace(p.first, call=number) for number, p in enumerate(found) if p.first), None)
    worst = tuple(max(each, key=lambda output: (not output.ok, output.max_rel)) for each in outputs)
    return replace(found[0], outputs=worst, first=first)


def _verified(
    model: Model,
    arrays: Mapping[str, np.ndarray],
    device: str,
    tolerance: float,
    quantized: Quantized,
    precision: Precision,
) -> Parity:
    module = model.torch(device, quantized=quantized, precision=precision)
    names = [port.name for port in model.outputs]
    expected = model.session(optimised=False).run(names, arrays)
    optimised = model.session(optimised=True).run(names, arrays)
    got = _run(module, _arguments(model, arrays, device, precision))
    outputs = tuple(
        _compare(name, g, e, o, tolerance) for name, g, e, o in zip(names, got, expected, optimised, strict=True)
    )
    if not all(output.ok for output in outputs):
        own = _own_movement(model, arrays, expected)
        outputs = tuple(
            replace(o, own_rel=moved, ok=o.ok or o.max_rel <= moved) for o, moved in zip(outputs, own, strict=True)
        )
    parity = Parity(outputs, tolerance, quantized=quantized)
    if parity.ok or quantized == "float":  # without rounding every node differs
        return parity
    first = first_divergence(model, arrays, device, tolerance, precision)
    return replace(parity, first=first)


def verify_once(
    model: Model,
    feeds: Mapping[str, Any],
    *,
    device: str,
    tolerance: float | None,
    quantized: Quantized = "ste",
    precision: Precision = "native",
) -> Parity:
    """Return `verify`'s answer, from the cache where this model was seen before by these versions."""
    asked = device, tolerance, quantized, precision
    if asked in model.proofs:
        return model.proofs[asked]  # type: ignore[no-any-return]
    parity = _verify_once(model, feeds, device, tolerance, quantized, precision)
    if parity.ok:
        model.proofs[asked] = replace(parity, cached=True)
    return parity


def _verify_once(
    model: Model,
    feeds: Mapping[str, Any],
    device: str,
    tolerance: float | None,
    quantized: Quantized,
    precision: Precision,
) -> Parity:
    import onnxruntime

    import onnxsal

    wanted = default_tolerance(model, quantized) if tolerance is None else tolerance
    key = (
        model.sha256,
        device.partition(":")[0],
        quantized,
        precision,
        repr(wanted),
        onnxsal.__version__,
        torch.__version__,
        onnxruntime.__version__,
    )
    known = cache.read("parity", key)
    if known:
        return Parity(tuple(OutputParity(**o) for o in known), wanted, cached=True, quantized=quantized)
    parity = verify(model, feeds, device=device, tolerance=wanted, quantized=quantized, precision=precision)
    if parity.ok:  # a mismatch is looked at again each time, so that its culprit can be named
        cache.write("parity", key, [asdict(o) for o in parity.outputs])
    return parity


def require_place(
    model: Model, arrays: Mapping[str, np.ndarray], session: Any, place: str, tolerance: float | None
) -> None:
    """Refuse to go on where ONNX Runtime answers something else by an execution provider than on the CPU.

    Args:
        model: The model.
        arrays: What it is fed.
        session: Runs the file there.
        place: The device's name.
        tolerance: As for `verify`.

    Raises:
        ParityError: an output differs.
    """
    accepted = default_tolerance(model) if tolerance is None else tolerance
    names = [port.name for port in model.outputs]
    expected = model.session(optimised=False).run(names, arrays)
    for name, value, answer in zip(names, expected, session.run(names, arrays), strict=True):
        found = _compare(name, answer, value, value, accepted)
        if not found.ok:
            raise ParityError(
                f"on {place}, output {name!r} differs from what ONNX Runtime computes on the CPU by "
                f"{found.max_rel:.3g} of its scale (accepted: {accepted:g})",
                where=model.name,
                hint=f"-d cpu; {ACCEPTING}",
            )


def remedy(model: Model, quantized: Quantized, precision: Precision) -> str:
    """Return another reading of the model that may be nearer to what is deployed, or nothing."""
    if model.is_quantised and quantized == "float":
        return "--quantized ste explains what is deployed"
    if model.is_half and precision == "native":
        return "--precision float32 computes in float32, as ONNX Runtime does between many nodes of such a model"
    return ""


def default_tolerance(model: Model, quantized: Quantized = "ste") -> float:
    """Return the distance that the model's narrowest floating-point type, or its rounding to 8 bits, explains."""
    if model.is_quantised:
        return FLOAT_TOLERANCE if quantized == "float" else ROUNDING_TOLERANCE
    kinds = {array.dtype.name for array in model.graph.constants.values()} | {p.dtype for p in model.inputs}
    return max((TOLERANCES.get(kind, DEFAULT_TOLERANCE) for kind in kinds), default=DEFAULT_TOLERANCE)


def _own_movement(model: Model, arrays: Mapping[str, np.ndarray], expected: Sequence[Any]) -> list[float]:
    """Return how far each of ONNX Runtime's outputs moves with the inputs' last bit, in the calmest of some tries.

    A logarithm of what should be silence magnifies rounding without end; nobody's answer is more right there.
    """
    names = [port.name for port in model.outputs]
    session = model.session(optimised=False)
    tries = [session.run(names, nudged(arrays, seed)) for seed in range(NUDGES)]
    distances = [[distance(a, e) for a, e in zip(answer, expected, strict=True)] for answer in tries]
    relative = [[gap / scale if scale else gap for gap, scale in answer] for answer in distances]
    return [min(column) if math.isfinite(min(column)) else 0.0 for column in zip(*relative, strict=True)]


def nudged(arrays: Mapping[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """Return the inputs with the last bit of every floating number moved up or down."""
    random = np.random.default_rng(seed)
    nudged = dict(arrays)
    for name, array in arrays.items():
        if array.dtype.kind == "f":
            ends = np.where(random.random(array.shape) < 0.5, -np.inf, np.inf).astype(array.dtype)
            nudged[name] = np.asarray(np.nextafter(array, ends), dtype=array.dtype)
    return nudged


def _run(module: fx.GraphModule, arguments: Sequence[Any]) -> list[Any]:
    """Return the imported graph's outputs as host values."""
    with torch.no_grad():
        return [_to_host(answer) for answer in module(*arguments)]


def _arguments(model: Model, arrays: Mapping[str, np.ndarray], device: str, precision: Precision) -> list[Any]:
    values = [as_tensor(arrays[port.name]) for port in model.inputs]
    if precision == "float32":
        values = [raised_tensor(value) for value in values]
    return [v.to(device) if isinstance(v, torch.Tensor) else v for v in values]


def _to_host(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_to_host(v) for v in value]
    return value if value is None or isinstance(value, dict) else to_host(value)


def _compare(name: str, got: Any, expected: Any, optimised: Any, tolerance: float) -> OutputParity:
    max_abs, scale = distance(got, expected)
    rel = max_abs / scale if scale else max_abs
    own, own_scale = distance(optimised, expected)
    return OutputParity(name, max_abs, rel, scale, own / own_scale if own_scale else own, rel <= tolerance)


def distance(got: Any, expected: Any) -> tuple[float, float]:
    """Return the largest absolute difference and the largest absolute expected value.

    The difference is infinite where number, shape or kind differ, or where a text, a truth value or an integer does.
    """
    if isinstance(expected, (list, tuple)):
        if not isinstance(got, (list, tuple)) or len(got) != len(expected):
            return math.inf, 1.0
        pairs = [distance(g, e) for g, e in zip(got, expected, strict=True)]
        return max((d for d, _ in pairs), default=0.0), max((s for _, s in pairs), default=1.0)
    if isinstance(expected, dict):
        if not isinstance(got, dict) or list(got) != list(expected):
            return math.inf, 1.0
        return distance(np.asarray(list(got.values())), np.asarray(list(expected.values())))
    if got is None or expected is None:
        return (0.0, 1.0) if got is expected else (math.inf, 1.0)
    got, expected = np.asarray(got), np.asarray(expected)
    if got.shape != expected.shape:
        return math.inf, 1.0
    if expected.dtype.kind not in "fcV" and got.dtype.kind != "f":  # quantised numbers may travel as floats
        return (0.0 if np.array_equal(got, expected) else math.inf), 1.0
    return _float_distance(got, expected)


def _float_distance(got: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    kind = np.complex128 if expected.dtype.kind == "c" else np.float64
    got, expected = got.astype(kind), expected.astype(kind)
    same = (got == expected) | (np.isnan(got) & np.isnan(expected))
    with np.errstate(all="ignore"):
        gaps = np.where(same, 0.0, np.abs(got - expected))
    finite = np.abs(expected[np.isfinite(expected)])
    gap = float(np.max(gaps, initial=0.0))
    return (math.inf if math.isnan(gap) else gap), float(np.max(finite, initial=0.0))


def first_divergence(
    model: Model, arrays: Mapping[str, np.ndarray], device: str, tolerance: float, precision: Precision = "native"
) -> Divergence | None:
    """Return the first node of the main graph whose output differs though its inputs agree."""
    values = _torch_values(model.torch(device, precision=precision), _arguments(model, arrays, device, precision))
    read = {name for node in model.graph.walk() for name in node.inputs} | {port.name for port in model.outputs}
    ours = {name: value for name, value in values.items() if name in read}
    theirs = _runtime_values(model, arrays, [o for node in model.graph.nodes for o in node.outputs if o in ours])
    wrong: set[str] = set()
    for node in model.graph.nodes:
        for value in node.outputs:
            if value not in ours or value not in theirs:
                continue
            max_abs, scale = distance(ours[value], theirs[value])
            rel = max_abs / scale if scale else max_abs
            if rel > tolerance and not wrong.intersection(node.inputs):
                both = statistics(ours[value]), statistics(theirs[value])
                return Divergence(node.name, node.op_type, value, max_abs, rel, *both)
            if rel > tolerance:
                wrong.add(value)
    return None


class _Recorder(fx.Interpreter):
    """Runs a graph and keeps every value under its ONNX name."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.values: dict[str, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run one fx node; values of several outputs are kept one by one, by the nodes that take them out."""
        result = super().run_node(n)
        names = n.meta.get("onnx_outputs", ())
        if len(names) == 1 and names[0]:
            self.values[names[0]] = _to_host(result)
        return result


def _torch_values(module: fx.GraphModule, arguments: Sequence[Any]) -> dict[str, Any]:
    recorder = _Recorder(module)
    with torch.no_grad():
        recorder.run(*arguments)
    return recorder.values


def _runtime_values(model: Model, arrays: Mapping[str, np.ndarray], wanted: Sequence[str]) -> dict[str, Any]:
    """Run the file in ONNX Runtime with its inner values as further outputs."""
    proto, _ = read_apart(model.source)
    made = {name for node in proto.graph.node for name in node.output}
    names = [name for name in dict.fromkeys(wanted) if name in made]
    session = model.session(optimised=False, inner=names)
    return dict(zip(names, session.run(names, dict(arrays)), strict=True))


def draw(model: Model, seed: int = 0) -> dict[str, np.ndarray]:
    """Return a random input that fits the model's ports and that ONNX Runtime accepts.

    Raises:
        InputError: none of the sizes tried for the open dimensions is accepted.
    """
    session = model.session(optimised=False)
    refusal = ""
    for size in FREE_SIZES:
        arrays = {port.name: _draw_port(port, size, seed + i, model.graph) for i, port in enumerate(model.inputs)}
        try:
            session.run(None, arrays)
        except Exception as error:  # onnxruntime raises a dozen unrelated classes
            refusal = " ".join(str(error).split())[:200]
        else:
            return arrays
    raise InputError(
        f"no drawn input is accepted: {refusal}", where=model.name, hint="give an input the model was made for"
    )


def _draw_port(port: Port, size: int, seed: int, graph: Graph) -> np.ndarray:
    random = np.random.default_rng(seed)
    shape = tuple(_size(dim, axis, size) for axis, dim in enumerate(port.shape or ()))
    if port.dtype == "string":
        return np.full(shape, "text", dtype=object)
    if "(" in port.dtype or port.dtype == "unknown":
        raise InputError(f"an input of type {port.dtype} cannot be drawn", where=port.name, hint="give an input")
    dtype = dtype_named(port.dtype)
    if math.prod(shape) * dtype.itemsize > MAX_DRAWN_BYTES:
        raise ModelError(
            f"declares {math.prod(shape) * dtype.itemsize:,} bytes, {MAX_DRAWN_BYTES:,} are drawn at most",
            where=f"input {port.name!r}",
            hint="give an input",
        )
    if dtype.kind == "b":
        return np.ones(shape, dtype)
    if dtype.kind in "iu":
        return random.integers(0, _largest_index(port.name, graph), shape).astype(dtype)
    return random.standard_normal(shape).astype(dtype)


def _size(dim: Dim, axis: int, free: int) -> int:
    if isinstance(dim, int) and dim > 0:
        return dim
    return 1 if axis == 0 else free


def _largest_index(name: str, graph: Graph) -> int:
    """Return how many rows the table has that an integer input looks up, or 2 where it looks up none."""
    tables = [
        graph.constants[node.inputs[0]].shape[0]
        for node in graph.nodes
        if node.op_type == "Gather" and node.inputs[1] in _aliases(name, graph) and node.inputs[0] in graph.constants
    ]
    return max(1, min(tables, default=2))


def _aliases(name: str, graph: Graph) -> set[str]:
    """Return the names under which an input's own numbers go on (casts, copies and new shapes)."""
    names = {name}
    for node in graph.nodes:
        if (
            node.op_type in {"Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten"}
            and node.inputs[0] in names
        ):
            names.add(node.outputs[0])
    return names
