"""Hyper-connections and the gates around them against ONNX Runtime."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from tests.importer.ops.support import check as check_node

RANDOM = np.random.default_rng(5)
check = partial(check_node, opset=1, domain="com.microsoft")
HALF = {"rtol": 2e-3, "atol": 2e-3}


def _x(*shape: int, dtype: type = np.float32) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("scale", [None, (12,), (3, 4), (4,)])
@pytest.mark.parametrize("flat", [False, True])
def test_norm_of_branches(scale: tuple[int, ...] | None, flat: bool) -> None:
    x = _x(2, 5, 12) if flat else _x(2, 5, 3, 4)
    branches = {"num_branches": 3} if flat else {}
    check("BranchwiseRMSNorm", [x, None if scale is None else _x(*scale)], epsilon=1e-2, gradient=True, trace=True,
          **branches)  # fmt: skip


@pytest.mark.parametrize("gate", [(2, 5, 3), (2, 5, 3, 1), (2, 5, 3, 4)])
@pytest.mark.parametrize("flat", [False, True])
def test_mix_before_a_layer(gate: tuple[int, ...], flat: bool) -> None:
    x = _x(2, 5, 12) if flat else _x(2, 5, 3, 4)
    branches = {"num_branches": 3} if flat else {}
    check("HyperConnectionPreMix", [x, _x(*gate)], reduction_scale=0.5, gradient=True, trace=True, **branches)


def test_mix_before_a_layer_with_flat_gates() -> None:
    check("HyperConnectionPreMix", [_x(2, 12), _x(2, 12)], num_branches=3, gradient=True, trace=True)


@pytest.mark.parametrize("gate", [(2, 5, 3), (2, 5, 3, 1), (2, 5, 3, 4)])
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("mixed", [False, True])
def test_mix_after_a_layer(gate: tuple[int, ...], flat: bool, mixed: bool) -> None:
    x = _x(2, 5, 12) if flat else _x(2, 5, 3, 4)
    branches = {"num_branches": 3} if flat else {}
    mix = _x(2, 5, 3, 3) if mixed else None
    check("HyperConnectionPostMix", [x, _x(2, 5, 4), _x(*gate), mix], gradient=True, trace=True, **branches)


@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_gate_of_a_memory(normed: bool, dtype: type) -> None:
    inputs = [_x(2, 5, 3, 4, dtype=dtype), _x(2, 5, 3, 4, dtype=dtype), _x(2, 5, 4, dtype=dtype),
              _x(3, 4, dtype=dtype), _x(3, 4, dtype=dtype), _x(3, 4, dtype=dtype) if normed else None]  # fmt: skip
    how = HALF if dtype == np.float16 else {"gradient": True, "trace": True}
    check("EngramGate", inputs, epsilon=1e-3, n_outputs=2 if normed else 1, **how)


def test_half_precision() -> None:
    x = _x(2, 3, 4, dtype=np.float16)
    check("BranchwiseRMSNorm", [x, _x(4)], **HALF)
    check("HyperConnectionPreMix", [x, _x(2, 3)], **HALF)
    check("HyperConnectionPostMix", [x, _x(2, 4, dtype=np.float16), _x(2, 3), _x(2, 3, 3)], **HALF)
