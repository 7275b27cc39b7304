"""From what the user says to one `Target` per example."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from onnxsal.errors import UsageError, nearest
from onnxsal.importer.values import to_host
from onnxsal.target.detection import find_box
from onnxsal.target.operands import class_axis, mask_from, reference_from, region, widest_class
from onnxsal.target.suppression import Suppression
from onnxsal.target.value import REDUCE
from onnxsal.types import Feeds, Target, TargetSpec

if TYPE_CHECKING:
    from torch import Tensor

Part: TypeAlias = "int | slice | str"
"""One axis of an index as it was said: a number, a range, or a word for a rank."""

RANKS = {"argmax": 0, "runnerup": 1}
"""The words for an index that the answer itself decides, and which of the highest each means."""

FORMS = "an index, output[index], argmax, top3, label:NAME, box:X1,Y1,X2,Y2, or the difference of two (3 - 5)"
WITH_FILE = {"over": mask_from, "cosine": reference_from}
EXPRESSION = re.compile(r"^(?:\[(?P<index>[^\]]*)\])?(?:\.(?P<reduction>\w+)\((?P<argument>.*)\))?$")


def resolve(
    spec: TargetSpec,
    outputs: Feeds,
    examples: int,
    *,
    stacked: bool,
    labels: Sequence[str] | None = None,
    suppressed: Sequence[Suppression] = (),
) -> list[list[Target]]:
    """Return the targets by rank, each a list with one target per example.

    Args:
        spec: What the user said.
        outputs: What the model answered, and the inner values that ``suppressed`` names.
        examples: How many examples were fed.
        stacked: Whether dim 0 of an output counts the examples.
        labels: Class names, where known.
        suppressed: What the graph's NonMaxSuppression nodes choose from.

    Raises:
        UsageError: there is no such output, index or label, or it is not one number.
        InputError: a mask or reference that cannot be read or does not fit.
    """
    if isinstance(spec, (list,)):
        if len(spec) != examples:
            raise _fault(f"{len(spec)} targets for {examples} examples", "give one target, or one per example")
        alone = [_Resolver(_example(outputs, i, stacked), 1, stacked, labels, suppressed) for i in range(examples)]
        return [[one.single(s)[0] for one, s in zip(alone, spec, strict=True)]]
    return _Resolver(outputs, examples, stacked, labels, suppressed).ranked(spec)


def split_neuron(said: str) -> tuple[str, str]:
    """Return the value's name and what follows it; a name may hold dots and brackets itself."""
    match = re.fullmatch(r"(.*?)((?:\[[^\[\]]*\])?(?:\.\w+\(\))?)", said.strip(), re.DOTALL)
    assert match is not None  # the second part may be empty
    return match[1], match[2]


def output_of(spec: TargetSpec, outputs: Mapping[str, Any]) -> str:
    """Return the output that a target speaks of: the one it names, else the first that holds real numbers."""
    first = spec[0] if isinstance(spec, list) and spec else spec
    if isinstance(first, Target):
        return first.output
    text = first.strip() if isinstance(first, str) else ""
    named = [name for name in outputs if text.startswith(name) and text[len(name) :][:1] in {"", "[", ".", " "}]
    floats = [name for name, value in outputs.items() if getattr(value, "is_floating_point", bool)()]
    return max(named, key=len, default=next(iter([*floats, *outputs])))


def _example(outputs: Feeds, index: int, stacked: bool) -> Feeds:
    if not stacked:
        return outputs
    return {n: v[index : index + 1] if hasattr(v, "shape") and v.ndim else v for n, v in outputs.items()}


