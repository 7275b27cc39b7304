"""Linear attention, its gates and norms against ONNX Runtime."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from onnxsal.errors import ImportFault
from onnxsal.importer.ops.microsoft_linear_attention import gated_add, gated_rms_norm, linear_attention_microsoft
from tests.importer.ops.support import check as check_node

RANDOM = np.random.default_rng(5)
check = partial(check_node, opset=1, domain="com.microsoft", gradient=True)


def _x(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("rule", ["linear", "gated", "delta", "gated_delta"])
@pytest.mark.parametrize("past", [False, True])
def test_linear_attention(rule: str, past: bool) -> None:
    state = _x(2, 2, 4, 6) if past else None
    decay = -abs(_x(2, 3, 8 if past else 2)) if "gated" in rule else None
    rate = RANDOM.random((2, 3, 2)).astype(np.float32) if "delta" in rule else None
    inputs = [_x(2, 3, 16), 0.3 * _x(2, 3, 8), _x(2, 3, 12), state, decay, rate]
    check("LinearAttention", inputs, n_outputs=2, q_num_heads=4, kv_num_heads=2, update_rule=rule)


def test_a_window_of_states_is_refused() -> None:
    x = torch.zeros(1, 2, 4)
    with pytest.raises(ImportFault, match="window of states"):
        linear_attention_microsoft(x, x, x, q_num_heads=1, kv_num_heads=1, state_window=2)


def test_gates() -> None:
    check("LinearAttentionGate", [_x(2, 3, 4), _x(4), _x(4), _x(2, 3, 4)], n_outputs=2, trace=True)
    check("LinearAttentionGate", [_x(2, 3, 4), _x(4), _x(4)], trace=True)


@pytest.mark.parametrize("activation", ["silu", "swish", "sigmoid"])
def test_gated_norm(activation: str) -> None:
    check("GatedRMSNorm", [_x(2, 3, 8), _x(4), _x(2, 3, 8)], activation=activation, epsilon=1e-3, trace=True)


def test_an_unknown_gate_is_refused() -> None:
    with pytest.raises(ImportFault, match="'tanh' is unknown"):
        gated_rms_norm(torch.zeros(1, 4), torch.ones(4), torch.zeros(1, 4), activation="tanh")


def test_gated_sum() -> None:
    check("GatedAdd", [_x(2, 3, 8), _x(2, 3, 8), _x(2, 3, 1)], trace=True)


def test_a_gate_may_be_computed() -> None:
    x, y, gate, weight = (torch.from_numpy(_x(*s)) for s in ((2, 8), (2, 8), (2, 4), (4, 1)))
    expected = x + y / (1 + torch.exp(-(gate * weight[:, 0]).sum(1, keepdim=True)))
    torch.testing.assert_close(gated_add(x, y, gate, weight), expected)
