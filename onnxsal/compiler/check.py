"""Prove a compiled graph before it is relied on: valid, the original's answers, the torch engine's attributions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch

from onnxsal.compiler.agreement import TRIES, Agreement
from onnxsal.compiler.beside import LARGEST_FILE, Beside
from onnxsal.compiler.draws import Drawing, showing
from onnxsal.compiler.examples import open_rows, with_rows
from onnxsal.compiler.recipe import Recipe
from onnxsal.compiler.target import TARGET_INPUT
from onnxsal.compiler.twin import look_on_the_same_side
from onnxsal.engines.torch import TorchEngine
from onnxsal.errors import CompileFault, ParityError
from onnxsal.importer.values import as_tensor, to_host
from onnxsal.model import Model, session_options
from onnxsal.parity import NUDGES, TOLERANCES, default_tolerance, distance, nudged

OTHER_ROWS = 3
"""With how many examples an open batch is checked: not as many as it was traced with."""

MOMENTS = {"normal": (0.0, 1.0, 2.0), "uniform": (1 / 2, 1 / 12, 1 / 180)}
"""Of each distribution the mean, the variance, and the variance of one number's squared deviation."""

ENOUGH_NUMBERS = 4000
"""How many drawn numbers are looked at, at least, before their mean and variance are judged."""

STANDARD_ERRORS = 6
"""How far mean and variance of drawn numbers may be off: what chance does once in a hundred million files."""


def check(
    model: Model,
    proto: onnx.ModelProto,
    beside: Beside,
    recipe: Recipe,
    arrays: Mapping[str, np.ndarray],
    *,
    tolerance: float,
    settled: bool,
    taking: onnx.ModelProto | None = None,
) -> dict[str, Any]:
    """Return how far the graph is from the original's outputs and the torch engine's attributions, in its scale.

    Examples that are further off, and may be so because a kink lies between, are told under ``across_kinks``. Where
    the graph draws its random numbers, they are read out of it: the torch engine is given the same ones, and ``draws``
    says what their mean and variance were found to be. ``taking`` is then the graph that takes what this one draws.

    Raises:
        CompileFault: the graph is not valid, or ONNX Runtime does not take it.
        ParityError: it answers something else.
    """
    fresh = taking is not None
    _require_valid(beside.taken_as_inputs(proto), model)
    session = _session(
        showing(proto, recipe.drawings, recipe.ports) if fresh else proto, beside, model.name, hold=fresh
    )
    rows = [n for n in (*recipe.explained, *sorted(recipe.batched)) if n in open_rows(model)]
    rows = rows if recipe.together and not settled else []
    names = [output.name for output in proto.graph.output]
    labels = dict(zip((n for n in arrays if n in recipe.explained), names[len(model.outputs) :], strict=True))
    shown = [drawing.name for drawing in recipe.drawings] if fresh else []
    agreements: dict[str, Agreement] = {}
    figures: dict[str, Any] = {}
    for draw in range(TRIES):
        feeds = _drawn(arrays, rows, recipe, draw) if rows or draw else dict(arrays)
        given = _places(recipe, feeds) | ({} if fresh else _numbers(recipe, feeds, draw))
        answers = dict(zip([*names, *shown], session(feeds | given), strict=True))
        given |= {name: answers[name] for name in shown}
        figures |= _outputs_near(model, feeds, answers)
        expected = _attributions(recipe, feeds | given)
        for name, value in expected.items():
            accepted = max(tolerance, TOLERANCES.get(value.dtype.name, 0.0))
            agreement = agreements.setdefault(name, Agreement(accepted))
            agreement.compare(answers[labels[name]], value, stacked=recipe.stacked)
        if all(agreement.is_clear for agreement in agreements.values()):
            break
    else:
        named = {labels[name]: value for name, value in expected.items()}
        look_on_the_same_side(
            taking or proto, feeds | given, named, {labels[name]: found for name, found in agreements.items()}
        )
    for name, agreement in agreements.items():
        if not agreement.holds:
            agreement.accepted = max(agreement.accepted, _own_movement(recipe, feeds | given, name))
        _require(agreement, labels[name])
        figures[labels[name]] = agreement.worst
    examples = len(feeds[recipe.explained[0]]) if recipe.stacked else 1
    kinks = {labels[name]: _excused(agreement) for name, agreement in agreements.items() if not agreement.is_clear}
    figures = {"examples": examples, **figures, "across_kinks": kinks}
    if fresh:
        _session(proto, beside, model.name)({n: a for n, a in (feeds | given).items() if n not in shown})
        figures["draws"] = _judged(
            recipe, lambda: session({n: a for n, a in (feeds | given).items() if n not in shown})
        )
    return figures


def _judged(recipe: Recipe, run: Callable[[], list[Any]]) -> dict[str, Any]:
    """Return mean and variance of what a graph draws.

    Raises:
        ParityError: they are not those of the distribution, or two runs draw the same.
    """
    count = len(recipe.drawings)
    runs = [run()[-count:] for _ in range(2)]
    while min(sum(np.size(numbers) for numbers in drawn) for drawn in zip(*runs, strict=True)) < ENOUGH_NUMBERS:
        runs.append(run()[-count:])
    return {
        drawing.name: _moments(drawing, [np.asarray(numbers, np.float64) for numbers in drawn])
        for drawing, drawn in zip(recipe.drawings, zip(*runs, strict=True), strict=True)
    }


