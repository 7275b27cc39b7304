from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from onnxsal.importer.build import build
from onnxsal.importer.normalise import normalise
from tests.importer.ops.support import check, node_model

RANDOM = np.random.default_rng(0)


def _normal(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


SHAPES = [
    ((3, 4), (4, 2)),
    ((4,), (4,)),
    ((4,), (4, 2)),
    ((3, 4), (4,)),
    ((5, 1, 3, 4), (2, 4, 6)),
    ((5, 3, 4), (4, 2)),
]


@pytest.mark.parametrize(("a", "b"), SHAPES)
@pytest.mark.parametrize("constants", [(), (0,), (1,)])
@pytest.mark.parametrize("opset", [7, 9, 13])
def test_matmul(a: tuple[int, ...], b: tuple[int, ...], constants: tuple[int, ...], opset: int) -> None:
    check("MatMul", [_normal(*a), _normal(*b)], opset=opset, constants=constants, gradient=True, trace=True)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint32, np.uint64, np.float64])
@pytest.mark.parametrize("constants", [(), (1,)])
def test_matmul_of_other_types(dtype: type, constants: tuple[int, ...]) -> None:
    check("MatMul", [np.arange(6, dtype=dtype).reshape(2, 3), np.full((3, 2), 7, dtype)], opset=13, constants=constants)


def test_matmul_of_halves() -> None:
    a, b = _normal(3, 4).astype(np.float16), _normal(4, 2).astype(np.float16)
    check("MatMul", [a, b], opset=13, rtol=2e-3, atol=2e-3)
    check("MatMul", [a, b], opset=13, constants=(1,), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("bias", [None, (2,), (1, 2), (3, 2), (3, 1), (), (1,)])
@pytest.mark.parametrize(
    "attributes",
    [{}, {"transA": 1}, {"transB": 1}, {"transA": 1, "transB": 1}, {"alpha": 0.5, "beta": 2.0}, {"beta": 0.3}],
)
@pytest.mark.parametrize("constants", [(), (1, 2)])
def test_gemm(bias: tuple[int, ...] | None, attributes: dict[str, Any], constants: tuple[int, ...]) -> None:
    a = _normal(4, 3) if attributes.get("transA") else _normal(3, 4)
    b = _normal(2, 4) if attributes.get("transB") else _normal(4, 2)
    inputs = [a, b] if bias is None else [a, b, _normal(*bias)]
    constants = constants[: len(inputs) - 1]
    check("Gemm", inputs, opset=13, constants=constants, gradient=True, trace=True, **attributes)


@pytest.mark.parametrize("opset", [7, 9, 11])
def test_gemm_of_old_opsets(opset: int) -> None:
    check("Gemm", [_normal(3, 4), _normal(4, 2), _normal(2)], opset=opset)


def test_gemm_with_broadcast_asked_for() -> None:
    a, b, c = _normal(3, 4), _normal(4, 2), _normal(2)
    check("Gemm", [a, b, c], opset=6, expected=[a @ b + c], broadcast=1)
    check("Gemm", [a, b, c], opset=1, expected=[2 * a @ b + c], broadcast=1, alpha=2.0)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint32, np.uint64])
def test_gemm_of_integers(dtype: type) -> None:
    a, b, c = np.arange(6, dtype=dtype).reshape(2, 3), np.full((3, 2), 7, dtype), np.array([1, 2], dtype)
    check("Gemm", [a, b, c], opset=13, expected=[a @ b + c])
    check("Gemm", [a, b, c], opset=13, expected=[2 * (a @ b) + 3 * c], alpha=2.0, beta=3.0)


@pytest.mark.parametrize("trans_b", [0, 1])
def test_constant_weights_are_a_linear_layer_that_shares_memory(trans_b: int) -> None:
    b = _normal(2, 4) if trans_b else _normal(4, 2)
    graph = normalise(node_model("Gemm", [_normal(3, 4), b, _normal(2)], opset=13, constants=(1, 2), transB=trans_b))
    module = build(graph)
    (linear,) = [m for m in module.modules() if isinstance(m, nn.Linear)]
    address = graph.constants["x1"].__array_interface__["data"][0]
    assert linear.weight.data_ptr() == address
    assert not linear.weight.requires_grad


def test_what_is_no_linear_layer_stays_a_call() -> None:
    inputs = [_normal(3, 4), _normal(4, 2), _normal(3, 1)]
    module = build(normalise(node_model("Gemm", inputs, opset=13, constants=(1, 2))))
    assert not [m for m in module.modules() if isinstance(m, nn.Linear)]
    torch.testing.assert_close(
        module(torch.from_numpy(inputs[0]))[0], torch.from_numpy(inputs[0] @ inputs[1] + inputs[2])
    )


def test_det() -> None:
    check("Det", [_normal(3, 3)], opset=11, gradient=True)
    check("Det", [_normal(2, 5, 4, 4)], opset=11, gradient=True)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij->ji", [(3, 4)]),
        ("ii->i", [(3, 3)]),
        ("ij", [(3, 4)]),
        ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]),
        ("...ij, ...jk -> ...ik", [(2, 3, 4), (2, 4, 5)]),
        ("i,j,k->kji", [(2,), (3,), (4,)]),
        ("bhwc,hkc->bhwk", [(2, 3, 4, 5), (3, 6, 5)]),
        ("ij,jk", [(2, 3), (3, 4)]),
        ("abc->", [(2, 3, 4)]),
    ],
)
def test_einsum(equation: str, shapes: list[tuple[int, ...]]) -> None:
    check("Einsum", [_normal(*s) for s in shapes], opset=12, gradient=True, trace=True, equation=equation)
