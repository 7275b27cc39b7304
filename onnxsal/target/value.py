"""From what the engine answers to the explained number of every row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from operator import mul
from typing import TYPE_CHECKING, Any

from onnxsal.types import Feeds, Target

if TYPE_CHECKING:
    from torch import Tensor


def outputs_of(targets: Iterable[Target]) -> list[str]:
    """Return the values of the graph that the targets speak of, each once."""
    return list(dict.fromkeys(name for target in targets for name in _outputs(target)))


def _outputs(target: Target) -> list[str]:
    return [target.output, *(_outputs(target.minus) if target.minus else ())]


def value_of(outputs: Feeds, targets: Sequence[Target], *, stacked: bool) -> Tensor:
    """Return the targets' numbers, shape [rows]; row r belongs to target r mod len(targets)."""
    import torch

    forms: dict[Any, list[int]] = {}
    for example, target in enumerate(targets):
        forms.setdefault(_form(target), []).append(example)
    if len(forms) == 1:
        return _value(outputs, targets, stacked)
    rows = outputs[targets[0].output].shape[0]
    places = [[row for row in range(rows) if row % len(targets) in set(examples)] for examples in forms.values()]
    values = [
        _value(
            {n: outputs[n][place] for n in outputs_of([targets[examples[0]]])}, [targets[e] for e in examples], stacked
        )
        for place, examples in zip(places, forms.values(), strict=True)
    ]
    order = torch.tensor([row for place in places for row in place]).argsort()
    return torch.cat(values)[order.to(values[0].device)]


def _form(target: Target) -> Any:
    """Return what targets must share to be computed together: all but the numbers in the index and the operand."""
    index = tuple(str(part) if isinstance(part, slice) else None for part in target.index)
    return target.output, index, target.reduction, _form(target.minus) if target.minus else None


def _value(outputs: Feeds, targets: Sequence[Target], stacked: bool) -> Tensor:
    """Return the numbers of targets of one form."""
    output = outputs[targets[0].output]
    output = output if stacked else output.unsqueeze(0)
    numbers = _picked(output, targets).reshape(output.shape[0], -1)
    first = targets[0]
    value = numbers[:, 0] if first.reduction is None else REDUCE[first.reduction](numbers, _operands(numbers, targets))
    if first.minus is None:
        return value
    return value - _value(outputs, [target.minus for target in targets if target.minus], stacked)


def _picked(output: Tensor, targets: Sequence[Target]) -> Tensor:
    import torch

    first, rows = targets[0], output.shape[0]
    if all(t.index == first.index for t in targets):
        return output[(slice(None), *first.index)]
    # whole numbers differ from example to example: one index tensor per axis, the batch axis first
    steps = [
        part if isinstance(part, slice) else torch.tensor([targets[r % len(targets)].index[axis] for r in range(rows)])
        for axis, part in enumerate(first.index)
    ]
    return output[(torch.arange(rows), *steps)]


def _operands(numbers: Tensor, targets: Sequence[Target]) -> Tensor | None:
    """Return what each row's reduction takes beside the numbers, shaped like them."""
    import torch

    given = [torch.as_tensor(target.operand).flatten() for target in targets if target.operand is not None]
    if not given:
        return None
    operands = torch.stack(given).to(numbers.device, numbers.dtype)
    return operands.repeat(-(-numbers.shape[0] // len(given)), 1)[: numbers.shape[0]]


def _masked_sum(numbers: Tensor, mask: Any) -> Tensor:
    return (numbers * mask).sum(1)


def _cosine(numbers: Tensor, reference: Any) -> Tensor:
    import torch

    return torch.nn.functional.cosine_similarity(numbers, reference, dim=1)


Reduce = Callable[["Tensor", Any], "Tensor"]

REDUCE: dict[str, Reduce] = {
    "sum": lambda numbers, _: numbers.sum(1),
    "mean": lambda numbers, _: numbers.mean(1),
    "max": lambda numbers, _: numbers.amax(1),
    "min": lambda numbers, _: numbers.amin(1),
    "prod": lambda numbers, _: reduce(mul, numbers.unbind(1)),
    "region": _masked_sum,
    "over": _masked_sum,
    "cosine": _cosine,
}
"""What is made of the numbers that an index leaves, shape [rows, numbers], and of what stands beside them."""
