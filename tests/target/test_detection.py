"""A detection is found by its box in every layout that detectors answer with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from onnxsal.errors import UsageError
from onnxsal.target.detection import find_box
from onnxsal.target.suppression import Suppression

Outputs = dict[str, np.ndarray]

CORNERS = np.array([[10, 10, 30, 50], [100, 20, 180, 90], [101, 21, 180, 92], [0, 0, 300, 300]], np.float32)
SCORES = np.array([[0.9, 0.05, 0], [0.1, 0.2, 0.6], [0.1, 0.1, 0.8], [0.3, 0.1, 0.1]], np.float32)
ASKED = (99.0, 20.0, 181.0, 91.0)
"""Rows 1 and 2 lie there; row 2 has the higher score, of class 2."""


def centred() -> np.ndarray:
    return np.concatenate([(CORNERS[:, :2] + CORNERS[:, 2:]) / 2, CORNERS[:, 2:] - CORNERS[:, :2]], 1)


def padded(table: np.ndarray, rows: int = 40) -> np.ndarray:
    """Return as many rows as a detector has candidates for."""
    filler = np.zeros((rows - len(table), table.shape[1]), np.float32)
    return np.concatenate([table, filler])


def yolo_rows() -> Outputs:
    objectness = np.array([[1], [0.5], [0.9], [0.2]], np.float32)
    return {"out": padded(np.concatenate([centred(), objectness, SCORES], 1))}


def yolo_columns() -> Outputs:
    return {"out": padded(np.concatenate([centred(), SCORES], 1)).T}


def end_to_end() -> Outputs:
    table = np.concatenate([CORNERS, SCORES.max(1, keepdims=True), SCORES.argmax(1)[:, None]], 1)
    return {"out": padded(table.astype(np.float32))}


def end_to_end_with_example() -> Outputs:
    table = [np.zeros((4, 1)), CORNERS, SCORES.argmax(1)[:, None], SCORES.max(1, keepdims=True)]
    return {"out": np.concatenate(table, 1).astype(np.float32)}


def separate() -> Outputs:
    return {"scores": SCORES, "boxes": CORNERS}


def separate_with_labels() -> Outputs:
    return {"boxes": CORNERS, "labels": SCORES.argmax(1), "scores": SCORES.max(1)}


def tensorflow() -> Outputs:
    return {"boxes": CORNERS[None, :, [1, 0, 3, 2]], "classes": SCORES.argmax(1)[None], "scores": SCORES.max(1)[None]}


def centred_with_logits() -> Outputs:
    return {"logits": np.log(SCORES + 1e-3), "pred_boxes": centred() / 300}


@pytest.mark.parametrize(
    ("outputs", "text", "scale"),
    [
        (yolo_rows, "out[2,4:8:3].prod()", 1),
        (yolo_columns, "out[6,2]", 1),
        (end_to_end, "out[2,4]", 1),
        (end_to_end_with_example, "out[2,6]", 1),
        (separate, "scores[2,2]", 1),
        (separate_with_labels, "scores[2]", 1),
        (tensorflow, "scores[0,2]", 1),
        (centred_with_logits, "logits[2,2]", 300),
    ],
)
def test_the_score_of_the_box_is_found(outputs: Callable[[], Outputs], text: str, scale: float) -> None:
    target, label = find_box(outputs(), [side / scale for side in ASKED], None)
    assert str(target) == text
    assert label == 2


def test_a_class_can_be_asked_for() -> None:
    assert str(find_box(separate(), ASKED, 1)[0]) == "scores[1,1]"
    assert str(find_box(yolo_columns(), ASKED, 0)[0]) == "out[4,1]"
    target, label = find_box(separate_with_labels(), (10, 10, 30, 50), 0)
    assert (str(target), label) == ("scores[0]", 0)


def test_before_suppression_the_score_is_that_of_the_candidate() -> None:
    inner = {"candidates": CORNERS[:, [1, 0, 3, 2]], "confidences": SCORES.T, "selected": np.array([[0, 2, 2]])}
    target, label = find_box(inner, ASKED, None, [Suppression("candidates", "confidences", centred=False)])
    assert (str(target), label) == ("confidences[2,2]", 2)


def test_a_box_where_nothing_lies_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"overlaps by 0\.\d\d") as fault:
        find_box(separate(), (200, 200, 210, 210), None)
    assert fault.value.hint
    with pytest.raises(UsageError, match="overlaps by 0"):
        find_box(separate_with_labels(), (10, 10, 30, 50), 2)


def test_outputs_without_boxes_are_named() -> None:
    with pytest.raises(UsageError, match=r"no boxes with scores among logits \[3\]"):
        find_box({"logits": np.zeros(3, np.float32)}, ASKED, None)
