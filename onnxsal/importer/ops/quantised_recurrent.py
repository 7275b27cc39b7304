"""Recurrent layers with 8-bit weights, whose inputs and states are rounded to 8 bits as they come."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from onnxsal.importer.operator import op
from onnxsal.importer.ops.quantization import dynamic_quantize_linear
from onnxsal.importer.ops.recurrent import Cell, activations_of, arrange, loop, lstm_cell, restore, total_bias
from onnxsal.importer.parts import part, total
from onnxsal.importer.quantised import exact, load


@op("DynamicQuantizeLSTM", domain="com.microsoft")
def dynamic_quantize_lstm(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None,
    sequence_lens: Tensor | None,
    initial_h: Tensor | None,
    initial_c: Tensor | None,
    p: Tensor | None,
    w_scale: Tensor,
    w_zero_point: Tensor,
    r_scale: Tensor,
    r_zero_point: Tensor,
    *,
    activation_alpha: list[float] | None = None,
    activation_beta: list[float] | None = None,
    activations: Sequence[str] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    input_forget: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run an LSTM layer whose weights are 8-bit numbers, rounding what they multiply to 8 bits at every step."""
    del hidden_size  # R says it
    directions = range(len(r))
    names = list(activations or ("Sigmoid", "Tanh", "Tanh") * len(r))
    functions = activations_of(names, activation_alpha, activation_beta)
    x, (h, c) = arrange(x, r.transpose(1, 2), [initial_h, initial_c], 0)
    bias = total_bias(b)
    projected = [Product(w[d], w_scale[d], w_zero_point[d])(x) for d in directions]
    from_state = [Product(r[d], r_scale[d], r_zero_point[d]) for d in directions]
    cells = [
        partial(
            _step,
            lstm_cell(lambda h: h.new_zeros(()), p, d, functions, clip, input_forget),
            from_state[d],
            None if bias is None else bias[d],
        )
        for d in directions
    ]
    y, h, c = loop(cells, projected, [h, c], sequence_lens, direction)
    return restore(0, y, h, c)


def _step(cell: Cell, recur: Product, bias: Tensor | None, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
    """Run a cell on the sum of its shares, added up in ONNX Runtime's order: the next step rounds what comes out."""
    shares = (x, recur(h)) if bias is None else (x, recur(h), bias)
    return cell(total(*shares), h, c)


class Product:
    """Multiplies by a constant matrix of 8-bit numbers what it first rounds to 8 bits; the sums are exact."""

    def __init__(self, weights: Tensor, scale: Tensor, zero_point: Tensor) -> None:
        (self.weights,) = exact(weights.shape[0], load(weights) - load(zero_point))
        self.scale = scale

    def __call__(self, x: Tensor) -> Tensor:
        return part("Gemm", self.run, x)

    def run(self, x: Tensor) -> Tensor:
        """Return the product."""
        rounded, scale, zero_point = dynamic_quantize_linear(x)
        sums = (rounded - zero_point.to(rounded)).to(self.weights.dtype) @ self.weights
        return sums.to(x.dtype) * (scale * self.scale)
