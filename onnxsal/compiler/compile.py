"""Compile a method and a model into one ONNX file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper
from torch import Tensor

from onnxsal.batching import batched_inputs, counts_examples
from onnxsal.compiler.assemble import assemble, names_of
from onnxsal.compiler.beside import Beside
from onnxsal.compiler.check import check
from onnxsal.compiler.draws import KINDS, Counted, Draws, drawing_graph
from onnxsal.compiler.examples import TRACED_ROWS, examples_for, open_rows, with_rows
from onnxsal.compiler.fixed import with_fixed
from onnxsal.compiler.recipe import Recipe
from onnxsal.compiler.target import TARGET_INPUT, GraphTarget, graph_target
from onnxsal.compiler.trace import Trace, rehearse, trace
from onnxsal.engines.torch import TorchEngine
from onnxsal.errors import CompileFault, InputError, OutputError, UsageError, nearest
from onnxsal.importer.values import as_tensor
from onnxsal.labels import labels_of
from onnxsal.model import Model, load
from onnxsal.options import Choice, choose
from onnxsal.score import BoundScore
from onnxsal.target import output_of
from onnxsal.types import Feeds, Target, TargetSpec

LOWEST_OPSET = 17
"""The first opset with everything a compiled file is made of."""

CHECKS = {
    "input": "attributions compared with the torch engine's on the same random numbers",
    "fresh": "attributions compared with the torch engine's on the numbers that the graph drew; mean and variance of "
    "those; two runs differ",
}
"""What was looked at in a file whose random numbers are not settled."""


@dataclass(frozen=True)
class CompiledModel:
    """A model that answers and explains itself.

    Args:
        proto: The ONNX model: the original's outputs, then ``<input name>_attribution`` for each explained input.
        facts: What it was made from, and how it was checked; also in the model's metadata.
        beside: The weights that ``proto`` only names, because they are written beside the file.
    """

    proto: onnx.ModelProto
    facts: Mapping[str, Any] = field(default_factory=dict)
    beside: Beside = field(default_factory=Beside)

    @property
    def inputs(self) -> list[str]:
        """The names of the inputs."""
        return [value.name for value in self.proto.graph.input]

    @property
    def outputs(self) -> list[str]:
        """The names of the outputs."""
        return [value.name for value in self.proto.graph.output]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the file, whole or not at all; weights that it cannot hold go into ``<name>.data`` beside it.

        Raises:
            OutputError: it cannot be written.
        """
        target = Path(path)
        data = target.with_name(f"{target.name}.data")
        parts = {file: file.with_name(f".{file.name}.{os.getpid()}.part") for file in (data, target)}
        try:
            proto = self.proto
            if self.beside.arrays:
                with parts[data].open("wb") as stream:
                    proto = self.beside.write(stream, data.name, proto)
            parts[target].write_bytes(proto.SerializeToString())
            for file, part in parts.items():
                if part.exists():
                    os.replace(part, file)
        except OSError as error:
            raise OutputError(
                f"cannot be written: {error.strerror or error}", where=str(target), hint="check the folder, or -o"
            ) from error
        finally:
            for part in parts.values():
                part.unlink(missing_ok=True)
        return target

    def __repr__(self) -> str:
        return f"<CompiledModel {', '.join(self.inputs)} -> {', '.join(self.outputs)}>"


