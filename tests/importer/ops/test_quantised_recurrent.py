"""Quantised recurrent layers against ONNX Runtime."""

from functools import partial

import numpy as np
import pytest

from onnxsal.importer.ops.quantised_recurrent import Product
from tests.importer.ops.support import check

random = np.random.default_rng(0)
run = partial(check, "DynamicQuantizeLSTM", domain="com.microsoft", opset=1, n_outputs=3)


def layer(directions, features=5, hidden=4, kind=np.uint8, per_column=False):
    """Return x, W, R, B and the scales and zero points in the operator's order, the optional inputs left out."""
    info = np.iinfo(kind)
    scales = (directions, 4 * hidden) if per_column else (directions,)
    weights = [
        random.integers(info.min, info.max + 1, (directions, n, 4 * hidden)).astype(kind) for n in (features, hidden)
    ]
    x = random.standard_normal((6, 1, features)).astype(np.float32)
    b = random.standard_normal((directions, 8 * hidden)).astype(np.float32)
    quantised = []
    for _ in weights:
        middle = 0 if kind == np.int8 else 128
        quantised += [random.uniform(0.005, 0.02, scales).astype(np.float32), np.full(scales, middle, kind)]
    return x, *weights, b, quantised


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_directions_and_types(direction, kind):
    x, w, r, b, quantised = layer(2 if direction == "bidirectional" else 1, kind=kind)
    run(
        [x, w, r, b, None, None, None, None, *quantised],
        constants=[1, 2, 8, 9, 10, 11],
        direction=direction,
        hidden_size=4,
    )


def test_scales_per_column():
    x, w, r, b, quantised = layer(1, per_column=True)
    run([x, w, r, b, None, None, None, None, *quantised], constants=[1, 2, 8, 9, 10, 11], hidden_size=4)


def test_initial_states_and_peepholes():
    x, w, r, b, quantised = layer(1)
    h, c = random.standard_normal((2, 1, 1, 4)).astype(np.float32)
    p = random.standard_normal((1, 12)).astype(np.float32)
    run([x, w, r, b, None, h, c, p, *quantised], constants=[1, 2, 8, 9, 10, 11], hidden_size=4)


def test_a_batch_shares_one_scale():
    x, w, r, b, quantised = layer(1)
    x = np.concatenate([x, 3 * x[::-1]], 1)
    run([x, w, r, b, None, None, None, None, *quantised], constants=[1, 2, 8, 9, 10, 11], hidden_size=4)


def test_gradients_go_straight_through_the_rounding():
    import torch

    weights = torch.randint(0, 256, (5, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    product = Product(weights, torch.tensor(0.1), torch.tensor(128, dtype=torch.uint8))
    x = torch.randn(2, 5, generator=torch.Generator().manual_seed(1), requires_grad=True)
    inner = (x > x.amin()) & (x < x.amax())  # the extremes also move the scale
    (gradient,) = torch.autograd.grad(product(x)[:, 0].sum(), x)
    dequantised = (weights.float() - 128)[:, 0] * 0.1
    torch.testing.assert_close(gradient[inner], dequantised.expand_as(x)[inner], rtol=1e-4, atol=1e-4)
