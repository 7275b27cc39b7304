from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from onnxsal.errors import InputError, UsageError
from onnxsal.target import output_of, resolve, value_of
from onnxsal.types import Target

LOGITS = torch.tensor([[0.1, 0.7, 0.2], [0.9, 0.0, 0.1]])
BOXES = torch.arange(2 * 4 * 5, dtype=torch.float32).reshape(2, 4, 5)
OUTPUTS = {"logits": LOGITS, "boxes": BOXES, "box": BOXES[:, 0], "labels": torch.tensor([1, 0])}


def texts(spec: Any, **options: Any) -> list[list[str]]:
    options = {"stacked": True, "labels": None} | options
    return [[str(t) for t in rank] for rank in resolve(spec, OUTPUTS, 2, **options)]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (None, ["logits[1]", "logits[0]"]),
        (2, ["logits[2]"] * 2),
        ("2", ["logits[2]"] * 2),
        (-1, ["logits[2]"] * 2),
        ((1,), ["logits[1]"] * 2),
        ([0, 2], ["logits[0]", "logits[2]"]),
        (["argmax", "boxes[0,1]"], ["logits[1]", "boxes[0,1]"]),
        ("argmax", ["logits[1]", "logits[0]"]),
        ("logits[1]", ["logits[1]"] * 2),
        ("logits[argmax]", ["logits[1]", "logits[0]"]),
        ("boxes[3,argmax]", ["boxes[3,4]"] * 2),
        ("boxes[1].sum()", ["boxes[1].sum()"] * 2),
        ("boxes[1:3,4].max()", ["boxes[1:3,4].max()"] * 2),
        ("box[4]", ["box[4]"] * 2),
        ("boxes.mean()", ["boxes.mean()"] * 2),
        ("[argmax]", ["logits[1]", "logits[0]"]),
        (".sum()", ["logits.sum()"] * 2),
    ],
)
def test_what_the_user_says_becomes_one_target_per_example(spec: Any, expected: list[str]) -> None:
    assert texts(spec) == [expected]


def test_top_ranks_each_example_by_itself() -> None:
    assert texts("top2") == [["logits[1]", "logits[0]"], ["logits[2]", "logits[2]"]]


def test_labels_are_found_by_name_and_come_back() -> None:
    names = ["tench", "tabby cat", "tiger cat"]
    (rank,) = resolve("label:tabby", OUTPUTS, 2, stacked=True, labels=names)
    assert rank == [Target("logits", (1,), None, "tabby cat")] * 2


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (3, "outside output 'logits'"),
        (-4, "axis 0 goes from 0 to 2"),
        ("logit[1]", "did you mean 'logits'"),
        ("boxes[1]", "is 5 numbers"),
        ("boxes", "numbers per example, so a target is needed"),
        ("boxes[argmax]", "2 are left"),
        ("boxes[0,0,0]", "3 indices"),
        ("boxes[a]", "is not an index"),
        ("boxes.median()", "no reduction 'median'"),
        ("top9", "top1 to top3"),
        ("boxes.top2", "names no output"),
        ([1], "1 targets for 2 examples"),
        ("label:cat", "names no classes"),
        (1.5, "is not a target"),
        (True, "is not a target"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_way_out(spec: Any, says: str) -> None:
    with pytest.raises(UsageError) as fault:
        texts(spec)
    assert says in str(fault.value)
    assert fault.value.hint
    assert fault.value.where == "target"


def test_an_ambiguous_label_names_the_candidates() -> None:
    with pytest.raises(UsageError, match="tiger cat"):
        resolve("label:tiger ca", OUTPUTS, 2, stacked=True, labels=["tiger cat", "tiger cats", "dog"])


def test_without_a_batch_axis_the_whole_output_is_indexed() -> None:
    (rank,) = resolve("logits[1,2]", OUTPUTS, 1, stacked=False)
    assert value_of(OUTPUTS, rank, stacked=False).tolist() == pytest.approx([0.1])


def test_values_follow_the_examples_through_stacked_copies() -> None:
    (rank,) = resolve([0, 2], OUTPUTS, 2, stacked=True)
    copies = {"logits": torch.cat([LOGITS, LOGITS + 1])}
    assert value_of(copies, rank, stacked=True).tolist() == pytest.approx([0.1, 0.1, 1.1, 1.1])


@pytest.mark.parametrize(("reduction", "expected"), [("sum", 35.0), ("mean", 7.0), ("max", 9.0), ("min", 5.0)])
def test_reductions_take_what_the_index_leaves(reduction: str, expected: float) -> None:
    (rank,) = resolve(f"boxes[1].{reduction}()", OUTPUTS, 2, stacked=True)
    assert value_of(OUTPUTS, rank, stacked=True)[0].item() == expected


def test_a_single_number_needs_no_target() -> None:
    assert [str(t) for t in resolve(None, {"y": torch.ones(2)}, 2, stacked=True)[0]] == ["y", "y"]
    assert [str(t) for t in resolve(None, {"y": torch.ones(2, 1)}, 2, stacked=True)[0]] == ["y[0]", "y[0]"]


def test_the_default_passes_over_outputs_of_whole_numbers() -> None:
    outputs = {"label": torch.tensor([1, 0]), "probabilities": LOGITS}
    assert [str(t) for t in resolve(None, outputs, 2, stacked=True)[0]] == ["probabilities[1]", "probabilities[0]"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("runnerup", ["logits[2]", "logits[2]"]),
        ("argmax - runnerup", ["logits[1] - logits[2]", "logits[0] - logits[2]"]),
        ("2 - boxes[0,argmax]", ["logits[2] - boxes[0,4]"] * 2),
        (["0", "1 - 2"], ["logits[0]", "logits[1] - logits[2]"]),
        ("boxes[1,2:4].prod()", ["boxes[1,2:4].prod()"] * 2),
        (Target("logits", (1,)), ["logits[1]"] * 2),
        (Target("logits", (1,), minus=Target("box", (0,))), ["logits[1] - box[0]"] * 2),
    ],
)
def test_ranks_differences_and_targets(spec: Any, expected: list[str]) -> None:
    assert texts(spec) == [expected]


