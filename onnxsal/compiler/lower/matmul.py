"""Products of matrices."""

from __future__ import annotations

from onnxsal.compiler.emit import Builder, Value
from onnxsal.compiler.lower import lower


@lower("aten.mm.default", "aten.bmm.default")
def matmul(g: Builder, a: Value, b: Value) -> Value:
    return g.MatMul(a, b)


@lower("aten.mv.default", "aten.dot.default")
def by_vector(g: Builder, a: Value, b: Value) -> Value:
    """Multiply by a matrix of one column: ONNX Runtime 1.32 forgets a transposition before a product with a vector."""
    return g.Squeeze(g.MatMul(a, g.Unsqueeze(b, [1])), [a.rank - 1])


@lower("aten.addmm.default")
def addmm(g: Builder, c: Value, a: Value, b: Value, *, beta: float = 1, alpha: float = 1) -> Value:
    return g.Gemm(a, b, c, alpha=float(alpha), beta=float(beta))


@lower("aten.baddbmm.default")
def baddbmm(g: Builder, c: Value, a: Value, b: Value, *, beta: float = 1, alpha: float = 1) -> Value:
    product = g.MatMul(a, b)
    if alpha != 1:
        product = g.Mul(product, g.scalar(alpha, g.result.dtype))
    if beta == 0:
        return product
    return g.Add(product, c if beta == 1 else g.Mul(c, g.scalar(beta, g.result.dtype)))
