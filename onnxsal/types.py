"""The nouns: what is explained, what was asked, what came out.

This module imports no numpy at run time, so that listing commands stay light.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from torch import Generator, Tensor

Dim: TypeAlias = "int | str | None"
"""A dimension: fixed, named by a symbol, or unknown."""

Feeds: TypeAlias = "dict[str, Tensor]"
"""Inputs by their ONNX names; dim 0 counts the examples."""

Quantized: TypeAlias = Literal["ste", "float"]
"""How a quantised model is read: as deployed, with gradients straight through the rounding, or without rounding."""

Precision: TypeAlias = Literal["native", "float32"]
"""Whether float16 and bfloat16 stay, or are raised to float32."""

Result = TypeVar("Result")

SCHEMA = 1
"""The version of the metadata that formats write."""


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a model: name, element type and shape.

    ``dtype`` is a numpy name ("float32", "int64", "string") or a container ("sequence(float32)"). ``shape`` is None
    where the rank is not declared.
    """

    name: str
    dtype: str
    shape: tuple[Dim, ...] | None

    @property
    def is_float(self) -> bool:
        """Whether the port carries floating-point numbers, the only ones with a gradient."""
        return self.dtype in {"float16", "float32", "float64", "bfloat16"}

    @property
    def is_number(self) -> bool:
        """Whether the port carries numbers or truth values that a method may vary."""
        return self.is_float or self.dtype == "bool" or self.dtype.startswith(("int", "uint"))

    def __str__(self) -> str:
        dims = "?" if self.shape is None else ", ".join("?" if d is None else str(d) for d in self.shape)
        return f"{self.name}: {self.dtype}[{dims}]"


Rules: TypeAlias = Any
"""Backward rules: a mapping from operator name to rule, a function from ONNX node to rule, or None.

A rule is ``rule(call, gradient) -> gradients``: what goes back to each tensor among a node's inputs, from what the node
was called with (a `Call`) and what comes back to it.
"""


class Call(Protocol):
    """One node of the graph, called: what a backward rule is handed.

    ``inputs`` are the tensors among the node's inputs, at these ``places``; ``constant`` says of each whether it is the
    same whatever the model is fed. Constants that a native layer holds are ``weights``, by place. ``reference`` is the
    same call in the reference run, where there was one; ``sources`` are the calls with a rule that made the inputs.
    Rules run from the output to the inputs: one may leave something in the ``memo`` of a source for the rule there.
    """

    node: Any
    function: Callable[..., Any]
    inputs: tuple[Tensor, ...]
    output: Any
    reference: Any
    constant: tuple[bool, ...]
    places: tuple[int, ...]
    weights: Mapping[int, Tensor]
    sources: tuple[Any, ...]
    memo: dict[str, Any]

    def vjp(self, gradient: Any, inputs: Sequence[Tensor] | None = None) -> tuple[Tensor, ...]:
        """Return the ordinary gradients by every input, at the call's own inputs or at others."""

    def with_constants(self, change: Callable[[int, Tensor], Tensor]) -> Call:
        """Return the call with other constants: ``change(place, constant)``."""

    def real(self) -> Any:
        """Return the call on real numbers that one of a quantised operator stands for.

        It has ``operands`` beside: what each of its inputs is made of; ``step`` and ``bounds``, where the result is
        rounded: what one step is worth, and the smallest and largest real number it can stand for.
        """


class Layer(Protocol):
    """Inner values of the graph: what they are for some feeds, and how the score moves with them."""

    names: tuple[str, ...]

    def activations(self, feeds: Feeds) -> Feeds:
        """Return the values for every row of the feeds, by ONNX name."""

    def gradients(
        self, feeds: Feeds, *, rules: Rules = None, reference: Feeds | None = None, relevance: bool = False
    ) -> Feeds:
        """Return the derivative of every row's score by the values."""


class Neuron(Protocol):
    """A number inside the graph: what it is for some feeds, and how the score moves with it.

    ``score`` is the number itself as a function of the same inputs.
    """

    @property
    def score(self) -> Score:
        """The number as a function of the inputs."""

    def pulls(self, feeds: Feeds) -> Tensor:
        """Return the derivative of every row's score by the number, shape [rows]."""