def test_a_label_that_looks_like_a_difference_is_a_label() -> None:
    (rank,) = resolve("label:cat - dog", OUTPUTS, 2, stacked=True, labels=["cat", "cat - dog", "dog"])
    assert [str(t) for t in rank] == ["logits[1]"] * 2


SEGMENTS = torch.tensor([[[5.0, 5, 0], [0, 0, 0]], [[1, 1, 1], [1, 1, 1]], [[0, 9, 0], [0, 0, 2]]])[None]
"""One example, three classes, two lines of three places: class 1 is the widest."""


@pytest.mark.parametrize(
    ("spec", "text", "score"),
    [
        ("maps[0].region()", "maps[0].region()", 5),
        ("maps[2].region()", "maps[2].region()", 11),
        ("maps[argmax].region()", "maps[1].region()", 3),
        ("maps[0,0:1].over({file})", "maps[0,0:1].over({file})", 10),
    ],
)
def test_a_class_is_summed_over_its_region_or_a_mask(spec: str, text: str, score: float, tmp_path: Path) -> None:
    file = tmp_path / "mask.npy"
    np.save(file, np.array([[1, 1, 0]], np.uint8))
    (rank,) = resolve(spec.format(file=file), {"maps": SEGMENTS}, 1, stacked=True)
    assert [str(t) for t in rank] == [text.format(file=file)]
    assert value_of({"maps": SEGMENTS}, rank, stacked=True).tolist() == [score]


def test_a_picture_is_a_mask_at_the_outputs_size(tmp_path: Path) -> None:
    pixels = np.zeros((20, 30), np.uint8)
    pixels[:10, 10:20] = 255
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    (rank,) = resolve(f"maps[2].over({tmp_path / 'mask.png'})", {"maps": SEGMENTS}, 1, stacked=True)
    assert value_of({"maps": SEGMENTS}, rank, stacked=True).tolist() == [9]


def test_a_single_channel_is_its_own_region_where_it_says_yes() -> None:
    for channel, expected in ((torch.tensor([[[[0.2, 0.9, 0.6]]]]), 1.5), (torch.tensor([[[[-3.0, 4, 0.1]]]]), 4.1)):
        (rank,) = resolve("m[0].region()", {"m": channel}, 1, stacked=True)
        assert value_of({"m": channel}, rank, stacked=True).item() == pytest.approx(expected)


def test_an_embedding_is_compared_with_a_reference(tmp_path: Path) -> None:
    np.save(tmp_path / "ref.npy", np.array([0, 2, 0], np.float32))
    (rank,) = resolve(f"logits.cosine({tmp_path / 'ref.npy'})", OUTPUTS, 2, stacked=True)
    assert value_of(OUTPUTS, rank, stacked=True).tolist() == pytest.approx((LOGITS[:, 1] / LOGITS.norm(dim=1)).tolist())


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("1 - 2 - 0", "more than one difference"),
        ("top2 - 1", "2 targets, where one is needed"),
        ("boxes[1].sum(x.npy)", "takes nothing"),
        ("logits.cosine()", "takes a file"),
        ("boxes[0,0].region()", "one class in the index"),
        ("logits[0].region()", "no places"),
        ("boxes[0].region()", "highest nowhere"),
        ("boxes[argmax,runnerup]", "stand in one index"),
        ("box:1,2,3", "is no box"),
        ("box:5,5,1,1", "is empty"),
        (Target("logit", (1,)), "did you mean 'logits'"),
    ],
)
def test_what_these_cannot_mean_is_refused_with_a_way_out(spec: Any, says: str) -> None:
    with pytest.raises(UsageError) as fault:
        texts(spec)
    assert says in f"{fault.value.what} {fault.value.hint}"
    assert fault.value.hint
    assert fault.value.where == "target"


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "cannot be read"), (np.zeros(3), "is zero or not finite"), (np.ones(4), "does not fit the [3] numbers")],
)
def test_a_reference_that_cannot_serve_is_refused(content: Any, says: str, tmp_path: Path) -> None:
    if content is not None:
        np.save(tmp_path / "ref.npy", content)
    with pytest.raises(InputError) as fault:
        resolve(f"logits.cosine({tmp_path / 'ref.npy'})", OUTPUTS, 2, stacked=True)
    assert says in str(fault.value)
    assert fault.value.hint


def test_a_name_is_not_taken_for_an_output_that_it_merely_begins_with() -> None:
    outputs = {"logits": LOGITS, "arg": BOXES}
    assert [str(t) for t in resolve("argmax", outputs, 2, stacked=True)[0]] == ["logits[1]", "logits[0]"]
    assert output_of("argmax", outputs) == "logits"
