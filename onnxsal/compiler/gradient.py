"""A model's gradient as an ONNX file: from its inputs, and what comes back to its outputs, to both answers.

It knows no method and no target. The engine that runs it is ``onnxsal/engines/compiled.py``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import timeit
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from onnxsal import cache
from onnxsal.compiler import speed
from onnxsal.compiler.agreement import TRIES, Agreement
from onnxsal.compiler.beside import LARGEST_FILE
from onnxsal.compiler.compile import proto_of
from onnxsal.compiler.examples import TRACED_ROWS, open_rows, with_rows
from onnxsal.compiler.trace import trace
from onnxsal.compiler.twin import look_on_the_same_side
from onnxsal.device import CPU, providers_of
from onnxsal.engines.torch import TorchEngine
from onnxsal.errors import CompileFault, ParityError, UsageError
from onnxsal.importer.values import as_tensor, to_host
from onnxsal.model import Model, session_on, session_options
from onnxsal.parity import TOLERANCES, default_tolerance, distance
from onnxsal.types import Feeds, Port

BACK = "_back"
"""What follows an output's name in that of the input that takes what comes back to it."""

TOLERANCE = 1e-4
"""How far a compiled gradient may be from the torch engine's, as a part of its scale."""

KIND = "compiled"

TIMED = 3
"""How often each is run to find that out; the fastest counts."""

ROWS = TRACED_ROWS, TRACED_ROWS + 1
"""With how many rows an open batch is traced, and with how many it is proved."""


@dataclass(frozen=True)
class CompiledGradient:
    """A file that computes a gradient, proved against the torch engine.

    Args:
        path: Where it lies, in the cache.
        fixed: The dimensions it is fixed to, as text; empty where it takes whatever the model takes.
        speedup: How many times as fast as the torch engine it was when it was proved.
    """

    path: Path
    fixed: tuple[str, ...]
    speedup: float


def compiled_gradient(
    model: Model, explained: Sequence[str], wanted: Sequence[str], feeds: Feeds, device: str = CPU
) -> CompiledGradient:
    """Return the gradient's file from the cache, or make it and prove it.

    Args:
        model: The model.
        explained: The inputs it is taken by.
        wanted: The outputs it is taken of.
        feeds: Examples of all inputs.
        device: Where ONNX Runtime is to compute it, and it is proved.

    Raises:
        CompileFault: the gradient cannot be written as ONNX.
        ParityError: it is not what the torch engine says.
    """
    kept = kept_gradient(model, explained, wanted, feeds, device)
    if kept is not None:
        return kept
    _require_small(model)
    key = _key(model, explained, wanted, device)
    traced, others = _with_other_rows(model, feeds)
    proto, fixed = _compile(model, explained, wanted, traced)
    speedup = _prove(model, proto, explained, wanted, feeds if fixed else others, device)
    if device == CPU:
        speed.note(model, speedup)
    return _keep((*key, _shapes(feeds)) if fixed else key, proto, fixed, speedup)


def kept_gradient(
    model: Model, explained: Sequence[str], wanted: Sequence[str], feeds: Feeds, device: str = CPU
) -> CompiledGradient | None:
    """Return the gradient's file from the cache; None where there is none."""
    key = _key(model, explained, wanted, device)
    for exact in (key, (*key, _shapes(feeds))):
        kept = _kept(exact)
        if kept is not None and (not kept.fixed or exact is not key):
            return kept
    return None


def _require_small(model: Model) -> None:
    """Refuse a model whose weights a file in the cache could not hold."""
    weights = sum(array.nbytes for array in model.graph.constants.values())
    if weights > LARGEST_FILE:
        raise CompileFault(
            f"its weights take {weights / 1e9:.1f} GB, more than a file in the cache can hold",
            where=model.name,
            hint="use -e torch, or `onnxsal compile`, which lays weights beside the file",
        )


