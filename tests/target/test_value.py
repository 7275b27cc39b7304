from __future__ import annotations

import numpy as np
import pytest
import torch

from onnxsal.target import outputs_of, value_of
from onnxsal.types import Target

LOGITS = torch.tensor([[0.1, 0.7, 0.2], [0.9, 0.0, 0.1]])
MAPS = torch.arange(2 * 3 * 4, dtype=torch.float32).reshape(2, 3, 4)
OUTPUTS = {"logits": LOGITS, "maps": MAPS}


def test_a_difference_takes_one_number_from_the_other_across_outputs() -> None:
    targets = [Target("logits", (1,), minus=Target("maps", (0, 1)))] * 2
    assert outputs_of(targets) == ["logits", "maps"]
    assert value_of(OUTPUTS, targets, stacked=True).tolist() == pytest.approx([0.7 - 1, 0 - 13])


def test_a_mask_chooses_which_numbers_are_summed_each_example_by_its_own() -> None:
    masks = [np.array([True, False, False, True]), np.array([False, True, False, False])]
    targets = [Target("maps", (c,), "region", operand=mask) for c, mask in zip((0, 2), masks, strict=True)]
    assert value_of(OUTPUTS, targets, stacked=True).tolist() == [0 + 3, 12 + 8 + 1]
    copies = {"maps": torch.cat([MAPS, MAPS + 100])}
    assert value_of(copies, targets, stacked=True).tolist() == [3, 21, 203, 121]


def test_cosine_compares_with_a_reference() -> None:
    reference = np.array([1.0, 0, 0], np.float32)
    expected = (LOGITS[:, 0] / LOGITS.norm(dim=1)).tolist()
    found = value_of(OUTPUTS, [Target("logits", (), "cosine", operand=reference)] * 2, stacked=True)
    assert found.tolist() == pytest.approx(expected, rel=1e-6)


def test_a_product_multiplies_what_a_slice_picks() -> None:
    targets = [Target("maps", (1, slice(0, 4, 3)), "prod")] * 2
    assert value_of(OUTPUTS, targets, stacked=True).tolist() == [4 * 7, 16 * 19]


def test_examples_may_ask_for_numbers_of_different_kinds_in_any_copy() -> None:
    targets = [Target("maps", (1,), "sum"), Target("logits", (2,))]
    copies = {name: torch.cat([value, value * 10]) for name, value in OUTPUTS.items()}
    assert value_of(copies, targets, stacked=True).tolist() == pytest.approx([22, 0.1, 220, 1.0])


def test_gradients_reach_each_examples_own_number_and_no_other() -> None:
    leaf = LOGITS.clone().requires_grad_()
    targets = [Target("logits", (2,), minus=Target("logits", (0,))), Target("logits", (1,))]
    (gradient,) = torch.autograd.grad(value_of({"logits": leaf}, targets, stacked=True).sum(), leaf)
    assert gradient.tolist() == [[-1, 0, 1], [0, 1, 0]]


def test_a_difference_is_captioned_by_both_names() -> None:
    cat, dog = Target("logits", (1,), label="cat"), Target("logits", (2,), label="dog")
    assert cat.caption == "cat · logits[1]"
    assert Target("logits", (1,), label="cat", minus=dog).caption == "cat rather than dog · logits[1] - logits[2]"
    assert Target("logits", (1,), minus=dog).caption == "logits[1] - logits[2]"
