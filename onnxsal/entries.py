"""The frozen descriptors that hooks yield: what a plugin brings, by name.

A descriptor holds a plain function; its options are the function's keyword-only parameters, its help is the docstring.
Importing a plugin must stay cheap (``onnxsal list`` imports them all), so functions import torch or numpy as they run.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, NewType, get_args, get_origin, get_type_hints

from onnxsal.errors import UsageError, nearest

Baseline = NewType("Baseline", Any)  # type: ignore[valid-newtype]
"""Annotates a method's option that takes a baseline: the method is handed tensors shaped like the feeds.

The user gives a number, the name of a `BaselineMaker` ("zero", "blur:sigma=5"), a file, or arrays by input name.
"""

Baselines = NewType("Baselines", Any)  # type: ignore[valid-newtype]
"""Annotates a method's option that takes several baselines, over whose expectation it explains.

The user says what a `Baseline` may be; of a file or array every row is one baseline. The method is handed tensors of
shape [baselines, *feed's shape]: dim 0 counts the baselines, and each is shaped like the feeds. ``flatten(0, 1)`` makes
of them rows as `Score` takes them, beside as many copies of the feeds.
"""

ZERO = Baseline("zero")

InnerMethod = NewType("InnerMethod", Any)  # type: ignore[valid-newtype]
"""Annotates a method's option that takes another method: the method is handed ``inner(score, feeds) -> attributions``.

Its feeds are rows as a score takes them, k copies of the examples, each explained as if it had been fed. The user says
a name with or without options (``integrated_gradients:steps=20``), or a pair of a name and a mapping of options.
"""

Need = Literal["score", "layers", "gradient"]
"""What a method asks of an engine: the score alone, inner values too, or gradients too; each includes those before."""

Features = NewType("Features", Any)  # type: ignore[valid-newtype]
"""Annotates a method's option that says which elements are varied together, as one feature.

The user gives the name of a `MaskMaker` ("grid:16", "columns"), a file of labels, or arrays of labels by input name.
The method is handed whole numbers, the feature of each element, counted from 0 in every example: tensors shaped like
the feeds, but one long where the feature stays along an axis, also over the examples. A feature may span inputs.
"""

AUTO = Features("auto")


@dataclass(frozen=True)
class Option:
    """One keyword-only parameter of an entry's function."""

    name: str
    type: Any
    default: Any
    help: str

    @property
    def required(self) -> bool:
        """Whether the user has to give it."""
        return self.default is inspect.Parameter.empty

    @property
    def type_name(self) -> str:
        """The type as a user would say it."""
        if get_origin(self.type) is Literal:
            return "|".join(str(choice) for choice in get_args(self.type))
        if self.type in {Baseline, Baselines, Features}:
            return str(self.type.__name__).lower()
        if self.type is InnerMethod:
            return "method"
        return self.type.__name__ if isinstance(self.type, type) else str(self.type)

    def convert(self, value: Any) -> Any:
        """Turn a user's text into the option's type; other values pass.

        Raises:
            UsageError: the text does not say such a value.
        """
        if get_origin(self.type) is Literal:
            choices = get_args(self.type)
            if value not in choices:
                raise UsageError(
                    f"{value!r} is not a choice",
                    where=f"option {self.name}",
                    hint=nearest(str(value), map(str, choices)),
                )
            return value
        if not isinstance(value, str) or self.type in {Baseline, Baselines, Features, InnerMethod}:
            return value
        try:
            return _from_text(value, self.type)
        except ValueError as error:
            raise UsageError(
                f"{value!r} is not a value of type {self.type_name}",
                where=f"option {self.name}",
                hint=self.help or None,
            ) from error


def _from_text(text: str, kind: Any) -> Any:
    options = [k for k in get_args(kind) if k is not type(None)] if get_origin(kind) is not tuple else []
    if options and len(options) < len(get_args(kind)) and text.lower() in {"", "none"}:
        return None
    if options:
        kind = options[0]
    if kind is bool:
        words = {
            "true": True,
            "yes": True,
            "1": True,
            "on": True,
            "false": False,
            "no": False,
            "0": False,
            "off": False,
        }
        if text.lower() not in words:
            raise ValueError(text)
        return words[text.lower()]
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        return tuple(_from_text(part.strip(), inner) for part in text.split(",") if part.strip())
    return kind(text) if kind in {int, float, str} else text


@dataclass(frozen=True)
class Entry:
    """What every descriptor has: the name it is asked for by."""

    name: str

    details: ClassVar[frozenset[str]] = frozenset()
    """The fields that only the entry's own page tells, and no listing of its kind."""

    @property
    def function(self) -> Callable[..., Any] | None:
        """The function whose docstring and options describe the entry."""
        return None

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        doc = inspect.getdoc(self.function) if self.function else None
        return doc.split("\n")[0] if doc else ""

    @cached_property
    def options(self) -> dict[str, Option]:
        """The function's keyword-only parameters."""
        return options_of(self.function) if self.function else {}

    def check_options(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return the options with the user's texts converted and the defaults filled in.

        Raises:
            UsageError: an option is unknown, missing, or of the wrong type.
        """
        unknown = [name for name in given if name not in self.options]
        if unknown:
            raise UsageError(f"no option {unknown[0]!r}", where=self.name, hint=nearest(unknown[0], self.options))
        missing = [o.name for o in self.options.values() if o.required and o.name not in given]
        if missing:
            raise UsageError(f"needs option {missing[0]!r}", where=self.name, hint=f"add {missing[0]}=…")
        return {o.name: o.convert(given[o.name]) if o.name in given else o.default for o in self.options.values()}

    def options_in(self, text: str) -> dict[str, str]:
        """Return the options that ``key=value,key=value`` sets, or a ``value`` for the first; values may hold commas.

        Raises:
            UsageError: there are no options to set.
        """
        parts = re.split(r",(?=\w+=)", text) if text else []
        if parts and not re.match(r"\w+=", parts[0]):
            if not self.options:
                raise UsageError(f"takes no options, not {text!r}", where=self.name, hint=f"say {self.name} alone")
            parts[0] = f"{next(iter(self.options))}={parts[0]}"
        return dict(part.split("=", 1) for part in parts)  # type: ignore[misc]


def options_of(function: Callable[..., Any]) -> dict[str, Option]:
    """Return a function's keyword-only parameters as options, with the help of its docstring's ``Args``."""
    hints = get_type_hints(function, localns=_names_for_hints(function))
    helps = _argument_help(inspect.getdoc(function) or "")
    return {
        p.name: Option(p.name, hints.get(p.name, str), p.default, helps.get(p.name, ""))
        for p in inspect.signature(function).parameters.values()
        if p.kind is p.KEYWORD_ONLY
    }


class _Unknown(dict[str, Any]):
    """Names for type hints; one that exists only for the type checker becomes ``Any``."""

    def __missing__(self, name: str) -> Any:
        import builtins

        return getattr(builtins, name, Any)


def _names_for_hints(function: Callable[..., Any]) -> dict[str, Any]:
    return _Unknown(getattr(inspect.unwrap(function), "__globals__", {}))


def _argument_help(doc: str) -> dict[str, str]:
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", doc, re.MULTILINE)
    if not section:
        return {}
    items = re.findall(r"^    (\w+):[ ]*(.*(?:\n {8,}.*)*)", section.group(1), re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in items}


@dataclass(frozen=True)
class Method(Entry):
    """An attribution method: ``explain(score, feeds, *, …) -> feeds-shaped attributions``.

    ``complete`` promises that the attributions sum to the score minus the baseline's score; the pipeline checks, and
    refuses what misses that difference by more than ``tolerance``, a part of it. A tenth of that is worth a note.
    ``relevance`` says that the attributions share out the score itself, and may not be far larger than it.
    ``gradient`` is False for a method that takes no gradients; it then only calls the score, and runs on any engine,
    unless ``layers`` says that it looks at inner values (``score.layer``, ``score.at``, ``score.nodes``).
    ``through`` says that it explains a layer by ways that begin at the inputs: ``explain(score, feeds, layer, *, …)``
    sees the inputs, is handed the names of the layer's values, and returns attributions of those.
    ``ruled`` names the operators, or the family of rules, that it goes back by once from the call itself, which is then
    not run a second time for that.
    """

    explain: Callable[..., Any]
    complete: bool = False
    gradient: bool = True
    layers: bool = False
    tolerance: float = 0.5
    through: bool = False
    relevance: bool = False
    ruled: str | tuple[str, ...] = ()

    details: ClassVar[frozenset[str]] = frozenset({"gradient", "layers", "tolerance", "relevance", "ruled"})

    @property
    def needs(self) -> Need:
        """What the method asks of an engine: the score alone, inner values too, or gradients too."""
        return "gradient" if self.gradient else "layers" if self.layers else "score"

    @property
    def function(self) -> Callable[..., Any]:
        return self.explain


@dataclass(frozen=True)
class BaselineMaker(Entry):
    """A way to make a baseline: ``make(feeds, *, …) -> feeds-shaped tensors``.

    Where there are several, a leading axis counts them. One that draws random numbers says ``random`` and is handed a
    generator for each example besides: ``make(feeds, generators, *, …)``. One that makes ids, and not values of what
    they index, says ``of_input``.
    """

    make: Callable[..., Any]
    random: bool = False
    of_input: bool = False

    @property
    def function(self) -> Callable[..., Any]:
        return self.make


@dataclass(frozen=True)
class MaskMaker(Entry):
    """A way to cut inputs into features: ``make(feeds, *, …) -> labels``.

    Labels are whole numbers, any at all; elements with one label are one feature, in whatever input. They are shaped
    like the feeds, or one long where the label stays along an axis.
    """

    make: Callable[..., Any]

    @property
    def function(self) -> Callable[..., Any]:
        return self.make


@dataclass(frozen=True)
class Reader(Entry):
    """A way to read inputs: ``read(data, ports, *, …) -> {port name: Reading}``.

    ``data`` holds the file's bytes. ``ports`` are those to feed from it: the one the user named, or all that are still
    unfed; a file that holds one array refuses several. The options are the user's settings for inputs. A file is known
    by one of the ``suffixes``, or else by the ``signatures`` it may begin with, where ``?`` stands for any byte.
    """

    read: Callable[..., Any]
    suffixes: tuple[str, ...] = ()
    signatures: tuple[bytes, ...] = ()

    @property
    def function(self) -> Callable[..., Any]:
        return self.read


@dataclass(frozen=True)
class Format(Entry):
    """A way to write results: ``render(attribution, *, …) -> bytes``; ``text`` says that a terminal can show them."""

    render: Callable[..., bytes]
    suffix: str
    text: bool = False

    @property
    def function(self) -> Callable[..., Any]:
        return self.render


@dataclass(frozen=True)
class Device(Entry):
    """A kind of device: ``count()`` says how many there are now, ``describe(index)`` which.

    ``auto`` takes the present device of the highest ``preference``. ``provider`` is the execution provider by which
    ONNX Runtime computes there, and ``option`` the provider's option that what follows a colon sets (``cuda:1``);
    ``tensors`` says whether torch computes there too.
    """

    count: Callable[[], int]
    describe: Callable[[int], str]
    preference: int = 0
    provider: str = ""
    option: str = ""
    tensors: bool = True

    @property
    def function(self) -> Callable[..., Any]:
        return self.describe


@dataclass(frozen=True)
class Engine(Entry):
    """What stands behind a score: ``open(model, device) -> engine`` with ``run`` and perhaps ``gradients``.

    ``gradient`` says that it gives gradients and sees inner values; one that does not runs the original file.
    ``providers`` says that it computes in ONNX Runtime: its devices are execution providers, and what it is handed
    lies on the CPU. ``faster(model) -> engine | None`` opens it for gradients on a CPU where it is known, from an
    earlier run, to be faster than the imported graph, with nothing to be prepared first.
    """

    open: Callable[..., Any]
    gradient: bool = True
    providers: bool = False
    faster: Callable[..., Any] | None = None

    def serves(self, need: Need) -> bool:
        """Say whether the engine gives what a method needs."""
        return self.gradient or need == "score"

    @property
    def function(self) -> Callable[..., Any]:
        return self.open


@dataclass(frozen=True)
class Metric(Entry):
    """A measure of an explanation: ``measure(explanation, *, …) -> Tensor [examples]``; NaN where it has no answer.

    ``explanation`` is an `onnxsal.types.Explanation`. ``higher_is_better`` says which way methods are ranked;
    ``needs_region`` that somebody has to mark a part of the input.
    """

    measure: Callable[..., Any]
    higher_is_better: bool
    needs_region: bool = False

    @property
    def function(self) -> Callable[..., Any]:
        return self.measure


@dataclass(frozen=True)
class Executor(Entry):
    """A way to run many requests: ``run(requests, work, *, …)`` yields results in order."""

    run: Callable[..., Any]

    @property
    def function(self) -> Callable[..., Any]:
        return self.run


@dataclass(frozen=True)
class Operators(Entry):
    """A module of functions declared with `onnxsal.op`; imported only when a model is."""

    module: str


@dataclass(frozen=True)
class Rules(Entry):
    """Ways back through operators for a family of methods: ``rule(call, gradient) -> gradients``.

    ``rules`` goes by operator, ``domain.Name`` for other domains than the standard one. None says that the plain
    gradient is exact for the family. A rule is handed an `onnxsal.types.Call` and what comes back to the node, and
    returns what goes back to each of ``call.inputs``. Rules of a plugin go before ours.
    """

    family: str
    rules: Mapping[str, Callable[..., Any] | None]

    details: ClassVar[frozenset[str]] = frozenset({"rules"})

    @property
    def summary(self) -> str:
        """The family, and how many operators there are rules for."""
        return f"{self.family}: {len(self.rules)} operators"


@dataclass(frozen=True)
class Preset(Entry):
    """Named settings for a reader: how pictures were prepared for a family of models."""

    settings: dict[str, Any]
    about: str = ""

    @property
    def summary(self) -> str:
        """What the preset is for, in one line."""
        return self.about
