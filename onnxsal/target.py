"""Which number is explained: from what the user says to one `Target` per example.

3               index 3 of the first output that holds real numbers
logits[3]       index 3 of output ``logits``; the batch axis is never written
boxes[0,5,4]    an index into an output of higher rank
mask[1].sum()   an index that leaves many numbers, and what is done with them: sum, mean, max or min
argmax          the class of the highest number (what no target at all means, where there is a class axis)
tokens[7,argmax]  the highest along that axis
top3            the three highest classes, each explained by itself
label:tabby     the class of that name, where the model's metadata names its classes
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from onnxsal.errors import UsageError, nearest
from onnxsal.types import Feeds, Target, TargetSpec

if TYPE_CHECKING:
    from torch import Tensor

Part: TypeAlias = "int | slice | str"
"""One axis of an index as it was said: a number, a range, or "argmax"."""

FORMS = "an index, output[index], argmax, top3 or label:NAME"
REDUCTIONS = ("sum", "mean", "max", "min")
EXPRESSION = re.compile(r"^(?:\[(?P<index>[^\]]*)\])?(?:\.(?P<reduction>\w+)\(\))?$")


def resolve(
    spec: TargetSpec, outputs: Feeds, examples: int, *, stacked: bool, labels: Sequence[str] | None = None
) -> list[list[Target]]:
    """Return the targets by rank, each a list with one target per example.

    Args:
        spec: What the user said.
        outputs: What the model answered.
        examples: How many examples were fed.
        stacked: Whether dim 0 of an output counts the examples.
        labels: Class names, where known.

    Raises:
        UsageError: there is no such output, index or label, or it is not one number.
    """
    if isinstance(spec, (list,)):
        if len(spec) != examples:
            raise _fault(f"{len(spec)} targets for {examples} examples", "give one target, or one per example")
        ranked = [
            resolve(s, _example(outputs, i, stacked), 1, stacked=stacked, labels=labels)[0][0]
            for i, s in enumerate(spec)
        ]
        return [ranked]
    return _Resolver(outputs, examples, stacked, labels).ranked(spec)


def output_of(spec: TargetSpec, outputs: Mapping[str, Any]) -> str:
    """Return the output that a target speaks of: the one it names, else the first that holds real numbers."""
    first = spec[0] if isinstance(spec, list) and spec else spec
    named = [name for name in outputs if isinstance(first, str) and first.startswith(name)]
    floats = [name for name, value in outputs.items() if getattr(value, "is_floating_point", bool)()]
    return max(named, key=len, default=next(iter([*floats, *outputs])))


def _example(outputs: Feeds, index: int, stacked: bool) -> Feeds:
    if not stacked:
        return outputs
    return {n: v[index : index + 1] if hasattr(v, "shape") and v.ndim else v for n, v in outputs.items()}


def value_of(outputs: Feeds, targets: Sequence[Target], *, stacked: bool) -> Tensor:
    """Return the targets' numbers, shape [rows]; row r belongs to target r mod len(targets)."""
    import torch

    output = outputs[targets[0].output]
    if not stacked:
        output = output.unsqueeze(0)
    rows = output.shape[0]
    first = targets[0]
    if all(t.index == first.index for t in targets):
        picked = output[(slice(None), *first.index)]
    else:
        # whole numbers differ from example to example: one index tensor per axis, the batch axis first
        steps = [
            part
            if isinstance(part, slice)
            else torch.tensor([targets[r % len(targets)].index[axis] for r in range(rows)])
            for axis, part in enumerate(first.index)
        ]
        picked = output[(torch.arange(rows), *steps)]
    flat = picked.reshape(rows, -1)
    if first.reduction is None:
        return flat[:, 0]
    match first.reduction:
        case "sum":
            return flat.sum(1)
        case "mean":
            return flat.mean(1)
        case "max":
            return flat.amax(1)
    return flat.amin(1)