def compile(
    model: Model | str | Any,
    *,
    method: str = "saliency",
    target: TargetSpec = None,
    target_input: bool = False,
    inputs: Sequence[str] | None = None,
    fixed: Mapping[str, Any] | None = None,
    feeds: Mapping[str, Any] | None = None,
    opset: int | None = None,
    draws: Draws = "constant",
    external_data: bool | None = None,
    seed: int = 0,
    tolerance: float = 1e-4,
    **options: Any,
) -> CompiledModel:
    """Write an attribution as an ONNX model, which plain ONNX Runtime runs without torch or onnxsal.

    Args:
        model: A `Model`, or what `onnxsal.load` takes.
        method: The name of an attribution method.
        target: The explained number, as for `onnxsal.explain`: one index for all examples, or ``"argmax"``.
        target_input: Whether the file takes the target as one more input, ``target``: int64 [examples], or
            [examples, axes] where an output has several axes. ``target`` may then name the output.
        inputs: Names of the inputs to explain; None means every floating-point one.
        fixed: Numbers by input name that the file holds, and no longer takes: what decides which branch of an ``If`` is
            run, a sampling rate.
        feeds: Arrays by input name to trace and check with, for models that do not take any numbers; drawn where None.
        opset: The file's opset; the model's own where None, at least 17.
        draws: Where the random numbers of the method come from: ``"constant"`` settles them now, alike for every
            example; ``"input"`` takes them at run time, as inputs ``<input>_noise`` (standard normal, [examples,
            draws, *the input's]) and ``uniform_draws`` ([examples, draws]); ``"fresh"`` lets the graph draw them anew
            at every run.
        external_data: Whether the weights are written beside the file, into ``<name>.data``; where None, they are if
            the file could not hold them, from 2 GB on.
        seed: Seeds constant draws.
        tolerance: How far the file may be from the torch engine, as a part of the attribution's scale.
        **options: The method's own options.

    Raises:
        UsageError: an unknown method, option or target; or random numbers where the method draws none.
        CompileFault: something of method or model cannot be written as ONNX.
        ParityError: the file does not answer what the model and the torch engine answer.
    """
    deployed = model if isinstance(model, Model) else load(model)
    model = with_fixed(deployed, fixed or {})
    feeds = None if feeds is None else {name: value for name, value in feeds.items() if name not in (fixed or {})}
    choice = choose(method, options)
    if choice.method.through:
        raise CompileFault(
            f"{method} explains a layer, and a compiled file explains inputs",
            where="method",
            hint="use `onnxsal explain --layer`, or compile another method",
        )
    explained = explained_inputs(model, inputs)
    arrays = examples_for(model, feeds)
    recipe = replace(_recipe(model, choice, explained, arrays, target, target_input), seed=seed)
    arrays = _traced_feeds(model, recipe, arrays)
    recipe, also_settled = _with_draws(recipe, draws, arrays)
    found = trace(model, recipe.ports, _tensors(recipe, arrays), recipe.run)
    beside = Beside(external_data)
    proto = proto_of(model, found, opset, method, "_attribution", beside)
    taking = None
    if draws == "fresh":
        taking, proto = proto, onnx.ModelProto.FromString(proto.SerializeToString())
        graph = drawing_graph(proto.graph, recipe.drawings, recipe.explained[0], stacked=recipe.stacked)
        proto.graph.CopyFrom(graph)
    facts = _facts(deployed, recipe, found) | {
        "fixed_inputs": _plain(fixed or {}),
        "draws": _draws_facts(recipe, draws, also_settled),
    }
    facts["checked"] = check(
        model, proto, beside, recipe, arrays, tolerance=tolerance, settled=bool(found.fixed), taking=taking
    )
    _describe(proto, model, facts)
    return CompiledModel(proto, facts, beside)


