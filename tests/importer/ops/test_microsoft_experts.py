"""Mixtures of experts against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from onnxsal.errors import ImportFault
from onnxsal.importer.ops.microsoft_experts import mixture_of_experts
from tests.importer.ops.support import check as check_node

EXPERTS, WIDTH, INNER = 4, 6, 5
SWIGLU = {"activation_type": "swiglu", "swiglu_fusion": 1}


def _inputs(*tokens: int, doubled: bool = False, bias: bool = True) -> list[Any]:
    random = np.random.default_rng(0)
    first = 2 * INNER if doubled else INNER
    rows = int(np.prod(tokens))
    sizes = [(*tokens, WIDTH), (rows, EXPERTS), (EXPERTS, first, WIDTH), (EXPERTS, first), (EXPERTS, WIDTH, INNER),
             (EXPERTS, WIDTH)]  # fmt: skip
    arrays: list[Any] = [random.standard_normal(s).astype(np.float32) for s in sizes]
    return arrays if bias else [*arrays[:3], None, arrays[4]]


def check(inputs: list[Any], **options: Any) -> None:
    check_node(
        "MoE", inputs, opset=1, domain="com.microsoft", gradient=True, trace=True, rtol=1e-4, atol=1e-4, **options
    )


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "identity"])
@pytest.mark.parametrize("normalised", [0, 1])
def test_activations(activation: str, normalised: int) -> None:
    check(_inputs(5), activation_type=activation, k=2, normalize_routing_weights=normalised)


@pytest.mark.parametrize(("k", "tokens", "bias"), [(1, (2, 3), True), (4, (5,), False)])
def test_how_many_answer(k: int, tokens: tuple[int, ...], bias: bool) -> None:
    check(_inputs(*tokens, bias=bias), activation_type="silu", k=k)


@pytest.mark.parametrize("more", [{}, {"activation_alpha": 1.7, "activation_beta": 1.0, "swiglu_limit": 1.5}])
def test_gated(more: dict[str, Any]) -> None:
    check(_inputs(5, doubled=True), k=2, **SWIGLU, **more)


def test_the_second_projection_may_come_in_three_ways() -> None:
    x, router, fused, _, out = (torch.from_numpy(a) for a in _inputs(5, doubled=True)[:5])
    one_after_the_other = torch.cat([fused[:, 0::2], fused[:, 1::2]], 1)
    expected = mixture_of_experts(x, router, fused, None, out, **SWIGLU)
    halves = mixture_of_experts(x, router, one_after_the_other, None, out, activation_type="swiglu", swiglu_fusion=2)
    apart = mixture_of_experts(x, router, fused[:, 0::2], None, out, None, fused[:, 1::2], activation_type="swiglu")
    gated = mixture_of_experts(x, router, fused[:, 0::2], None, out, None, fused[:, 1::2], activation_type="silu")
    for other in (halves, apart, gated):
        torch.testing.assert_close(other, expected)


def test_the_limit_may_come_after_the_activation() -> None:
    x, router, fused, _, out = (torch.from_numpy(a) for a in _inputs(5, doubled=True)[:5])
    options = {**SWIGLU, "swiglu_limit": 0.3}
    before = mixture_of_experts(x, router, fused, None, out, **options)
    after = mixture_of_experts(x, router, fused, None, out, **options, swiglu_limit_after_activation=1)
    gate, up = torch.einsum("nh,eih->nei", x, fused).unflatten(-1, (-1, 2)).unbind(-1)
    answers = torch.einsum("nei,ehi->neh", torch.nn.functional.silu(gate).clamp(max=0.3) * up.clamp(-0.3, 0.3), out)
    best = router.softmax(-1).max(-1)
    torch.testing.assert_close(after, best.values[:, None] * answers[torch.arange(5), best.indices])
    assert not torch.allclose(before, after)


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(ImportFault, match="'relu2' is unknown"):
        mixture_of_experts(*(torch.from_numpy(a) for a in _inputs(5)[:5]), activation_type="relu2")