def _with_other_rows(model: Model, feeds: Feeds) -> tuple[Feeds, Feeds]:
    """Return the feeds with as many rows as an open batch is traced with, and with as many as it is proved with.

    They stay as they are where the model does not take other numbers of rows.
    """
    names = open_rows(model)
    arrays = {name: to_host(value) for name, value in feeds.items()}
    if not names or len({arrays[name].shape[0] for name in names}) != 1:
        return feeds, feeds
    varied = [{n: as_tensor(a) for n, a in with_rows(arrays, rows, names).items()} for rows in ROWS]
    try:
        with torch.no_grad():
            for some in varied:
                TorchEngine(model, "cpu").run(some)
    except Exception:  # whatever a model does with a batch it was not exported for
        return feeds, feeds
    return varied[0], varied[1]


def _key(model: Model, explained: Sequence[str], wanted: Sequence[str], device: str) -> tuple[str, ...]:
    return (model.sha256, ",".join(explained), ",".join(wanted), device, *speed.versions())


def _shapes(feeds: Feeds) -> str:
    return ";".join(f"{name}:{list(value.shape)}" for name, value in feeds.items())


def _file(key: tuple[str, ...]) -> Path:
    name = hashlib.sha256("\0".join(key).encode()).hexdigest()
    return cache.folder() / KIND / f"{name}.onnx"


def _kept(key: tuple[str, ...]) -> CompiledGradient | None:
    """Return what the cache holds under a key; a file that is not what was written counts as none."""
    known = cache.read(KIND, key)
    path = _file(key)
    try:
        if not known or _hash(path) != known["sha256"]:
            return None
        return CompiledGradient(path, tuple(known["fixed"]), float(known["speedup"]))
    except (OSError, KeyError, TypeError, ValueError):  # the entry says something else, or nothing
        return None


