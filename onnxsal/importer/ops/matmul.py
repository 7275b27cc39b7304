"""Matrix products."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from onnxsal.importer.operator import layer, op
from onnxsal.importer.unsigned import modular


@op("MatMul")
def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Multiply matrices, or stacks of them."""
    return modular(torch.matmul, a, b)


@layer(matmul)
def matmul_layer(b: Tensor) -> nn.Module | None:
    """Use a linear layer where the second matrix is constant."""
    return linear_layer(b.t(), None) if b.ndim == 2 and b.is_floating_point() else None


def linear_layer(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """Return a linear layer over the given memory; the weight's rows are the outputs."""
    outputs, inputs = weight.shape
    module = nn.Linear(inputs, outputs, bias=bias is not None, device="meta")
    module.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        module.bias = nn.Parameter(bias, requires_grad=False)
    return module


@op("Gemm", since=7)
def gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    """Multiply two matrices, either of which may be transposed, and add a third."""
    product = matmul(a.t() if transA else a, b.t() if transB else b)
    return _plus_scaled(_scaled(product, alpha), c, beta)


def _plus_scaled(product: Tensor, c: Tensor | None, beta: float) -> Tensor:
    return product if c is None else modular(torch.add, product, _scaled(c, beta))


def _scaled(x: Tensor, factor: float) -> Tensor:
    """Scale; integers too, cutting off the fraction as ONNX Runtime does."""
    return x if factor == 1 else (x * factor).to(x.dtype)


@layer(gemm)
def gemm_layer(
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> nn.Module | None:
    """Use a linear layer where matrix and bias are constant and nothing is scaled."""
    weight = b if transB else b.t()
    outputs = weight.shape[0]
    fits = c is None or (c.numel() == outputs and c.shape[-1:] == (outputs,) and beta == 1)
    if transA or alpha != 1 or not fits or not b.is_floating_point():
        return None
    return linear_layer(weight, None if c is None else c.reshape(outputs))


@op("Gemm")
def gemm_1(
    a: Tensor,
    b: Tensor,
    c: Tensor,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    broadcast: int = 0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    """Multiply two matrices and add a third (opsets below 7)."""
    return gemm(a, b, c, alpha=alpha, beta=beta, transA=transA, transB=transB)


@op("Det", since=11)
def det(x: Tensor) -> Tensor:
    """Return the determinant of a square matrix, or of each in a stack."""
    determinant: Tensor = torch.linalg.det(x)
    return determinant


@op("Einsum", since=12)
def einsum(*inputs: Tensor, equation: str) -> Tensor:
    """Sum products over indices by Einstein's convention."""
    return torch.einsum(equation, *inputs)