class _Resolver:
    def __init__(self, outputs: Feeds, examples: int, stacked: bool, labels: Sequence[str] | None) -> None:
        self.outputs = outputs
        self.examples = examples
        self.stacked = stacked
        self.labels = labels

    def ranked(self, spec: TargetSpec) -> list[list[Target]]:
        first = output_of(None, self.outputs)
        if spec is None:
            return [self.default(first)]
        if isinstance(spec, bool) or not isinstance(spec, (int, str, tuple)):
            raise _fault(f"{spec!r} is not a target", f"say {FORMS}, or a list of these")
        if isinstance(spec, int):
            return [self.at(first, [spec], None)]
        if isinstance(spec, tuple):
            return [self.at(first, list(spec), None)]
        text = spec.strip()
        if re.fullmatch(r"-?\d+", text):
            return [self.at(first, [int(text)], None)]
        if text == "argmax":
            return [self.at(first, ["argmax"], None)]
        if match := re.fullmatch(r"top(\d+)", text):
            return self.top(first, int(match.group(1)))
        if text.startswith("label:"):
            return [self.at(first, [self.index_of(text.removeprefix("label:"))], None)]
        return [self.expression(text)]

    def default(self, name: str) -> list[Target]:
        """Return the one number there is, or the highest along the class axis."""
        shape = self.shape(name)
        if all(size == 1 for size in shape):
            return self.at(name, [0] * len(shape), None)
        if len(shape) == 1:
            return self.at(name, ["argmax"], None)
        zeros = ",".join("0" for _ in shape)
        raise _fault(
            f"output {name!r} has {list(shape)} numbers per example, so a target is needed",
            f"for instance '{name}[{zeros}]' or '{name}[{zeros[:-1]}argmax]'",
        )

    def expression(self, text: str) -> list[Target]:
        name = output_of(text, self.outputs)
        match = EXPRESSION.match(text.removeprefix(name)) if text.startswith(name) else None
        if match is None:
            close = nearest(re.split(r"[\[.]", text)[0], [*self.outputs, "argmax"])
            raise _fault(f"{text!r} names no output; {close}", f"say {FORMS}")
        reduction = match.group("reduction")
        if reduction is not None and reduction not in REDUCTIONS:
            raise _fault(f"no reduction {reduction!r}", nearest(reduction, REDUCTIONS))
        if match.group("index") is None and reduction is None:
            return self.default(name)
        parts = [_part(p.strip(), text) for p in (match.group("index") or "").split(",") if p.strip()]
        return self.at(name, parts, reduction)

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

    def at(self, name: str, parts: Sequence[Part], reduction: str | None) -> list[Target]:
        """Return the targets at an index, ``argmax`` in it resolved per example."""
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
        return [self.finish(t, shape, reduction) for t in targets]

    def settle(self, name: str, index: Sequence[Part], example: int) -> Target:
        """Return one example's target, with every ``argmax`` made a number."""
        if "argmax" not in index:
            return Target(name, tuple(index))  # type: ignore[arg-type]
        if list(index).count("argmax") > 1:
            raise _fault("argmax stands more than once in the index", "give numbers for the other axes")
        output = self.outputs[name][example] if self.stacked else self.outputs[name]
        rest = tuple(slice(None) if isinstance(part, str) else part for part in index)
        line: Tensor = output[rest]
        if line.ndim != 1:
            raise _fault(
                f"argmax needs one axis of output {name!r}, {line.ndim} are left",
                "give indices for the other axes, for instance 'output[0,argmax]'",
            )
        best = int(line.argmax())
        return Target(name, tuple(best if isinstance(part, str) else part for part in index))

    def finish(self, target: Target, shape: Sequence[int], reduction: str | None) -> Target:
        left = [len(range(*p.indices(shape[a]))) for a, p in enumerate(target.index) if isinstance(p, slice)]
        left += shape[len(target.index) :]
        count = 1
        for size in left:
            count *= size
        if reduction is None and count != 1:
            raise _fault(
                f"{target} is {count} numbers (shape {left}), not one",
                "add indices, or .sum(), .mean(), .max() or .min()",
            )
        label = self.label(target, shape)
        if reduction is None:
            missing = (0,) * (len(shape) - len(target.index))
            whole = tuple(p.start or 0 if isinstance(p, slice) else p for p in target.index)
            return Target(target.output, whole + missing, None, label)
        return replace(target, reduction=reduction, label=label)

    def label(self, target: Target, shape: Sequence[int]) -> str | None:
        if not self.labels or not target.index or not shape:
            return None
        position = target.index[-1]
        fits = len(target.index) == len(shape) and len(self.labels) == shape[-1]
        return self.labels[position] if fits and isinstance(position, int) else None

    def top(self, name: str, count: int) -> list[list[Target]]:
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


def _part(text: str, whole: str) -> Part:
    if text == "argmax":
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
