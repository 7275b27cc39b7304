"""Detections: boxes and their scores, in whichever of the usual layouts a detector answers with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxsal.errors import UsageError
from onnxsal.target.suppression import Suppression
from onnxsal.types import Target

OVERLAP = 0.5
"""The least overlap (intersection over union) at which a box counts as the one that was meant."""

ALIKE = 0.9
"""Of the boxes that overlap at least this part of the best one's overlap, the one with the highest score is taken."""

Form = Callable[[np.ndarray], np.ndarray]


def _corners(boxes: np.ndarray) -> np.ndarray:
    """x1, y1, x2, y2."""
    return boxes


def _corners_y_first(boxes: np.ndarray) -> np.ndarray:
    """y1, x1, y2, x2; NonMaxSuppression lets the corners come in any order."""
    y1, x1, y2, x2 = boxes.T
    return np.stack([np.minimum(x1, x2), np.minimum(y1, y2), np.maximum(x1, x2), np.maximum(y1, y2)], 1)


def _centred(boxes: np.ndarray) -> np.ndarray:
    """Centre x, centre y, width, height."""
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    return np.concatenate([centre - half, centre + half], 1)


FORMS: tuple[Form, ...] = (_corners, _centred, _corners_y_first)
"""How four numbers can be a box; which one it is, the overlap with the asked box decides."""


@dataclass(frozen=True)
class Detections:
    """One example's detections.

    Args:
        boxes: Shape [boxes, 4], as the model answers.
        scores: Shape [boxes, classes].
        classes: The class that each column of the scores is of; where a detector gives each box one class, one row per
            box with that class alone.
        target: Makes the target of a box's class column.
        forms: What the four numbers of a box can be.
    """

    boxes: np.ndarray
    scores: np.ndarray
    target: Callable[[int, int], Target]
    classes: np.ndarray | None = None
    forms: tuple[Form, ...] = FORMS

    def nearest(self, box: Sequence[float], wanted: int | None) -> tuple[float, Target, int]:
        """Return the overlap with the nearest box, the target of its score and its class."""
        overlaps = np.max([_overlap(form(self.boxes), np.asarray(box)) for form in self._readings(box)], 0)
        if wanted is not None and self.classes is not None:
            overlaps = np.where(self.classes == wanted, overlaps, 0.0)
        columns = self.scores[:, [wanted]] if wanted is not None and self.classes is None else self.scores
        alike = overlaps >= ALIKE * overlaps.max()
        row = int(np.where(alike, columns.max(1), -np.inf).argmax())
        column = wanted if wanted is not None and self.classes is None else int(self.scores[row].argmax())
        label = column if self.classes is None else int(self.classes[row])
        return float(overlaps[row]), self.target(row, column), label

    def _readings(self, box: Sequence[float]) -> list[Form]:
        """Return the form in which some box comes closest; the same one is read for all boxes."""
        best = [_overlap(form(self.boxes), np.asarray(box)).max() for form in self.forms]
        return [self.forms[int(np.argmax(best))]]


def find_box(
    outputs: Mapping[str, np.ndarray], box: Sequence[float], wanted: int | None, suppressed: Iterable[Suppression] = ()
) -> tuple[Target, int]:
    """Return the target of the detection that a box means, and its class.

    Args:
        outputs: One example's answers, and the inner values that ``suppressed`` names.
        box: x1, y1, x2, y2 in the units that the model answers in.
        wanted: The class; None takes the box's highest.
        suppressed: What the graph's NonMaxSuppression nodes choose from; looked at first.

    Raises:
        UsageError: the outputs hold no detections, or none lies where the box is.
    """
    layouts = [*_suppressed(outputs, suppressed), *_separate(outputs), *_combined(outputs)]
    found = [d.nearest(box, wanted) for d in layouts if len(d.boxes) and _has(d, wanted)]
    if not found:
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in outputs.items())
        raise UsageError(
            f"no boxes with scores{'' if wanted is None else f' of class {wanted}'} among {shapes}",
            where="target",
            hint="give the score's own index, for instance 'scores[0]'",
        )
    overlap, target, label = max(found, key=lambda one: one[0])
    if overlap < OVERLAP:
        raise UsageError(
            f"no detection lies at {', '.join(f'{side:g}' for side in box)}: the nearest overlaps by {overlap:.2f}",
            where="target",
            hint="say x1,y1,x2,y2 in the units the model answers in (pixels of its input, or parts of 1)",
        )
    return target, label


def _has(detections: Detections, wanted: int | None) -> bool:
    if wanted is None:
        return True
    if detections.classes is not None:
        return bool((detections.classes == wanted).any())
    return 0 <= wanted < detections.scores.shape[1]