def _moments(drawing: Drawing, runs: Sequence[np.ndarray]) -> dict[str, Any]:
    numbers = np.concatenate([drawn.ravel() for drawn in runs])
    mean, variance, spread = MOMENTS[drawing.distribution]
    found = float(numbers.mean()), float(np.square(numbers - mean).mean())
    errors = [
        abs(f - m) / np.sqrt(v / numbers.size)
        for f, m, v in zip(found, (mean, variance), (variance, spread), strict=True)
    ]
    if np.array_equal(runs[0], runs[1]) or not max(errors) <= STANDARD_ERRORS:
        raise ParityError(
            f"{drawing.name!r} is not drawn {drawing.distribution} anew at every run: mean {found[0]:.3g}, variance "
            f"{found[1]:.3g} of {numbers.size} numbers",
            where="compile",
            hint="--draws input takes the numbers at run time",
        )
    return {"mean": found[0], "variance": found[1], "numbers": numbers.size}


def _numbers(recipe: Recipe, feeds: Mapping[str, np.ndarray], draw: int) -> dict[str, np.ndarray]:
    """Return random numbers for the inputs that take some."""
    return {
        drawing.name: drawing.numbers(feeds[drawing.of or recipe.explained[0]], (seed, draw), stacked=recipe.stacked)
        for seed, drawing in enumerate(recipe.drawings)
    }


def _excused(agreement: Agreement) -> dict[str, float]:
    """Return how many examples stand across a kink, of how many, and how far the furthest is off."""
    return {"examples": len(agreement.excused), "of": len(agreement.examples), "largest": max(agreement.excused)}


def _drawn(arrays: Mapping[str, np.ndarray], rows: Sequence[str], recipe: Recipe, draw: int) -> dict[str, np.ndarray]:
    """Return other inputs: with another number of examples where that is open, and with other numbers each draw."""
    if rows:
        return with_rows(arrays, OTHER_ROWS, rows, draw)
    return with_rows(arrays, 0, recipe.explained, draw)


def _outputs_near(model: Model, feeds: Mapping[str, np.ndarray], answers: Mapping[str, Any]) -> dict[str, float]:
    """Compare the outputs with the original's."""
    session = model.session(packed=model.size <= LARGEST_FILE)
    expected = dict(zip([p.name for p in model.outputs], session.run(None, dict(feeds)), strict=True))
    accepted = default_tolerance(model)
    found = {name: _relative(answers[name], value) for name, value in expected.items()}
    for name, gap in found.items():
        if not gap <= accepted:
            raise _differs(name, gap, accepted)
    return found


def _require(agreement: Agreement, name: str) -> None:
    if not agreement.holds:
        raise _differs(name, max(agreement.examples), agreement.accepted)


def _differs(name: str, gap: float, accepted: float) -> ParityError:
    return ParityError(
        f"{name!r} of the compiled graph differs by {gap:.3g} of its scale (accepted: {accepted:g})",
        where="compile",
        hint="--tolerance accepts a larger distance",
    )


def _attributions(recipe: Recipe, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what the torch engine says, computed as it is traced."""
    found = recipe.run(TorchEngine(recipe.model, "cpu"), {n: as_tensor(a) for n, a in arrays.items()})
    return {name: to_host(tensor) for name, tensor in found.items()}


def _own_movement(recipe: Recipe, arrays: Mapping[str, np.ndarray], name: str) -> float:
    """Return how far the torch engine's own attribution moves with the inputs' last bit, in the calmest of some tries.

    Behind a saturated sigmoid little but rounding is left; nobody's gradient is more right there.
    """
    here = _attributions(recipe, arrays)[name]
    return min(_relative(_attributions(recipe, nudged(arrays, seed))[name], here) for seed in range(NUDGES))


def _relative(got: Any, expected: Any) -> float:
    gap, scale = distance(got, expected)
    return gap / scale if scale else gap


def _require_valid(proto: onnx.ModelProto, model: Model) -> None:
    """Check the graph, with the shapes inferred anew, as far as the original stands such a check."""
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


def _places(recipe: Recipe, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return a target for each example, where the graph takes one."""
    if not recipe.target.is_fed:
        return {}
    with torch.no_grad():
        outputs = TorchEngine(recipe.model, "cpu").run({n: as_tensor(a) for n, a in feeds.items()})
    output = outputs[recipe.target.output]
    sizes = output.shape[1:] if recipe.stacked else output.shape
    rows = output.shape[0] if recipe.stacked else 1
    drawn = [[(row + 1) * 7 % size for size in sizes] for row in range(rows)]
    places = np.array(drawn, np.int64).reshape(rows, len(sizes))
    return {TARGET_INPUT: places[:, 0] if len(sizes) == 1 else places}


def _session(
    proto: onnx.ModelProto, beside: Beside, where: str, *, hold: bool = False
) -> Callable[[Mapping[str, np.ndarray]], list[Any]]:
    """Return a way to run the graph as anybody would; a large one is opened for each run, unless it is to be held."""
    opened = _opened(proto, beside, where) if hold or not beside.arrays else None

    def run(feeds: Mapping[str, np.ndarray]) -> list[Any]:
        session = opened or _opened(proto, beside, where)
        try:
            return list(session.run(None, dict(feeds)))
        except Exception as error:  # onnxruntime raises a dozen unrelated classes
            raise _not_run(error, where) from error

    return run


def _opened(proto: onnx.ModelProto, beside: Beside, where: str) -> Any:
    """Return a session; one of large weights holds them once, neither packed nor turned at compile time."""
    import onnxruntime

    large = bool(beside.arrays)
    options = session_options(True, packed=not large)
    try:
        beside.hand_over(options)
        return onnxruntime.InferenceSession(
            proto.SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=["ConstantFolding"] if large else None,
        )
    except Exception as error:  # onnxruntime raises a dozen unrelated classes
        raise _not_run(error, where) from error


def _not_run(error: Exception, where: str) -> CompileFault:
    return CompileFault(
        f"ONNX Runtime does not run the compiled graph: {' '.join(str(error).split())[:400]}",
        where=where,
        hint="please report the model and the method, or a part of them",
    )