class Forest(Protocol):
    """Decision trees as flat arrays: an entry for each place, a branch or a leaf; a leaf leads to itself."""

    features: Tensor
    true: Tensor
    false: Tensor
    roots: Tensor

    def turns(self, x: Tensor) -> Tensor:
        """Return whether each row would turn to the true side at each place, shape [rows, places]."""


class Trees(Protocol):
    """The trees of one ONNX node, and how its last output comes of their leaves.

    ``added`` is what the leaf at each place adds to each number of the output, [places, numbers]; ``transform`` what is
    done to the sums, "NONE" if nothing, and None where the numbers are no sums.
    """

    @property
    def node(self) -> Any:
        """The node (`onnxsal.importer.graph.Node`)."""

    @property
    def forest(self) -> Forest:
        """The trees."""

    @property
    def added(self) -> Tensor:
        """What leaves add."""

    @property
    def transform(self) -> str | None:
        """What is done to the sums."""


class Score(Protocol):
    """The explained number as a function of the inputs: all that a method sees of the model.

    Feeds hold the inputs that are explained; every other input is fixed. Rows may be stacked: with N examples, feeds
    of k times N rows are k copies of the examples one after the other, and row r is answered for example r mod N.
    """

    @property
    def feeds(self) -> Feeds:
        """The explained inputs as they were fed, one row per example."""

    @property
    def nodes(self) -> Sequence[Any]:
        """The ONNX nodes between the explained values and the score, in order (`onnxsal.importer.graph.Node`)."""

    @property
    def trees(self) -> Sequence[Trees]:
        """The decision trees among these nodes, one entry a node."""

    def __call__(self, feeds: Feeds) -> Tensor:
        """Return the score of every row, shape [rows]."""

    def gradients(
        self, feeds: Feeds, *, rules: Rules = None, reference: Feeds | None = None, relevance: bool = False
    ) -> Feeds:
        """Return the derivative of every row's score by its own feeds, shaped like the feeds.

        ``rules`` change the way back through some operators; ``reference`` are as many rows, for rules that compare.
        With ``relevance`` the output sends back its share of the score instead of the score's slope.
        """

    def rules(self, family: str) -> dict[str, Any]:
        """Return the rules for a family of methods by operator; None where the plain gradient is exact."""

    def note(self, text: str) -> None:
        """Note what somebody who relies on the result has to know; notes come with the result."""

    def layer(self, *names: str) -> Layer:
        """Return what happens at inner values, named as in the ONNX file, or by the node that makes them."""

    def neuron(self, said: str) -> Neuron:
        """Return a number inside the graph, said like a target: ``conv1[3,5,5]``."""

    def at(self, *names: str) -> Score:
        """Return the score as a function of inner values, for methods that then explain those; inputs stay fixed."""

    def with_feeds(self, feeds: Feeds) -> Score:
        """Return the score of other examples: of each row of the feeds, which stand in the place of this score's."""

    def constant(self, name: str) -> Tensor | None:
        """Return the constant of an ONNX name, None where the name is of something computed or fed."""

    def normal(self, feeds: Feeds, draw: int = 0) -> Feeds:
        """Return standard normal noise shaped like the feeds.

        The noise of an example depends on the seed, its own values and ``draw`` alone, not on the batch around it.
        """

    def uniform(self, feeds: Feeds, count: int, draw: int = 0) -> Tensor:
        """Return ``count`` numbers from 0 up to 1 for each row, shape [rows, count], float64 on the CPU.

        Like ``normal``, it depends on the seed, the row's own values and ``draw`` alone; ask once for each ``draw``.
        """

    def generators(self, feeds: Feeds, draw: int = 0) -> list[Generator]:
        """Return a source of random numbers for each row, on the CPU; what it gives depends on what ``normal`` does."""

    def once(self, work: Callable[[], Result]) -> Result:
        """Return what the work gives, done now even where a method is only traced: tables that no input decides."""

    def generator(self, draw: int = 0) -> Generator:
        """Return a source of random numbers for what all rows share, on the CPU; it depends on seed and draw alone."""