class _Resolver:
    def __init__(
        self,
        outputs: Feeds,
        examples: int,
        stacked: bool,
        labels: Sequence[str] | None,
        suppressed: Sequence[Suppression],
    ) -> None:
        self.outputs = outputs
        self.examples = examples
        self.stacked = stacked
        self.labels = labels
        self.suppressed = suppressed

    def ranked(self, spec: Any) -> list[list[Target]]:
        """Return the targets of one specification by rank; only ``top3`` has several."""
        first = output_of(None, self.outputs)
        if spec is None:
            return [self.default(first)]
        if isinstance(spec, Target):
            return [self.given(spec)]
        if isinstance(spec, bool) or not isinstance(spec, (int, str, tuple)):
            raise _fault(f"{spec!r} is not a target", f"say {FORMS}, or a list of these")
        if isinstance(spec, int):
            return [self.at(first, [spec])]
        if isinstance(spec, tuple):
            return [self.at(first, list(spec))]
        text = spec.strip()
        if contrast := self.contrast(text):
            return [contrast]
        if re.fullmatch(r"-?\d+", text):
            return [self.at(first, [int(text)])]
        if text in RANKS:
            return [self.at(first, [text])]
        if match := re.fullmatch(r"top(\d+)", text):
            return self.top(first, int(match.group(1)))
        if text.startswith("label:"):
            return [self.at(first, [self.index_of(text.removeprefix("label:"))])]
        if text.startswith("box:"):
            return [self.box(text)]
        return [self.expression(text)]

    def single(self, spec: Any) -> list[Target]:
        """Return the targets of a specification that has one rank."""
        found = self.ranked(spec)
        if len(found) != 1:
            raise _fault(f"{spec!r} is {len(found)} targets, where one is needed", "say argmax, runnerup or an index")
        return found[0]

    def contrast(self, text: str) -> list[Target] | None:
        """Return the difference of two targets, or None where the text is none."""
        sides = re.split(r"\s+-\s+", text)
        if len(sides) == 1 or text.removeprefix("label:") in (self.labels or ()):
            return None
        if len(sides) > 2:
            raise _fault(f"{text!r} is more than one difference", "say one target less another, such as 3 - 5")
        left, right = map(self.single, sides)
        return [replace(one, minus=other) for one, other in zip(left, right, strict=True)]

    def given(self, target: Target) -> list[Target]:
        """Return a target that came as such, checked against the outputs."""
        if target.output not in self.outputs:
            raise _fault(f"no output {target.output!r}", nearest(target.output, self.outputs))
        made = self.at(target.output, target.index, target.reduction, lambda _, __: target.operand)
        made = [replace(t, label=target.label or t.label) for t in made]
        return (
            [replace(t, minus=m) for t, m in zip(made, self.given(target.minus), strict=True)] if target.minus else made
        )

    def default(self, name: str) -> list[Target]:
        """Return the one number there is, or the highest along the class axis."""
        shape = self.shape(name)
        if all(size == 1 for size in shape):
            return self.at(name, [0] * len(shape))
        if len(shape) == 1:
            return self.at(name, ["argmax"])
        zeros = ",".join("0" for _ in shape)
        raise _fault(
            f"output {name!r} has {list(shape)} numbers per example, so a target is needed",
            f"for instance '{name}[{zeros}]' or '{name}[{zeros[:-1]}argmax]'; of a segmentation '{name}[0].region()'",
        )

    def expression(self, text: str) -> list[Target]:
        """Return the targets of ``output[index].reduction(argument)``."""
        name = output_of(text, self.outputs)
        about_first = text.startswith(("[", "."))
        match = EXPRESSION.match(text.removeprefix(name)) if about_first or text.startswith(name) else None
        if match is None:
            close = nearest(re.split(r"[\[.]", text)[0], [*self.outputs, "argmax"])
            raise _fault(f"{text!r} names no output; {close}", f"say {FORMS}")
        reduction, argument = match.group("reduction"), match.group("argument") or ""
        if reduction is not None and reduction not in REDUCE:
            raise _fault(f"no reduction {reduction!r}", nearest(reduction, REDUCE))
        if match.group("index") is None and reduction is None:
            return self.default(name)
        parts = [_part(p.strip(), text) for p in (match.group("index") or "").split(",") if p.strip()]
        if bool(argument) != (reduction in WITH_FILE):
            advice = f"say .{reduction}(FILE)" if reduction in WITH_FILE else f"say .{reduction}()"
            raise _fault(f"{text!r}: .{reduction}() takes {'a file' if reduction in WITH_FILE else 'nothing'}", advice)
        if reduction == "region":
            return self.region(name, parts)
        made = self.at(name, parts, reduction, WITH_FILE.get(reduction or ""), argument)
        return [replace(target, argument=argument) for target in made]

    def region(self, name: str, parts: Sequence[Part]) -> list[Target]:
        """Return a class summed over its own region, each example's own."""
        axis = class_axis(tuple(parts))
        if len(self.shape(name)) < 2:
            raise _fault(f"output {name!r} has no places to have regions", f"say '{name}[3]' for a class alone")
        targets = []
        for example in range(self.examples):
            output = self.answer(name, example)
            index = [widest_class(output, axis) if part == "argmax" else part for part in parts]
            target = self.at(name, index, "region")[example]
            where = region(output, target.index)
            targets.append(replace(target, operand=where, label=self._class_name(target.index[axis])))
        return targets

    def answer(self, name: str, example: int) -> Tensor:
        """Return one example's part of an output."""
        return self.outputs[name][example] if self.stacked else self.outputs[name]

    def box(self, text: str) -> list[Target]:
        """Return the score of the detection that lies where ``box:x1,y1,x2,y2@class`` says."""
        sides, _, wanted = text.removeprefix("box:").partition("@")
        try:
            x1, y1, x2, y2 = (float(side) for side in sides.strip("() ").split(","))
        except ValueError as error:
            raise _fault(f"{sides!r} is no box", "say box:x1,y1,x2,y2, or box:x1,y1,x2,y2@class") from error
        if x2 <= x1 or y2 <= y1:
            raise _fault(f"the box {sides} is empty", "say the upper left corner first: x1,y1,x2,y2")
        number = self._class(wanted.strip()) if wanted else None
        targets = []
        for example in range(self.examples):
            answers = {name: to_host(self.answer(name, example)) for name in self._tensors()}
            target, label = find_box(answers, (x1, y1, x2, y2), number, self.suppressed)
            targets.append(replace(target, label=self._class_name(label)))
        return targets

    def _tensors(self) -> list[str]:
        """Return the outputs that are tensors with a place for every example."""
        found = {n: v for n, v in self.outputs.items() if hasattr(v, "is_floating_point") and v.ndim}
        return [n for n, v in found.items() if not self.stacked or v.shape[0] == self.examples]

    def _class(self, text: str) -> int:
        return int(text) if text.isdigit() else self.index_of(text)

    def _class_name(self, index: Any) -> str | None:
        return self.labels[index] if self.labels and index < len(self.labels) else None

    def shape(self, name: str) -> tuple[int, ...]:
        """Return an output's shape per example."""
        output = self.outputs[name]
        if not hasattr(output, "shape") or not hasattr(output, "is_floating_point"):
            raise _fault(f"output {name!r} is no tensor", f"choose another output: {', '.join(self.outputs)}")
        if self.stacked and (output.ndim == 0 or output.shape[0] != self.examples):
            raise _fault(
                f"output {name!r} of shape {list(output.shape)} does not count {self.examples} example(s) in dim 0",
                "explain one example at a time, or choose another output",
            )
        return tuple(output.shape[1:]) if self.stacked else tuple(output.shape)

    def at(
        self,
        name: str,
        parts: Sequence[Part],
        reduction: str | None = None,
        operand: Callable[[Any, tuple[int, ...]], Any] | None = None,
        argument: str = "",
    ) -> list[Target]:
        """Return the targets at an index, ``argmax`` in it resolved per example.

        Args:
            name: The output.
            parts: The index.
            reduction: What is done with the numbers it leaves.
            operand: Makes what the reduction takes beside them, from the argument and their shape.
            argument: What was said in the reduction's parentheses.
        """
        shape = self.shape(name)
        if len(parts) > len(shape) and not (len(shape) == 0 and list(parts) in (["argmax"], [0])):
            raise _fault(
                f"{len(parts)} indices for output {name!r} of shape {list(shape)} per example",
                "the batch axis is not written",
            )
        parts = parts if shape else []
        for axis, part in enumerate(parts):
            if isinstance(part, int) and not -shape[axis] <= part < shape[axis]:
                raise _fault(
                    f"index {part} is outside output {name!r} of shape {list(shape)} per example",
                    f"axis {axis} goes from 0 to {shape[axis] - 1}",
                )
        index = [p % shape[a] if isinstance(p, int) else p for a, p in enumerate(parts)]
        targets = [self.settle(name, index, example) for example in range(self.examples)]
        beside = operand(argument, _left(targets[0].index, shape)) if operand else None
        return [replace(self.finish(t, shape, reduction), operand=beside) for t in targets]

    def settle(self, name: str, index: Sequence[Part], example: int) -> Target:
        """Return one example's target, with every word for a rank made a number."""
        words = [part for part in index if isinstance(part, str)]
        if not words:
            return Target(name, tuple(index))  # type: ignore[arg-type]
        if len(words) > 1:
            raise _fault(f"{' and '.join(words)} stand in one index", "give numbers for the other axes")
        line: Tensor = self.answer(name, example)[
            tuple(slice(None) if isinstance(part, str) else part for part in index)
        ]
        if line.ndim != 1:
            raise _fault(
                f"{words[0]} needs one axis of output {name!r}, {line.ndim} are left",
                f"give indices for the other axes, for instance 'output[0,{words[0]}]'",
            )
        rank = RANKS[words[0]]
        if line.numel() <= rank:
            raise _fault(f"{words[0]} of {line.numel()} class(es)", "give an index")
        best = int(line.argmax()) if rank == 0 else int(line.topk(rank + 1).indices[rank])
        return Target(name, tuple(best if isinstance(part, str) else part for part in index))

    def finish(self, target: Target, shape: Sequence[int], reduction: str | None) -> Target:
        """Return the target with its label, refused where it is not one number."""
        left = _left(target.index, shape)
        if reduction is None and math.prod(left) != 1:
            raise _fault(
                f"{target} is {math.prod(left)} numbers (shape {list(left)}), not one",
                "add indices, or .sum(), .mean(), .max() or .min()",
            )
        label = self.label(target, shape)
        if reduction is None:
            missing = (0,) * (len(shape) - len(target.index))
            whole = tuple(p.start or 0 if isinstance(p, slice) else p for p in target.index)
            return Target(target.output, whole + missing, None, label)
        return replace(target, reduction=reduction, label=label)

    def label(self, target: Target, shape: Sequence[int]) -> str | None:
        """Return the name of the class that an index means, where names are known."""
        if not self.labels or not target.index or not shape:
            return None
        position = target.index[-1]
        fits = len(target.index) == len(shape) and len(self.labels) == shape[-1]
        return self.labels[position] if fits and isinstance(position, int) else None

    def top(self, name: str, count: int) -> list[list[Target]]:
        """Return the targets of the highest classes, each example's own."""
        shape = self.shape(name)
        if len(shape) != 1:
            raise _fault(
                f"top{count} needs a class axis; output {name!r} has shape {list(shape)} per example", "give an index"
            )
        if not 1 <= count <= shape[0]:
            raise _fault(f"top{count} of {shape[0]} classes", f"say top1 to top{shape[0]}")
        output = self.outputs[name] if self.stacked else self.outputs[name].unsqueeze(0)
        order = output.topk(count, dim=1).indices.tolist()
        return [
            [self.finish(Target(name, (order[example][rank],)), shape, None) for example in range(self.examples)]
            for rank in range(count)
        ]

    def index_of(self, label: str) -> int:
        """Return the index of a class by its name, or by a part of it that no other has."""
        if not self.labels:
            raise _fault(
                "the model names no classes", "give the class's index; names are read from the model's metadata"
            )
        if label in self.labels:
            return list(self.labels).index(label)
        containing = [i for i, known in enumerate(self.labels) if label.lower() in known.lower()]
        if len(containing) == 1:
            return containing[0]
        raise _fault(f"no class {label!r}", nearest(label, self.labels))


def _left(index: Sequence[Part], shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of the numbers that an index leaves."""
    ranges = [len(range(*p.indices(shape[a]))) for a, p in enumerate(index) if isinstance(p, slice)]
    return (*ranges, *shape[len(index) :])


def _part(text: str, whole: str) -> Part:
    if text in RANKS:
        return text
    try:
        if ":" in text:
            bounds = [int(b) if b.strip() else None for b in text.split(":")]
            return slice(*bounds) if len(bounds) > 1 else slice(bounds[0])
        return int(text)
    except (ValueError, TypeError) as error:
        raise _fault(
            f"{text!r} in {whole!r} is not an index", "use whole numbers, ranges such as 2:5, or argmax"
        ) from error


def _fault(what: str, hint: str | None) -> UsageError:
    return UsageError(what, where="target", hint=hint)
