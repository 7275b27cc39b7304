from __future__ import annotations

import pytest
import torch

from onnxsal.errors import UsageError
from onnxsal.target import other_class
from onnxsal.types import Target

OUTPUTS = {"logits": torch.zeros(2, 4), "maps": torch.zeros(2, 3, 5, 5), "one": torch.zeros(2, 1)}


def others(target: Target, stacked: bool = True) -> set[tuple[int | slice, ...]]:
    generator = torch.Generator().manual_seed(0)
    return {other_class(target, OUTPUTS, generator, stacked=stacked).index for _ in range(60)}


def test_every_other_class_may_come() -> None:
    assert others(Target("logits", (1,))) == {(0,), (2,), (3,)}
    assert others(Target("logits", (-1,))) == {(0,), (1,), (2,)}


def test_places_stay() -> None:
    places = (slice(None), slice(1, 3))
    found = [other_class(Target("maps", (1, *places), "sum"), OUTPUTS, torch.Generator(), stacked=True)]
    assert found[0].index[1:] == places
    assert found[0].index[0] in {0, 2}
    assert found[0].reduction == "sum"


def test_without_a_batch_axis_too() -> None:
    assert others(Target("logits", (0, 3)), stacked=False) == {(0, 0), (0, 1), (0, 2)}


def test_the_name_of_the_class_does_not_stay() -> None:
    assert other_class(Target("logits", (1,), label="cat"), OUTPUTS, torch.Generator(), stacked=True).label is None


@pytest.mark.parametrize("target", [Target("one", (0,)), Target("maps", (slice(None),), "sum"), Target("logits", ())])
def test_where_there_is_none_it_says_so(target: Target) -> None:
    with pytest.raises(UsageError, match="no other class"):
        others(target)
