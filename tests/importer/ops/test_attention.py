"""Attention against ONNX Runtime; what it has no kernel for is held to ONNX's own cases and to definitions here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.importer.ops.support import check


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


Q, K, V = floats(2, 4, 3, 8), floats(2, 4, 5, 8, seed=1), floats(2, 4, 5, 6, seed=2)
MASK = floats(3, 5, seed=3)
ALLOWED = np.array([[1, 0, 1, 1, 0], [0, 1, 0, 0, 0], [1, 1, 1, 1, 1]], bool)


@pytest.mark.parametrize(
    "attributes", [{}, {"is_causal": 1}, {"scale": 0.3}, {"softcap": 0.5}, {"is_causal": 1, "softcap": 2.0}]
)
@pytest.mark.parametrize("mask", [None, MASK, ALLOWED])
def test_attention(attributes: dict[str, Any], mask: np.ndarray | None) -> None:
    inputs = [Q, K, V] if mask is None else [Q, K, V, mask]
    check("Attention", inputs, opset=23, **attributes)
    check("Attention", inputs, opset=24, trace=True, **attributes)


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_the_scores_can_be_had(mode: int) -> None:
    inputs = [Q, K, V, MASK]
    root = np.sqrt(1 / np.sqrt(np.float32(8)))
    scores = (Q * root) @ (K * root).swapaxes(-1, -2)
    capped = 2 * np.tanh(scores / 2)
    biased = capped + MASK
    weights = np.exp(biased) / np.exp(biased).sum(-1, keepdims=True)
    steps = (scores, capped, biased, weights)
    expected = [weights @ V, K, V, steps[mode]]
    options = {"softcap": 2.0, "qk_matmul_output_mode": mode, "n_outputs": 4}
    check("Attention", inputs, opset=24, expected=expected, **options)


def test_heads_in_the_last_axis_and_fewer_of_keys() -> None:
    q, k, v = floats(2, 3, 32), floats(2, 5, 16, seed=1), floats(2, 5, 12, seed=2)
    check("Attention", [q, k, v], opset=23, q_num_heads=4, kv_num_heads=2)
    check("Attention", [q, k, v], opset=23, q_num_heads=4, kv_num_heads=2, is_causal=1, gradient=True, trace=True)


@pytest.mark.parametrize("causal", [0, 1])
def test_a_past_goes_before_the_keys(causal: int) -> None:
    past = floats(2, 4, 2, 8, seed=5), floats(2, 4, 2, 6, seed=6)
    check("Attention", [Q, K, V, None, *past], opset=23, n_outputs=3, is_causal=causal)


def test_a_query_that_sees_nothing_answers_zero_and_has_no_gradient() -> None:
    blind = ALLOWED.copy()
    blind[1] = False
    (y,) = check("Attention", [Q, K, V, blind], opset=24, expected=[_masked(blind)], gradient=True)
    assert not y[:, :, 1].any()


def _masked(allowed: np.ndarray) -> np.ndarray:
    scores = np.exp(Q @ K.swapaxes(-1, -2) / np.sqrt(np.float32(8))) * allowed
    total = scores.sum(-1, keepdims=True)
    return scores / np.where(total == 0, 1, total) @ V


def test_a_window_of_keys() -> None:
    near = np.abs(np.arange(3)[:, None] - np.arange(5)) <= 1
    options = {"left_window_size": 1, "right_window_size": 1}
    check("Attention", [Q, K, V], opset=25, expected=[_masked(near)], **options)


def test_attention_has_the_right_gradient() -> None:
    q, k, v = floats(1, 2, 2, 3), floats(1, 2, 3, 3, seed=1), floats(1, 2, 3, 2, seed=2)
    check("Attention", [q, k, v, floats(2, 3, seed=4)], opset=24, softcap=1.5, gradient=True)


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("size", [0, 4])
def test_rotary_embedding(interleaved: int, size: int) -> None:
    options = {"interleaved": interleaved, "rotary_embedding_dim": size}
    half = (size or 8) // 2
    cache = [np.cos(floats(10, half)), np.sin(floats(10, half))]
    places = np.array([[0, 3, 5], [1, 9, 2]], np.int64)
    check("RotaryEmbedding", [floats(2, 4, 3, 8), *cache, places], opset=23, **options)
    spread = [c[places] for c in cache]
    check("RotaryEmbedding", [floats(2, 4, 3, 8), *spread], opset=23, gradient=True, trace=True, **options)
    if size == 0:
        check("RotaryEmbedding", [floats(2, 3, 32), *cache, places], opset=23, num_heads=4, **options)


@pytest.mark.parametrize("mode", ["linear", "circular"])
def test_tensor_scatter(mode: str) -> None:
    cache, update = floats(2, 3, 5, 4), floats(2, 3, 2, 4, seed=1)
    starts = np.array([1, 3 if mode == "linear" else 4], np.int64)
    expected = cache.copy()
    for b, i in np.ndindex(2, 2):
        expected[b, :, (starts[b] + i) % 5] = update[b, :, i]
    check("TensorScatter", [cache, update, starts], opset=24, mode=mode, expected=[expected], gradient=True, trace=True)
    first = cache.copy()
    first[:, :, :2] = update
    check("TensorScatter", [cache, update], opset=24, expected=[first])


@pytest.mark.parametrize("rule", ["linear", "gated", "delta", "gated_delta"])
def test_linear_attention_has_the_right_gradient(rule: str) -> None:
    q, k, v = floats(1, 3, 4), floats(1, 3, 2, seed=1), floats(1, 3, 3, seed=2)
    decay = -np.abs(floats(1, 3, 1, seed=3)) if "gated" in rule else None
    beta = np.abs(floats(1, 3, 1, seed=4)) if "delta" in rule else None
    state = np.zeros((2, 3))
    outputs = []
    for t in range(3):
        state = state * (np.exp(decay[0, t]) if decay is not None else 1)
        new = v[0, t] if beta is None else beta[0, t] * (v[0, t] - state.T @ k[0, t])
        state = state + np.outer(k[0, t], new)
        outputs.append((q[0, t].reshape(2, 2) @ state).ravel() / np.sqrt(2))
    expected = [np.array(outputs, np.float32)[None], state.astype(np.float32)[None, None]]
    options = {"q_num_heads": 2, "kv_num_heads": 1, "update_rule": rule, "n_outputs": 2}
    inputs = [q, k, v, None, decay, beta]
    check("LinearAttention", inputs, opset=27, expected=expected, gradient=True, **options)


@pytest.mark.parametrize("activation", ["none", "silu"])
def test_causal_convolution_hands_on_its_past(activation: str) -> None:
    x, w, b, past = floats(1, 2, 4), floats(2, 1, 3, seed=1), floats(2, seed=2), floats(1, 2, 2, seed=3)
    whole = np.concatenate([past, x], 2)
    y = np.stack([sum(w[:, 0, i] * whole[0, :, t + i] for i in range(3)) + b for t in range(4)], 1)[None]
    y = y / (1 + np.exp(-y)) if activation == "silu" else y
    expected = [y.astype(np.float32), x[:, :, -2:]]
    options = {"activation": activation, "n_outputs": 2}
    check("CausalConvWithState", [x, w, b, past], opset=27, expected=expected, gradient=True, **options)