def _keep(key: tuple[str, ...], proto: onnx.ModelProto, fixed: Sequence[str], speedup: float) -> CompiledGradient:
    """Write a file into the cache whole, then what it is known by; another process may do the same at any moment."""
    path = _file(key)
    data = proto.SerializeToString()
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
        os.replace(name, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
    about = {"sha256": hashlib.sha256(data).hexdigest(), "fixed": list(fixed), "speedup": speedup}
    cache.write(KIND, key, about)
    return CompiledGradient(path, tuple(fixed), speedup)


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _compile(
    model: Model, explained: Sequence[str], wanted: Sequence[str], feeds: Feeds
) -> tuple[onnx.ModelProto, list[str]]:
    outputs = {port.name: port for port in model.outputs}
    with torch.no_grad():
        answers = TorchEngine(model, "cpu").run(feeds)
    backs = [_back_port(outputs[name], answers[name]) for name in wanted]
    values = dict(feeds) | {port.name: torch.ones_like(answers[n]) for port, n in zip(backs, wanted, strict=True)}

    def body(engine: TorchEngine, tensors: Feeds) -> Feeds:
        inputs = {port.name: tensors[port.name] for port in model.inputs}
        back = {name: tensors[f"{name}{BACK}"] for name in wanted}
        with torch.no_grad():
            engine.run(inputs)
        return engine.gradients(inputs, explained, lambda found: _sent(found, back), wanted)

    found = trace(model, [*model.inputs, *backs], values, body)
    return proto_of(model, found, None, "gradient", "_gradient"), found.fixed


def _back_port(output: Port, answer: Tensor) -> Port:
    rank = (None,) * answer.ndim
    return Port(f"{output.name}{BACK}", output.dtype, output.shape or rank)


def _sent(found: Feeds, back: Feeds) -> Tensor:
    """Return the outputs times what comes back to them, added up."""
    return torch.stack([(found[name] * back[name]).sum().to(torch.float32) for name in back]).sum().reshape(1)


def _prove(
    model: Model, proto: onnx.ModelProto, explained: Sequence[str], wanted: Sequence[str], feeds: Feeds, device: str
) -> float:
    """Compare with the torch engine and the original, for random numbers that come back; return the speed-up."""
    engine, session = TorchEngine(model, "cpu"), open_session(proto.SerializeToString(), device)
    agreements = {n: Agreement(max(TOLERANCE, TOLERANCES.get(_name(feeds[n].dtype), 0.0))) for n in explained}
    arrays = {name: to_host(value) for name, value in feeds.items()}
    for draw in range(TRIES):
        moved = with_rows(arrays, 0, explained, draw) if draw else arrays
        tensors = {name: as_tensor(array) for name, array in moved.items()}
        with torch.no_grad():
            answers = engine.run(tensors)
        generator = torch.Generator().manual_seed(draw)
        back = {n: torch.randn(answers[n].shape, generator=generator).to(answers[n].dtype) for n in wanted}
        got = run_session(session, tensors, back)
        for name in wanted:
            _require_near(name, got[name], answers[name], default_tolerance(model), device)
        expected = _expected(engine, tensors, explained, wanted, back)
        stacked = len({v.shape[:1] for v in (*expected.values(), *answers.values())}) == 1
        for name, value in expected.items():
            agreements[name].compare(to_host(got[f"{name}_gradient"]), to_host(value), stacked=stacked)
        if all(agreement.is_clear for agreement in agreements.values()):
            break
    else:
        if device == CPU:  # another processor may have faults of its own
            fed = {name: to_host(v) for name, v in (tensors | {f"{n}{BACK}": v for n, v in back.items()}).items()}
            named = {f"{name}_gradient": to_host(value) for name, value in expected.items()}
            look_on_the_same_side(proto, fed, named, {f"{name}_gradient": a for name, a in agreements.items()})
    for name, agreement in agreements.items():
        if not agreement.holds:
            raise _differs(f"{name}_gradient", max(agreement.examples), device)
    imported = _seconds(lambda: _expected(engine, tensors, explained, wanted, back))
    return imported / _seconds(lambda: run_session(session, tensors, back))


def _seconds(run: Callable[[], Any]) -> float:
    """Return what the fastest of some runs takes."""
    return min(timeit.repeat(run, repeat=TIMED, number=1))


def _expected(
    engine: TorchEngine, tensors: Feeds, explained: Sequence[str], wanted: Sequence[str], back: Feeds
) -> Feeds:
    return engine.gradients(tensors, explained, lambda found: _sent(found, back), list(wanted))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _require_near(name: str, got: Tensor, expected: Tensor, accepted: float, device: str) -> None:
    gap, scale = distance(to_host(got), to_host(expected))
    if not gap <= accepted * (scale or 1.0):
        raise _differs(name, gap / (scale or 1.0), device)


def _differs(name: str, gap: float, device: str) -> ParityError:
    return ParityError(
        f"{name!r} of the compiled gradient, computed on {device}, differs from torch's by {gap:.3g} of its scale",
        where="compiled gradient",
        hint="use -e torch",
    )


def open_session(source: bytes | str, device: str = CPU) -> Any:
    """Return an ONNX Runtime session over a compiled gradient."""
    try:
        return session_on(source, session_options(True), providers_of(device))
    except UsageError:
        raise
    except Exception as error:  # onnxruntime raises a dozen unrelated classes
        raise CompileFault(
            f"ONNX Runtime does not take the compiled gradient: {' '.join(str(error).split())[:300]}",
            hint="use -e torch",
        ) from error


def run_session(session: Any, feeds: Feeds, back: Mapping[str, Tensor]) -> Feeds:
    """Return the outputs and gradients by name."""
    arrays = {name: to_host(value) for name, value in feeds.items()}
    arrays |= {f"{name}{BACK}": np.ascontiguousarray(to_host(value)) for name, value in back.items()}
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, map(as_tensor, session.run(names, arrays)), strict=True))
