"""Mixtures of experts against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from onnxsal.errors import ImportFault
from onnxsal.importer.build import build
from onnxsal.importer.normalise import normalise
from onnxsal.importer.ops.microsoft_experts import mixture_of_experts, quantised_mixture_of_experts
from tests.importer.ops.support import check as check_node
from tests.importer.ops.support import run_onnxruntime

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


def _few_bits(bits: int, block: int, *, doubled: bool = False, zeros: bool = False, weighed: bool = False) -> list[Any]:
    """Return the inputs of QMoE: rows of 32 numbers of few bits, with a scale a block, or a row where there is none."""
    random = np.random.default_rng(1)
    size, first = 32, 64 if doubled else 32

    def stored(rows: int) -> list[Any]:
        blocks = size // block if block else 1
        packed = random.integers(0, 256, (EXPERTS, rows, size * bits // 8)).astype(np.uint8)
        scales = random.uniform(0.01, 0.05, (EXPERTS, rows, blocks)).astype(np.float32) / 2 ** (bits - 2)
        shape = (EXPERTS, rows, -(-blocks * bits // 8)) if block else (EXPERTS, rows * bits // 8)
        zero = random.integers(0, 256, shape).astype(np.uint8) if zeros else None
        bias = random.standard_normal((EXPERTS, rows)).astype(np.float32)
        return [packed, scales if block else scales[..., 0], bias, zero]

    x, router = random.standard_normal((5, size)), random.standard_normal((5, EXPERTS))
    (*one, zero_1), (*two, zero_2) = stored(first), stored(size)
    weights = random.uniform(0.1, 1, (5, EXPERTS)).astype(np.float32) if weighed else None
    inputs = [x.astype(np.float32), router.astype(np.float32), *one, *two, None, None, None, zero_1, zero_2, None]
    return [*inputs, weights]


def check_few_bits(inputs: list[Any], **options: Any) -> None:
    """Compare with ONNX Runtime, with constant weights and with others."""
    for given in ([], [2, 3, 4, 5, 6, 7], [2, 3, 5, 6] + [i for i in (11, 12) if inputs[i] is not None]):
        check_node(
            "QMoE", inputs, opset=1, domain="com.microsoft", constants=given,
            trace=True, rtol=1e-4, atol=1e-5, **options,
        )  # fmt: skip


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("block", [0, 16, 32])
@pytest.mark.parametrize("zeros", [False, True])
def test_weights_of_few_bits(bits: int, block: int, zeros: bool) -> None:
    sizes = {"block_size": block} if block else {}
    check_few_bits(_few_bits(bits, block, zeros=zeros), expert_weight_bits=bits, activation_type="silu", k=2, **sizes)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("level", [0, 1, 4])
def test_few_bits_may_be_multiplied_coarsely(bits: int, level: int) -> None:
    """ONNX Runtime rounds tokens, too, where weights of 8 bits are constant, and of 4 where that is allowed."""
    options = {"expert_weight_bits": bits, "block_size": 16, "accuracy_level": level, "k": 2}
    check_few_bits(_few_bits(bits, 16, doubled=True, zeros=True), **options, **SWIGLU)


@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize("normalised", [0, 1])
def test_the_router_may_like_and_weigh_apart(weighed: bool, normalised: int) -> None:
    check_few_bits(_few_bits(4, 32, weighed=weighed), block_size=32, k=2, normalize_routing_weights=normalised)


def test_few_bits_are_gated() -> None:
    more = {"activation_alpha": 1.7, "activation_beta": 1.0, "swiglu_limit": 0.5}
    check_few_bits(_few_bits(4, 16, doubled=True), block_size=16, k=2, **SWIGLU, **more)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"quant_type": "fp8"}, "'fp8' are not supported"), ({"weights_prepacked": 1}, "packed for one kind")],
)
def test_other_forms_of_few_bits_are_refused(options: dict[str, Any], message: str) -> None:
    inputs = [None if a is None else torch.from_numpy(a) for a in _few_bits(4, 32)]
    with pytest.raises(ImportFault, match=message):
        quantised_mixture_of_experts(*inputs, block_size=32, **options)


@pytest.mark.parametrize("options", [
    {"top_k": 3}, {"top_k": 3, "n_group": 4, "topk_group": 2},
    {"top_k": 2, "n_group": 4, "topk_group": 2, "group_topk": 1},
    {"top_k": 2, "n_group": 4, "group_topk": 9}, {"top_k": 2, "router_sentinel": -3.0},
])  # fmt: skip
@pytest.mark.parametrize("equal", [False, True])
def test_router_of_groups(options: dict[str, Any], equal: bool) -> None:
    logits, bias = np.random.default_rng(2).standard_normal((2, 3, 8)), np.random.default_rng(3).standard_normal(8) / 10
    inputs = [(0 if equal else 1) * a.astype(np.float32) for a in (logits, bias)]
    check_node("MoEGroupRouter", inputs, opset=1, domain="com.microsoft", trace=True, **options)


@pytest.mark.parametrize("projected", [False, True])
def test_router_that_shows_all_scores(projected: bool) -> None:
    random = np.random.default_rng(2)
    weights = random.standard_normal((8, 256)).astype(np.float32) / 16
    x = random.standard_normal((3, 256 if projected else 8)).astype(np.float32)
    bias = random.standard_normal(8).astype(np.float32)
    inputs = ["x", "bias", "weights"] if projected else ["x", "bias"]
    node = helper.make_node("MoEGroupRouter", inputs, ["", "scores", "shares"], domain="com.microsoft", top_k=2)
    arrays = {"x": x, "bias": bias} | ({"weights": weights} if projected else {})
    ports = [helper.make_tensor_value_info(name, 1, array.shape) for name, array in arrays.items()]
    outputs = [onnx.ValueInfoProto(name=name) for name in ("scores", "shares")]
    graph = helper.make_graph([node], "graph", ports, outputs)
    opsets = [helper.make_opsetid("com.microsoft", 1), helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    ours = build(normalise(model))(*map(torch.from_numpy, arrays.values()))
    for mine, theirs in zip(ours, run_onnxruntime(model, list(arrays.values())), strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs, rtol=1e-4, atol=1e-6)