def _suppressed(outputs: Mapping[str, np.ndarray], nodes: Iterable[Suppression]) -> Iterator[Detections]:
    for node in nodes:
        boxes, scores = outputs[node.boxes], outputs[node.scores]
        lead = () if boxes.ndim == 2 else (0,)
        form = _centred if node.centred else _corners_y_first
        yield Detections(
            boxes[lead],
            scores[lead].T,
            _at(node.scores, lambda row, column, lead=lead: (*lead, column, row)),
            forms=(form, _corners),
        )


def _separate(outputs: Mapping[str, np.ndarray]) -> Iterator[Detections]:
    """Boxes in one output, scores in another, and perhaps whole numbers that say each box's class in a third."""
    for name, value in outputs.items():
        if not _is_float(value) or value.shape[-1:] != (4,):
            continue
        lead = (0,) if value.ndim == 3 and value.shape[0] == 1 else ()
        boxes = value[lead]
        if boxes.ndim != 2:
            continue
        others = {n: v for n, v in outputs.items() if n != name}
        classes = next((_bare(v) for v in others.values() if _is_classes(v, len(boxes))), None)
        for other, scores in others.items():
            if _is_float(scores):
                yield from _scored(boxes, other, scores, classes)


def _scored(boxes: np.ndarray, name: str, scores: np.ndarray, classes: np.ndarray | None) -> Iterator[Detections]:
    lead = (0,) if scores.ndim > 1 and scores.shape[0] == 1 and len(boxes) != 1 else ()
    bare, count = scores[lead], len(boxes)
    if bare.shape == (count,):
        yield Detections(boxes, bare[:, None], _at(name, lambda row, _: (*lead, row)), classes)
    elif bare.ndim == 2 and bare.shape[0] == count:
        yield Detections(boxes, bare, _at(name, lambda row, column: (*lead, row, column)))
    elif bare.ndim == 2 and bare.shape[1] == count:
        yield Detections(boxes, bare.T, _at(name, lambda row, column: (*lead, column, row)))


def _combined(outputs: Mapping[str, np.ndarray]) -> Iterator[Detections]:
    """One output whose columns are box, perhaps objectness, and scores."""
    for name, value in outputs.items():
        lead = (0,) if value.ndim == 3 and value.shape[0] == 1 else ()
        table = value[lead]
        if not _is_float(table) or table.ndim != 2 or max(table.shape) < 6:
            continue
        if table.shape[1] == 6 and _are_classes(table[:, 5]):  # box, score, class: what is left after suppression
            classes = table[:, 5].astype(int)
            yield Detections(table[:, :4], table[:, 4:5], _at(name, lambda row, _, lead=lead: (*lead, row, 4)), classes)
        elif (
            table.shape[1] == 7 and _are_classes(table[:, 5]) and _are_classes(table[:, 0])
        ):  # example, box, class, score
            classes = table[:, 5].astype(int)
            yield Detections(table[:, 1:5], table[:, 6:], _at(name, lambda row, _, lead=lead: (*lead, row, 6)), classes)
        elif 4 < table.shape[0] < table.shape[1]:  # one column a box: box and class scores
            yield Detections(
                table[:4].T, table[4:].T, _at(name, lambda row, column, lead=lead: (*lead, 4 + column, row))
            )
        elif (
            table.shape[1] > 5
        ):  # one row a box: box, objectness, class scores; the score is the product of the last two
            yield Detections(table[:, :4], table[:, 4:5] * table[:, 5:], _with_objectness(name, lead))


def _at(name: str, index: Callable[..., tuple[int, ...]]) -> Callable[[int, int], Target]:
    return lambda row, column: Target(name, index(row, column))


def _with_objectness(name: str, lead: tuple[int, ...]) -> Callable[[int, int], Target]:
    """Return what makes a target of two columns, picked by a slice whose step leads from one to the other."""
    return lambda row, column: Target(name, (*lead, row, slice(4, 6 + column, 1 + column)), "prod")


def _overlap(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return the intersection over union of every box with one."""
    inner = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])
    shared = np.clip(inner, 0, None).prod(1)
    areas = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(1) + np.clip(box[2:] - box[:2], 0, None).prod()
    return np.divide(shared, areas - shared, out=np.zeros(len(boxes)), where=areas > shared)


def _is_float(value: Any) -> bool:
    return value.dtype.kind == "f" and value.ndim > 0


def _are_classes(column: np.ndarray) -> bool:
    """Say whether a column of real numbers holds whole ones, from 0 or, for an empty place, -1."""
    return bool((column == np.round(column)).all() and (column >= -1).all())


def _is_classes(value: np.ndarray, count: int) -> bool:
    return value.dtype.kind in "iu" and _bare(value).shape == (count,)


def _bare(value: np.ndarray) -> np.ndarray:
    return value[0] if value.ndim == 2 and value.shape[0] == 1 else value
