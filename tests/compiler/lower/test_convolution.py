"""Convolutions of every rank, stride, dilation, group and padding, by their input and by their filters."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.compiler.lower.support import check, normal

CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@st.composite
def geometries(draw):
    rank = draw(st.integers(1, 3))
    each = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(rank))  # noqa: E731
    kernel, stride, dilation, padding = each(1, 3), each(1, 3), each(1, 2), each(0, 3)
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    sizes = tuple(max(1, r - 2 * p) + draw(st.integers(0, 4)) for r, p in zip(reach, padding, strict=True))
    groups = draw(st.sampled_from([1, 1, 2, 4]))
    return rank, kernel, stride, dilation, padding, sizes, groups, draw(st.sampled_from([17, 20]))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(geometries())
def test_by_input(geometry):
    rank, kernel, stride, dilation, padding, sizes, groups, opset = geometry
    w = normal(4, 4 // groups, *kernel, seed=1)
    check(lambda x: CONVOLVE[rank](x, w, None, stride, padding, dilation, groups), normal(2, 4, *sizes), opset=opset)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(geometries())
def test_transposed_by_input(geometry):
    rank, kernel, stride, dilation, _, sizes, groups, opset = geometry
    w = normal(4, 8 // groups, *kernel, seed=1)
    check(lambda x: TRANSPOSE[rank](x, w, None, stride, 0, 0, groups, dilation), normal(2, 4, *sizes), opset=opset)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_by_filters(groups, stride):
    def convolve(x, w):
        return F.conv2d(x, w, None, stride, 1, 1, groups)

    check(convolve, normal(2, 4, 7, 6), normal(6, 4 // groups, 3, 3, seed=1), open_batch=False)


def test_open_places():
    w = normal(3, 2, 3, 3, seed=1)

    def convolve(x):
        return F.conv2d(F.conv2d(x.transpose(0, 2), w, None, 2, 1), normal(2, 3, 3, 3, seed=2), None, 1, 1)

    check(convolve, normal(7, 2, 4, 5))


def test_depthwise():
    w = normal(4, 1, 3, 3, seed=1)
    check(lambda x: F.conv2d(x, w, None, 1, 1, 1, 4), normal(2, 4, 5, 6))
    check(lambda x: F.conv2d(x, torch.flip(w, [0]), None, 2, 1, 1, 4), normal(2, 4, 5, 6))