class Explanation(Protocol):
    """An explanation under examination: all that a metric sees of it. Dim 0 counts the examples."""

    @property
    def score(self) -> Score:
        """The explained number as a function of the explained inputs."""

    @property
    def feeds(self) -> Feeds:
        """The explained inputs."""

    @property
    def values(self) -> Feeds:
        """The attributions, shaped like the feeds."""

    @property
    def channels(self) -> Mapping[str, tuple[int, ...]]:
        """The axes of each feed along which all numbers stand at one place: a pixel's colours, a token's embedding."""

    @property
    def baselines(self) -> Feeds | None:
        """What the method explains against, shape [baselines, *feed's shape]; None where it takes no baseline."""

    @property
    def region(self) -> Feeds:
        """What somebody marked in the inputs, as truth values shaped like the feeds; for metrics that need a region."""

    def again(self, feeds: Feeds) -> Feeds:
        """Return the attributions of k copies of the examples that have other values."""

    def of_other_targets(self) -> Feeds:
        """Return the attributions of another class for each example, drawn by the example's seed.

        Raises:
            UsageError: the output has no other class.
        """

    def with_random_weights(self, stages: int) -> Iterator[Feeds]:
        """Yield the attributions of the model with more and more of its weights shuffled, from the output back.

        Raises:
            UsageError: the model has no weights.
        """


@dataclass(frozen=True)
class Reading:
    """One input as a reader found it.

    ``array`` fits the port. ``picture`` is what a person would see of it: RGB bytes of shape [N, height, width, 3], as
    the model sees it after resizing and cropping.
    """

    array: np.ndarray
    picture: np.ndarray | None = None


@dataclass(frozen=True)
class Target:
    """The explained number, resolved for one example: an output, an index into it, and what is done with the rest.

    Args:
        output: The ONNX name of the output, or of an inner value.
        index: Whole numbers and slices, the batch axis left out.
        reduction: What is made of the numbers that the index leaves where it leaves more than one: "sum", "mean",
            "max", "min", "prod"; "region" and "over" sum those that a mask shows; "cosine" compares with a reference.
        label: The class's name where one is known.
        operand: The mask or the reference, shaped like the numbers that the index leaves.
        argument: The file that the operand came from.
        minus: The target whose number is taken away.
    """

    output: str
    index: tuple[int | slice, ...] = ()
    reduction: str | None = None
    label: str | None = None
    operand: np.ndarray | None = field(default=None, compare=False, repr=False)
    argument: str = ""
    minus: Target | None = None

    def __str__(self) -> str:
        index = ",".join(_slice_text(i) if isinstance(i, slice) else str(i) for i in self.index)
        reduction = f".{self.reduction}({self.argument})" if self.reduction else ""
        number = f"{self.output}[{index}]{reduction}" if self.index else f"{self.output}{reduction}"
        return f"{number} - {self.minus}" if self.minus else number

    @property
    def caption(self) -> str:
        """The target as a person reads it, the class's name first where one is known."""
        name = _name_of(self)
        return f"{name} · {self}" if name else str(self)


def _name_of(target: Target) -> str | None:
    """Return what a person calls the target; None where no class of it has a name."""
    if target.minus is None or target.label is None:
        return target.label
    return f"{target.label} rather than {_name_of(target.minus) or target.minus}"


def _slice_text(part: slice) -> str:
    bounds = ["" if bound is None else str(bound) for bound in (part.start, part.stop)]
    return ":".join(bounds) + (f":{part.step}" if part.step not in {None, 1} else "")


TargetSpec: TypeAlias = "int | str | tuple[int, ...] | Target | Sequence[int | str | tuple[int, ...] | Target] | None"
"""What a user may say: an index, an expression, a tuple of indices, a target; or a list of these, one per example."""


@dataclass(frozen=True)
class Request:
    """Everything that decides an explanation, as the user asked for it."""

    method: str = "saliency"
    options: Mapping[str, Any] = field(default_factory=dict)
    target: TargetSpec = None
    device: str = "auto"
    engine: str = "auto"
    seed: int = 0
    batch_size: int | None = None
    """How many rows the engine is given at a time; None leaves it to the engine."""
    inputs: Sequence[str] | None = None
    """The inputs to explain; None means every floating-point one."""
    layer: Sequence[str] | None = None
    """Values inside the graph, or the nodes that make them, to explain in place of the inputs."""
    neuron: str | None = None
    """An expression like a target's, of a value inside the graph, to explain in place of an output."""
    keep_tokens: Sequence[int] = ()
    """Ids of tokens that stay as they are and get nothing."""
    verify: bool = True
    tolerance: float | None = None
    """The largest accepted distance from ONNX Runtime, as a part of the output's scale; None: by the model's type."""
    allow_nan: bool = False
    """Whether inputs may hold NaN and infinities."""
    pre_softmax: bool = False
    """Whether to explain the numbers before an output's final softmax in its place."""
    quantized: Quantized = "ste"
    precision: Precision = "native"
    completeness_tolerance: float | None = None
    """How far the attributions may miss the score's difference, as a part of it; None: by the method."""


