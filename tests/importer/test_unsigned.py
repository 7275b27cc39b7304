from __future__ import annotations

import pytest
import torch
from torch import Tensor

from onnxsal.importer.unsigned import from_order, in_order, modular, narrow, ordered, widen

WIDE = [torch.uint16, torch.uint32, torch.uint64]


def _extremes(dtype: torch.dtype) -> Tensor:
    highest = torch.iinfo(dtype).max
    return torch.tensor([0, 1, highest - 1, highest], dtype=dtype)


@pytest.mark.parametrize("dtype", WIDE)
def test_values_survive_the_way_there_and_back(dtype: torch.dtype) -> None:
    x = _extremes(dtype)
    assert narrow(widen(x), dtype).tolist() == x.tolist()
    assert from_order(in_order(x), dtype).tolist() == x.tolist()
    assert narrow(widen(x), dtype).dtype == dtype


@pytest.mark.parametrize("dtype", WIDE)
def test_order_is_kept(dtype: torch.dtype) -> None:
    x = in_order(_extremes(dtype))
    assert bool((x[1:] > x[:-1]).all())


@pytest.mark.parametrize("dtype", WIDE)
def test_arithmetic_wraps(dtype: torch.dtype) -> None:
    x = _extremes(dtype)
    assert modular(torch.add, x, x[1:2]).tolist() == [1, 2, torch.iinfo(dtype).max, 0]
    assert ordered(torch.maximum, x, x.flip(0)).tolist() == [x[3], x[2], x[2], x[3]]


def test_other_types_pass_untouched() -> None:
    x = torch.tensor([1.0, -2.0])
    assert widen(x) is x
    assert in_order(x) is x
    assert modular(torch.add, x, x).tolist() == [2, -4]
