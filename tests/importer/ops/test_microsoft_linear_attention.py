"""Linear attention, its gates and norms against ONNX Runtime."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from onnxsal.errors import ImportFault
from onnxsal.importer.ops.microsoft_linear_attention import (
    causal_conv_with_state_microsoft,
    gated_add,
    gated_delta_net,
    gated_rms_norm,
    linear_attention_microsoft,
    varlen_causal_conv_with_state,
)
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


@pytest.mark.parametrize("key_heads", [2, 4])
def test_more_heads_of_values_than_of_queries(key_heads: int) -> None:
    inputs = [_x(2, 3, 8), 0.3 * _x(2, 3, 4 * key_heads), _x(2, 3, 12), None, -abs(_x(2, 3, 4)), abs(_x(2, 3, 1))]
    check("LinearAttention", inputs, n_outputs=2, q_num_heads=2, kv_num_heads=4)


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


@pytest.mark.parametrize("activation", ["none", "silu", "swish"])
@pytest.mark.parametrize("past", [False, True])
@pytest.mark.parametrize("dilation", [1, 2])
def test_causal_convolution(activation: str, past: bool, dilation: int) -> None:
    state = _x(2, 3, 2 * dilation) if past else None
    inputs = [_x(2, 3, 5), _x(3, 1, 3), _x(3) if past else None, state]
    check("CausalConvWithState", inputs, n_outputs=2, activation=activation, dilation=dilation, trace=True)


@pytest.mark.parametrize("features", [(6,), (3, 2)])
@pytest.mark.parametrize("past", [False, True])
def test_causal_convolution_of_channels_last(features: tuple[int, ...], past: bool) -> None:
    state = _x(2, 4, *features) if past else None
    inputs = [_x(2, 5, *features), _x(6, 1, 3), _x(6), state]
    check("CausalConvWithState", inputs, n_outputs=2, channels_last=1, dilation=2, activation="silu", trace=True)


@pytest.mark.parametrize("option", [{"ndim": 2}, {"state_window": 2}, {"input_channels": 1}, {"state_length": 4}])
def test_convolutions_for_other_processors_are_refused(option: dict[str, int]) -> None:
    with pytest.raises(ImportFault, match="for other processors"):
        causal_conv_with_state_microsoft(torch.zeros(1, 2, 4), torch.zeros(2, 1, 2), **option)


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("capture", [0, 3])
def test_causal_convolution_of_packed_requests(dilation: int, capture: int) -> None:
    counts = np.array([1, 3, 2], np.int32) if capture else None
    inputs = [_x(9, 4), _x(4, 1, 3), np.array([0, 2, 8, 9], np.int32), None if capture else _x(4),
              _x(3, 4, 2 * dilation), counts]  # fmt: skip
    check("VarlenCausalConvWithState", inputs, n_outputs=3 if capture else 2, activation="silu" if capture else "none",
          dilation=dilation, state_update_capacity=capture, trace=True)  # fmt: skip


def test_packed_requests_in_half_precision() -> None:
    x, w, state = (_x(*s).astype(np.float16) for s in ((5, 4), (4, 1, 3), (2, 4, 2)))
    check_node("VarlenCausalConvWithState", [x, w, np.array([0, 2, 5], np.int32), None, state], opset=1,
               domain="com.microsoft", n_outputs=2, rtol=2e-3, atol=2e-3)  # fmt: skip


def test_a_kernel_that_changes_is_refused() -> None:
    x, state = torch.zeros(3, 2), torch.zeros(1, 2, 1)
    with pytest.raises(ImportFault, match="changes from token to token"):
        varlen_causal_conv_with_state(x, torch.zeros(2, 1, 2), torch.tensor([0, 3]), None, state, None, x, x)


TOKENS, KEY_HEADS, HEADS, KEYS, VALUES = 6, 2, 4, 4, 5


def _delta(rule: str, wide_decay: bool = False) -> list[np.ndarray | None]:
    keys = _x(TOKENS, KEY_HEADS, KEYS)
    decay = -abs(_x(TOKENS, HEADS, KEYS) if wide_decay else _x(TOKENS, HEADS)) if "gated" in rule else None
    return [_x(TOKENS, KEY_HEADS, KEYS), keys / np.linalg.norm(keys, axis=-1, keepdims=True),
            _x(TOKENS, HEADS, VALUES), None, decay,
            abs(_x(TOKENS, HEADS)) if "delta" in rule else None, _x(2, HEADS, VALUES, KEYS)]  # fmt: skip


delta_check = partial(check, "GatedDeltaNet", rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rule", ["linear", "gated", "delta", "gated_delta"])
def test_delta_network(rule: str) -> None:
    delta_check(_delta(rule, wide_decay=rule == "gated"), n_outputs=2, update_rule=rule, trace=True)


def test_delta_network_of_requests_of_several_lengths() -> None:
    inputs = _delta("gated_delta")
    inputs[3] = np.array([0, 1, 6], np.int32)
    delta_check(inputs, n_outputs=2)
    delta_check([*inputs[:6], None], n_outputs=2, scale=0.7)


@pytest.mark.parametrize("state", [False, True])
def test_delta_network_of_a_batch(state: bool) -> None:
    q, k, v, _, decay, rate, initial = _delta("gated_delta")
    batch = [x.reshape(2, 3, *x.shape[1:]) for x in (q, k, v, decay, rate)]
    delta_check([*batch[:3], None, *batch[3:], initial if state else None], n_outputs=2)


@pytest.mark.parametrize("leading", [(6,), (2, 3)])
def test_packed_delta_network(leading: tuple[int, ...]) -> None:
    q, k, v, _, decay, rate, initial = _delta("gated_delta")
    packed = np.concatenate([x.reshape(*leading, -1) for x in (q, k, v)], -1)
    gates = [x.reshape(*leading, HEADS) for x in (decay, rate)]
    delta_check([packed, None, None, None, *gates, initial], n_outputs=2)


@pytest.mark.parametrize("activation", ["softplus", "qwen", "sigmoid", "kda"])
@pytest.mark.parametrize("wide", [False, True])
def test_gates_of_a_delta_network(activation: str, wide: bool) -> None:
    bias = _x(HEADS, KEYS) if wide else _x(HEADS)
    delta_check([*_delta("gated_delta", wide), _x(HEADS), bias.ravel() if activation == "kda" else bias], n_outputs=2,
                gate_activation=activation, beta_activation="sigmoid", qk_l2_norm=1, gate_lower_bound=-3.0)  # fmt: skip


@pytest.mark.parametrize("rule", ["linear", "delta", "gated_delta"])
@pytest.mark.parametrize("active", [None, 0, 1])
def test_what_a_delta_network_captures(rule: str, active: int | None) -> None:
    switch = None if active is None else np.array([active], np.int32)
    inputs = [*_delta(rule, wide_decay=active == 1), None, None, np.array([3, 3], np.int32), switch]
    delta_check(inputs, n_outputs=3, update_rule=rule, state_update_capacity=3)


def test_delta_network_in_half_precision() -> None:
    q, k, v, *rest = _delta("gated_delta")
    inputs = [*(x.astype(np.float16) for x in (q, k, v)), *rest]
    check_node("GatedDeltaNet", inputs, opset=1, domain="com.microsoft", n_outputs=2, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(("option", "match"), [
    ({"update_rule": "odd"}, "'odd' is unknown"), ({"gate_activation": "odd"}, "'odd' is unknown"),
    ({"update_rule": "linear"}, "does not go with"), ({"gate_activation": "kda"}, "needs a_log"),
])  # fmt: skip
def test_delta_networks_that_are_refused(option: dict[str, str], match: str) -> None:
    x = torch.zeros(2, 1, 4)
    with pytest.raises(ImportFault, match=match):
        gated_delta_net(x, x, x, None, x[..., 0], x[..., 0], torch.zeros(1, 1, 4, 4), **option)


def test_packed_queries_need_a_state() -> None:
    with pytest.raises(ImportFault, match="sizes of packed"):
        gated_delta_net(torch.zeros(2, 12), update_rule="linear")