def explained_inputs(model: Model, wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Return the inputs that are explained.

    Raises:
        InputError: no such input, or none with a gradient.
    """
    floats = tuple(port.name for port in model.inputs if port.is_float)
    for name in wanted or ():
        if name not in floats:
            raise InputError(f"no floating-point input {name!r}", where=model.name, hint=nearest(name, floats))
    chosen = tuple(wanted or floats)
    if not chosen:
        raise InputError("no floating-point input to explain", where=model.name, hint="see `onnxsal inspect`")
    return chosen


def _recipe(
    model: Model,
    choice: Choice,
    explained: tuple[str, ...],
    arrays: Mapping[str, np.ndarray],
    target: TargetSpec,
    target_input: bool,
) -> Recipe:
    tensors = {name: as_tensor(array) for name, array in arrays.items()}
    engine = TorchEngine(model, "cpu")
    with torch.no_grad():
        outputs = engine.run(tensors)
    stacked = counts_examples(tensors, explained, outputs[output_of(target, outputs)])
    examples = tensors[explained[0]].shape[0] if stacked else 1
    batched = batched_inputs(model.inputs, tensors, explained) if stacked else frozenset()
    number = graph_target(
        target, outputs, examples, stacked=stacked, is_fed=target_input, labels=labels_of(model.metadata)
    )
    return Recipe(
        model,
        choice,
        explained,
        number,
        stacked,
        batched,
        together=_takes_any_rows(engine, tensors, explained, outputs, number, stacked, batched),
    )


def _with_draws(recipe: Recipe, draws: Draws, arrays: Mapping[str, np.ndarray]) -> tuple[Recipe, bool]:
    """Return the recipe with random numbers that are not settled, and whether others still are.

    Raises:
        UsageError: the method draws nothing, or nothing but what has to be settled.
    """
    if draws not in KINDS:
        raise UsageError(f"no way {draws!r} to draw", where="--draws", hint=nearest(draws, KINDS))
    if draws == "constant":
        return recipe, False
    tensors = _tensors(recipe, arrays)
    counted: list[Counted] = []

    def body(engine: TorchEngine, fakes: Feeds) -> Feeds:
        counted.append(Counted(fakes[recipe.explained[0]].shape[0] if recipe.stacked else 1))
        return recipe.run(engine, fakes, counted[-1])

    rehearse(recipe.model, recipe.ports, tensors, body)
    if not counted[-1].wanted:
        name = recipe.choice.method.name
        settles = f"what {name} draws decides its masks or baselines, which stand in the file"
        raise UsageError(
            settles if counted[-1].settles else f"{name} draws no random numbers",
            where="--draws",
            hint=f"leave --draws {draws} out",
        )
    taken = {port.name for port in (*recipe.ports, *recipe.model.outputs)} | names_of(recipe.model.graph)
    return replace(recipe, drawings=counted[-1].drawings(taken)), counted[-1].settles


def _draws_facts(recipe: Recipe, draws: Draws, also_settled: bool) -> dict[str, Any]:
    """Return where random numbers come from, and how a file that settles none was checked."""
    if draws == "constant":
        return {"from": draws}
    values = {d.name: {"distribution": d.distribution, "of": d.of, "count": d.count} for d in recipe.drawings}
    return {"from": draws, "values": values, "also_constant": also_settled, "check": CHECKS[draws]}


def _takes_any_rows(
    engine: TorchEngine,
    tensors: Feeds,
    explained: tuple[str, ...],
    outputs: Feeds,
    target: GraphTarget,
    stacked: bool,
    batched: frozenset[str],
) -> bool:
    """Say whether the model takes other numbers of examples, and answers each as if it were alone."""
    if not stacked:
        return False
    output = outputs[target.output]
    somewhere = Target(target.output, (0,) * (output.ndim - 1))
    score = BoundScore(engine, tensors, explained, [somewhere] * output.shape[0], stacked=stacked, batched=batched)
    return score.rows_allowed() is None


def _traced_feeds(model: Model, recipe: Recipe, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the feeds with as many examples as an open batch is traced with."""
    rows = open_rows(model)
    varying = [name for name in (*recipe.explained, *sorted(recipe.batched)) if name in rows]
    if not recipe.together or not varying:
        return dict(arrays)
    return with_rows(arrays, TRACED_ROWS, varying)


def _tensors(recipe: Recipe, arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Return the traced inputs: the feeds, and some target where it comes in at run time."""
    tensors = {name: as_tensor(array) for name, array in arrays.items()}
    if recipe.target.is_fed:
        axes = next(port.shape for port in recipe.ports if port.name == TARGET_INPUT) or ()
        examples = tensors[recipe.explained[0]].shape[0] if recipe.stacked else 1
        tensors[TARGET_INPUT] = torch.zeros([examples, *(int(size or 0) for size in axes[1:])], dtype=torch.int64)
    for d in recipe.drawings:
        like = arrays[d.of or recipe.explained[0]]
        tensors[d.name] = as_tensor(d.numbers(like, (0, 0), stacked=recipe.stacked))
    return tensors


def proto_of(
    model: Model, found: Trace, opset: int | None, method: str, suffix: str, beside: Beside | None = None
) -> onnx.ModelProto:
    """Return a trace as an ONNX model; ``beside`` takes the weights that it does not hold."""
    opset = opset or max(model.opset.get("", 1), LOWEST_OPSET)
    if opset < LOWEST_OPSET:
        raise UsageError(f"opset {opset} is too low", where="--opset", hint=f"{LOWEST_OPSET} is the lowest")
    graph = assemble(model.graph, found, opset, method, suffix, beside)
    domains = {node.domain for node in graph.node} - {""}
    imports = [
        helper.make_opsetid("", opset),
        *(helper.make_opsetid(d, model.opset.get(d, 1)) for d in sorted(domains)),
    ]
    proto = helper.make_model(graph, opset_imports=imports, producer_name="onnxsal")
    proto.ir_version = helper.find_min_ir_version_for(imports)
    return proto


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: np.asarray(value).tolist() for name, value in values.items()}


def _facts(model: Model, recipe: Recipe, found: Trace) -> dict[str, Any]:
    import onnxsal

    choice = recipe.choice
    return {
        "model": model.name,
        "model_sha256": model.sha256,
        "method": choice.method.name,
        "options": json.loads(json.dumps(choice.facts, default=str)),
        "target": str(recipe.target),
        "explained": list(recipe.explained),
        "seed": recipe.seed,
        "fixed": found.fixed,
        "versions": {
            "onnxsal": onnxsal.__version__,
            "torch": torch.__version__,
            choice.provider.distribution: choice.provider.version,
        },
    }


def _describe(proto: onnx.ModelProto, model: Model, facts: Mapping[str, Any]) -> None:
    """Write what the file was made from into its metadata, beside what the original's said."""
    import onnxsal

    proto.producer_version = onnxsal.__version__
    for key, value in {**model.metadata, "onnxsal": json.dumps(facts, ensure_ascii=False)}.items():
        proto.metadata_props.add(key=key, value=value)
