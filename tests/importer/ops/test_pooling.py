"""Pooling against ONNX Runtime: pads, ceil_mode, dilations, indices, gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.importer.ops.support import check


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


X = floats(2, 3, 9, 8)
BASE: list[dict[str, Any]] = [
    {},
    {"strides": [2, 2], "pads": [1, 1, 1, 1]},
    {"strides": [2, 3], "pads": [0, 1, 2, 0]},
    {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
    {"strides": [3, 2], "auto_pad": "SAME_LOWER"},
    {"auto_pad": "VALID"},
]
CEIL: list[dict[str, Any]] = [
    {"strides": [2, 3], "ceil_mode": 1},
    {"strides": [3, 3], "pads": [1, 1, 1, 1], "ceil_mode": 1},
    {"strides": [4, 3], "pads": [0, 1, 1, 2], "ceil_mode": 1},
]
DILATED: list[dict[str, Any]] = [
    {"dilations": [2, 3]},
    {"dilations": [2, 2], "strides": [2, 1], "pads": [1, 1, 1, 1], "ceil_mode": 1},
    {"dilations": [2, 1], "strides": [2, 2], "pads": [2, 0, 1, 1]},
]


@pytest.mark.parametrize("attributes", BASE)
@pytest.mark.parametrize("opset", [1, 8])
def test_max_pool_of_old_opsets(attributes: dict[str, Any], opset: int) -> None:
    check("MaxPool", [X], opset=opset, kernel_shape=[3, 3], **attributes)


@pytest.mark.parametrize("attributes", BASE + CEIL + DILATED)
@pytest.mark.parametrize("storage_order", [0, 1])
def test_max_pool_with_indices(attributes: dict[str, Any], storage_order: int) -> None:
    options = {"kernel_shape": [3, 3], "storage_order": storage_order, **attributes}
    check("MaxPool", [X], opset=12, n_outputs=2, trace=storage_order == 0, **options)


@pytest.mark.parametrize("opset", [10, 11, 22])
def test_max_pool_of_new_opsets(opset: int) -> None:
    for attributes in CEIL + DILATED:
        check("MaxPool", [X], opset=opset, kernel_shape=[3, 3], **attributes)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "float64", "float16"])
@pytest.mark.parametrize("pads", [[1, 1, 1, 1], [0, 0, 1, 1]])
def test_max_pool_of_every_type(dtype: str, pads: list[int]) -> None:
    x = np.random.default_rng(1).integers(-100 if dtype != "uint8" else 0, 100, (1, 2, 6, 6)).astype(dtype)
    check("MaxPool", [x], opset=12, kernel_shape=[3, 3], strides=[2, 2], pads=pads)


@pytest.mark.parametrize("rank", [1, 3])
def test_pools_of_other_ranks(rank: int) -> None:
    x, options = floats(1, 2, *[6] * rank), {"kernel_shape": [3] * rank, "strides": [2] * rank}
    uneven = {"pads": [0] * rank + [1] * rank}
    check("MaxPool", [x], opset=12, n_outputs=2, **options, **uneven)
    check("AveragePool", [x], opset=19, **options, **uneven)
    check("AveragePool", [x], opset=19, **options, count_include_pad=1, pads=[1] * 2 * rank)
    check("LpPool", [x], opset=18, **options, **uneven)


@pytest.mark.parametrize("attributes", BASE)
def test_average_pool_of_the_first_opset(attributes: dict[str, Any]) -> None:
    expected = check("AveragePool", [X], opset=7, kernel_shape=[3, 3], **attributes)
    check("AveragePool", [X], opset=1, kernel_shape=[3, 3], **attributes, expected=expected)


@pytest.mark.parametrize("attributes", BASE)
@pytest.mark.parametrize("count_include_pad", [0, 1])
@pytest.mark.parametrize("opset", [7, 10, 19])
def test_average_pool(attributes: dict[str, Any], count_include_pad: int, opset: int) -> None:
    options = {"kernel_shape": [3, 3], "count_include_pad": count_include_pad, **attributes}
    check("AveragePool", [X], opset=opset, **options)


@pytest.mark.parametrize("attributes", CEIL)
@pytest.mark.parametrize("count_include_pad", [0, 1])
@pytest.mark.parametrize("opset", [10, 11, 19, 22])
def test_average_pool_with_ceil_mode(attributes: dict[str, Any], count_include_pad: int, opset: int) -> None:
    check("AveragePool", [X], opset=opset, kernel_shape=[3, 3], count_include_pad=count_include_pad, **attributes)


@pytest.mark.parametrize("attributes", DILATED)
@pytest.mark.parametrize("count_include_pad", [0, 1])
def test_average_pool_with_dilations(attributes: dict[str, Any], count_include_pad: int) -> None:
    options = {"kernel_shape": [3, 2], "count_include_pad": count_include_pad, **attributes}
    check("AveragePool", [X], opset=19, trace=True, **options)


@pytest.mark.parametrize("opset", [2, 11, 18, 22])
@pytest.mark.parametrize("p", [1, 2, 3])
def test_lp_pool(opset: int, p: int) -> None:
    check("LpPool", [X], opset=opset, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 0, 1, 1], p=p, rtol=1e-4)


def test_lp_pool_with_gaps_and_ceil_mode() -> None:
    for attributes in DILATED + CEIL:
        check("LpPool", [X], opset=18, kernel_shape=[3, 3], **attributes, trace=True)


@pytest.mark.parametrize("name", ["MaxPool", "AveragePool", "LpPool"])
@pytest.mark.parametrize("pads", [[1, 1, 1, 1], [0, 1, 1, 0]])
def test_pools_have_the_right_gradient(name: str, pads: list[int]) -> None:
    check(name, [floats(1, 2, 5, 4)], opset=19, kernel_shape=[2, 2], strides=[2, 1], pads=pads, gradient=True)


def test_where_all_is_zero_the_norm_has_no_infinite_gradient() -> None:
    import torch

    from onnxsal.importer.ops.pooling import global_lp_pool, lp_pool

    x = torch.zeros(1, 1, 4, 4, requires_grad=True)
    (lp_pool(x, kernel_shape=[2, 2]).sum() + global_lp_pool(x).sum()).backward()
    assert torch.equal(x.grad, torch.zeros_like(x))


@pytest.mark.parametrize("name", ["GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool"])
@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 5, 4), (2, 3, 2, 3, 4)])
def test_global_pools(name: str, shape: tuple[int, ...]) -> None:
    check(name, [floats(*shape)], opset=13, gradient=True, trace=True)


def test_global_lp_pool_of_other_norms() -> None:
    check("GlobalLpPool", [X], opset=2, p=3, rtol=1e-4)


def test_max_unpool() -> None:
    x = floats(1, 2, 4, 4)
    y, indices = check("MaxPool", [x], opset=12, n_outputs=2, kernel_shape=[2, 2], strides=[2, 2])
    check("MaxUnpool", [y, indices], opset=9, kernel_shape=[2, 2], strides=[2, 2], gradient=True)
    shape = np.array([1, 2, 5, 5], np.int64)
    check("MaxUnpool", [y, indices, shape], opset=11, kernel_shape=[2, 2], strides=[2, 2])


@pytest.mark.parametrize("shape", [(2, 3, 8), (2, 3, 8, 7), (1, 2, 5, 4, 5)])
@pytest.mark.parametrize("maps", ["all", "one", "each example"])
@pytest.mark.parametrize("pads", [{}, {"auto_pad": "SAME_UPPER"}, {"pads": 1}])
def test_max_pool_with_a_mask(shape: tuple[int, ...], maps: str, pads: dict[str, Any]) -> None:
    random, rank = np.random.default_rng(3), len(shape) - 2
    lead = {"all": shape[:2], "one": (1, 1), "each example": (shape[0], 1)}[maps]
    mask = (random.random((*lead, *shape[2:])) > 0.3).astype(np.int32)
    pads = {"pads": [1, 0, 1, 1, 0, 1][: 2 * rank]} if "pads" in pads else pads
    x = random.standard_normal(shape).astype(np.float32)
    check("MaxpoolWithMask", [x, mask], opset=1, domain="com.microsoft", kernel_shape=[3, 2, 2][:rank],
          strides=[2, 1, 2][:rank], **pads)  # fmt: skip