@dataclass(frozen=True)
class Provenance:
    """What it takes to make a result again, and to defend it."""

    model: str
    model_sha256: str
    inputs_sha256: Mapping[str, str]
    opset: Mapping[str, int]
    producer: str
    engine: str
    device: str
    dtype: Mapping[str, str]
    seed: int
    versions: Mapping[str, str]
    seconds: float
    notes: Sequence[str] = ()
    quantized: Quantized | None = None
    """How a quantised model was read; None where it is not quantised, or not read but run as it is."""
    precision: Precision | None = None
    """Whether a model in half precision was raised; None where it is in none, or not read but run as it is."""


@dataclass(frozen=True)
class Attribution:
    """An explanation: how much each part of each input speaks for the explained number.

    Args:
        values: One array per explained input under its ONNX name, shaped like that input.
        inputs: The inputs as they were fed.
        score: The explained number per example, shape [examples].
        target: What the number is, per example.
        method: The method's name.
        options: The method's options, defaults included.
        completeness: Sum of the attributions minus (score - baseline's score), per example, where that should be 0.
        parity: How far the imported graph is from ONNX Runtime, per output.
        provenance: What it takes to make the result again.
        pictures: What a person would see of an input, where its reader knew: RGB bytes [N, height, width, 3].
        others: The explanations of the other targets where several were asked for (``top3``).
        features: The names of a table's columns, where the model's metadata carry them.
        layer: The values inside the graph that are explained, where it is not the inputs; their values are then among
            the inputs.
        neuron: What was explained in place of an output, as it was said.
    """

    values: Mapping[str, np.ndarray]
    inputs: Mapping[str, np.ndarray]
    score: np.ndarray
    target: Sequence[Target]
    method: str
    options: Mapping[str, Any]
    provenance: Provenance
    completeness: np.ndarray | None = None
    parity: Mapping[str, Any] | None = None
    pictures: Mapping[str, np.ndarray] = field(default_factory=dict)
    others: Sequence[Attribution] = ()
    features: Sequence[str] = ()
    layer: Sequence[str] = ()
    neuron: str | None = None

    @property
    def ranked(self) -> tuple[Attribution, ...]:
        """This explanation and those of the other targets that were asked for, highest score first."""
        return (self, *self.others)

    @property
    def meta(self) -> dict[str, Any]:
        """All facts but the arrays, as plain JSON values."""
        return {
            "schema": SCHEMA,
            "method": self.method,
            "options": plain(self.options),
            "target": [str(t) for t in self.target],
            "label": [t.label for t in self.target],
            "layer": list(self.layer) or None,
            "neuron": self.neuron,
            "score": plain(self.score),
            "completeness": plain(self.completeness),
            "parity": plain(self.parity),
            "provenance": plain(dataclasses.asdict(self.provenance)),
        }

    def save(self, path: str | Path, format: str | None = None, **options: Any) -> Path:
        """Write the explanation in a format (by default the one the suffix says), whole or not at all.

        Raises:
            UsageError: no such format.
            OutputError: the file cannot be written.
        """
        import onnxsal

        return onnxsal.save(self, path, format, **options)

    @staticmethod
    def load(path: str | Path) -> Attribution:
        """Read an explanation back from ``.npz``, ``.json`` or ``.safetensors``."""
        import onnxsal

        return onnxsal.load_attribution(path)

    def plot(self, **options: Any) -> Any:
        """Return the picture that the png format writes, as a PIL image."""
        import onnxsal

        return onnxsal.plot(self, **options)

    def _repr_png_(self) -> bytes:
        import onnxsal

        return onnxsal.render(self, "png")

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in self.values.items())
        targets = ", ".join(str(t) for t in self.target[:3]) + (", …" if len(self.target) > 3 else "")
        return f"<Attribution {self.method} of {targets}: {shapes}>"


def plain(value: Any) -> Any:
    """Return the value as JSON can hold it; what JSON has no word for becomes text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
