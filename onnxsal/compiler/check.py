"""Prove a compiled graph before it is relied on: valid, the original's answers, the torch engine's attributions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import torch

from onnxsal.compiler.examples import open_rows, with_rows
from onnxsal.compiler.subject import Subject
from onnxsal.compiler.target import TARGET_INPUT
from onnxsal.engines.torch import TorchEngine
from onnxsal.errors import CompileFault, ParityError
from onnxsal.importer.values import as_tensor, to_host
from onnxsal.model import Model, session_options
from onnxsal.parity import NUDGES, TOLERANCES, default_tolerance, distance, nudged

OTHER_ROWS = 3
"""With how many examples an open batch is checked: not as many as it was traced with."""


def check(
    model: Model,
    proto: onnx.ModelProto,
    subject: Subject,
    arrays: Mapping[str, np.ndarray],
    *,
    tolerance: float,
    settled: bool,
) -> dict[str, Any]:
    """Return how far the graph is from the original's outputs and the torch engine's attributions, in its scale.

    Raises:
        CompileFault: the graph is not valid, or ONNX Runtime does not take it.
        ParityError: it answers something else.
    """
    _require_valid(proto, model)
    rows = [n for n in (*subject.explained, *sorted(subject.batched)) if n in open_rows(model)]
    varies = subject.together and not settled and bool(rows)
    feeds = with_rows(arrays, OTHER_ROWS, rows) if varies else dict(arrays)
    places = _places(subject, feeds)
    answers = _run(proto, feeds | places, model.name)
    expected = dict(zip([p.name for p in model.outputs], model.session().run(None, feeds), strict=True))
    ours = _attributions(subject, feeds | places)
    figures: dict[str, Any] = {"examples": len(feeds[subject.explained[0]]) if subject.stacked else 1}
    for name, value in expected.items():
        figures[name] = _near(name, answers[name], value, default_tolerance(model))
    labels = [output.name for output in proto.graph.output][len(expected) :]
    for (name, value), label in zip(ours.items(), labels, strict=True):
        accepted = max(tolerance, TOLERANCES.get(value.dtype.name, 0.0))
        if _relative(answers[label], value) > accepted:
            accepted = max(accepted, _own_movement(subject, feeds, places, name, value))
        figures[label] = _near(label, answers[label], value, accepted)
    return figures


def _attributions(subject: Subject, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what the torch engine says, computed as it is traced."""
    found = subject.run(TorchEngine(subject.model, "cpu"), {n: as_tensor(a) for n, a in arrays.items()})
    return {name: to_host(tensor) for name, tensor in found.items()}


def _own_movement(
    subject: Subject, feeds: Mapping[str, np.ndarray], places: Mapping[str, np.ndarray], name: str, value: np.ndarray
) -> float:
    """Return how far the torch engine's own attribution moves with the inputs' last bit, in the calmest of some tries.

    Behind a saturated sigmoid little but rounding is left; nobody's gradient is more right there.
    """
    moved = [_attributions(subject, nudged(feeds, seed) | dict(places))[name] for seed in range(NUDGES)]
    return min(_relative(m, value) for m in moved)


def _relative(got: Any, expected: Any) -> float:
    gap, scale = distance(got, expected)
    return gap / scale if scale else gap


def _require_valid(proto: onnx.ModelProto, model: Model) -> None:
    """Check the graph, with the shapes inferred anew, as far as the original stands such a check."""
    if proto.ByteSize() > onnx.checker.MAXIMUM_PROTOBUF:
        return
    try:
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:  # checker and inference raise a handful of unrelated classes
        if not _is_valid(model) and _checks(proto, full=False):
            return
        raise CompileFault(
            f"the compiled graph is not valid: {' '.join(str(error).split())[:300]}",
            where=model.name,
            hint="please report the model and the method, or a part of them",
        ) from error


def _is_valid(model: Model) -> bool:
    return _checks(model.source if isinstance(model.source, bytes) else str(model.source), full=True)


def _checks(proto: Any, *, full: bool) -> bool:
    try:
        onnx.checker.check_model(proto, full_check=full)
    except Exception:
        return False
    return True


def _places(subject: Subject, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return a target for each example, where the graph takes one."""
    if not subject.target.is_fed:
        return {}
    with torch.no_grad():
        outputs = TorchEngine(subject.model, "cpu").run({n: as_tensor(a) for n, a in feeds.items()})
    output = outputs[subject.target.output]
    sizes = output.shape[1:] if subject.stacked else output.shape
    rows = output.shape[0] if subject.stacked else 1
    drawn = [[(row + 1) * 7 % size for size in sizes] for row in range(rows)]
    places = np.array(drawn, np.int64).reshape(rows, len(sizes))
    return {TARGET_INPUT: places[:, 0] if len(sizes) == 1 else places}


def _run(proto: onnx.ModelProto, feeds: Mapping[str, np.ndarray], where: str) -> dict[str, Any]:
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(
            proto.SerializeToString(), session_options(True), providers=["CPUExecutionProvider"]
        )
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))
    except Exception as error:  # onnxruntime raises a dozen unrelated classes
        raise CompileFault(
            f"ONNX Runtime does not run the compiled graph: {' '.join(str(error).split())[:400]}",
            where=where,
            hint="please report the model and the method, or a part of them",
        ) from error


def _near(name: str, got: Any, expected: Any, tolerance: float) -> float:
    relative = _relative(got, expected)
    if not relative <= tolerance:
        raise ParityError(
            f"{name!r} of the compiled graph differs by {relative:.3g} of its scale (accepted: {tolerance:g})",
            where="compile",
            hint="--tolerance accepts a larger distance",
        )
    return relative
