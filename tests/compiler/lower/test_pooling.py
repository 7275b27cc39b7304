"""Pooling over windows that overlap, with padding and rounded up."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.compiler.lower.support import check, normal

MAXIMUM = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


@st.composite
def windows(draw):
    rank = draw(st.integers(1, 3))
    kernel = tuple(draw(st.integers(1, 3)) for _ in range(rank))
    stride = tuple(draw(st.integers(1, 3)) for _ in range(rank))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    sizes = tuple(k + draw(st.integers(0, 4)) for k in kernel)
    return rank, kernel, stride, padding, sizes


@settings(max_examples=20, deadline=None, derandomize=True)
@given(windows())
def test_largest(window):
    rank, kernel, stride, padding, sizes = window
    check(lambda x: MAXIMUM[rank](x, kernel, stride, padding), normal(2, 2, *sizes))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(windows(), st.booleans())
def test_average(window, counts_padding):
    rank, kernel, stride, padding, sizes = window
    check(lambda x: AVERAGE[rank](x, kernel, stride, padding, False, counts_padding), normal(2, 2, *sizes))


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_adaptive(size):
    check(lambda x: F.adaptive_avg_pool2d(x, (size, 2)), normal(2, 3, 5, 4))


def test_ties_go_to_the_first():
    x = torch.zeros(2, 1, 4, 4)
    check(lambda t: F.max_pool2d(t, 2), x)
