"""Matrix products and what is built of them: determinants, inverses, distances, Fourier transforms."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from onnxsal.importer.operator import Operator
from tests.oracle.gradients import (
    Case,
    Draw,
    chance,
    flag,
    maybe,
    numbers,
    one_of,
    options,
    shape,
    slopes,
)

MICROSOFT = "com.microsoft"
some = st.floats(0.2, 1.5)


@slopes("MatMul")
def matmul(draw: Draw, op: Operator) -> Case:
    n, k, m = draw(st.tuples(*[st.integers(1, 4)] * 3))
    batch = shape(draw, (0, 2), (2, 3))
    a = [*batch, n, k] if chance(draw) else [k] if chance(draw) else [n, k]
    b = [*batch, k, m] if chance(draw) else [k, m] if chance(draw) else [k]
    return Case([numbers(draw, a), numbers(draw, b)])


@slopes("Gemm", unused={"broadcast": "is implied"})
@slopes("FusedGemm", "GemmFastGelu", domain=MICROSOFT, unused={"activation_gamma": "no fused activation takes three"})
def gemm(draw: Draw, op: Operator) -> Case:
    n, k, m = draw(st.tuples(*[st.integers(1, 4)] * 3))
    chosen = options(draw, op, alpha=some, beta=some, transA=flag, transB=flag)
    a, b = numbers(draw, [n, k]), numbers(draw, [k, m])
    a, b = (a.T if chosen.get("transA") else a), (b.T if chosen.get("transB") else b)
    c = draw(one_of(([n, m], [m], [1], [n, 1], [])))
    if op.name == "GemmFastGelu":
        return Case([a, b, maybe(draw, lambda: numbers(draw, [m]))])
    if op.name == "Gemm" and op.since < 7:
        return Case([a, b, numbers(draw, [m])], chosen)
    if op.name == "FusedGemm":
        chosen |= draw(one_of(ACTIVATIONS))
    return Case([np.ascontiguousarray(a), np.ascontiguousarray(b), maybe(draw, lambda: numbers(draw, c))], chosen)


ACTIVATIONS: tuple[dict[str, Any], ...] = (
    {"activation": "Tanh"},
    {"activation": "LeakyRelu", "activation_alpha": 0.2},
    {"activation": "HardSigmoid", "activation_alpha": 0.211, "activation_beta": 0.513},
    {"activation": "Sigmoid"},
)


@slopes("FusedMatMul", "TransposeMatMul", domain=MICROSOFT)
def fused_matmul(draw: Draw, op: Operator) -> Case:
    n, k, m, g = draw(st.tuples(*[st.integers(1, 3)] * 4))
    chosen = options(draw, op, alpha=some, transA=flag, transB=flag, transBatchA=flag, transBatchB=flag)
    a, b = numbers(draw, [g, n, k]), numbers(draw, [g, k, m])
    for side, name in enumerate("AB"):
        turned = (a, b)[side]
        if chosen.get(f"trans{name}"):
            turned = turned.transpose(0, 2, 1)
        if chosen.get(f"transBatch{name}"):
            turned = np.moveaxis(turned, 0, 1)
        a, b = (turned, b) if side == 0 else (a, turned)
    return Case([np.ascontiguousarray(a), np.ascontiguousarray(b)], chosen)


@slopes("Einsum")
def einsum(draw: Draw, op: Operator) -> Case:
    equation, *sizes = draw(one_of((
        ("ij,jk->ik", [2, 3], [3, 4]), ("...ij,...jk", [2, 2, 3], [2, 3, 2]), ("ii->i", [3, 3]), ("ij->", [2, 3]),
        ("bhqd,bhkd->bhqk", [2, 2, 3, 2], [2, 2, 4, 2]), ("i,j,k->ijk", [2], [3], [2]), ("ij->ji", [2, 3]),
    )))  # fmt: skip
    return Case([numbers(draw, s) for s in sizes], {"equation": equation})


@slopes("Det")
@slopes("Inverse", domain=MICROSOFT)
def det(draw: Draw, op: Operator) -> Case:
    n = draw(st.integers(1, 3))
    return Case([numbers(draw, [*shape(draw, (1, 2), (1, 2)), n, n], 0.1, 1) + 2 * np.eye(n)])


@slopes("CDist", domain=MICROSOFT, modes={"metric": ("sqeuclidean", "euclidean")})
def cdist(draw: Draw, op: Operator) -> Case:
    d = draw(st.integers(1, 4))
    both = numbers(draw, [5, d])
    return Case([both[:2], both[2:]], options(draw, op, metric=one_of(("sqeuclidean", "euclidean"))))


@slopes("BiasAdd", "BiasSplitGelu", "BiasDropout", domain=MICROSOFT, unused={"seed": "nothing is drawn"})
def bias(draw: Draw, op: Operator) -> Case:
    sizes = [2, 3, 4]
    inputs = [numbers(draw, sizes), numbers(draw, [4])]
    if op.name == "BiasAdd":
        inputs.append(numbers(draw, sizes))
    if op.name == "BiasDropout":
        return Case([*inputs, maybe(draw, lambda: numbers(draw, sizes))], {}, 2)
    return Case(inputs)


@slopes("DFT", modes={"inverse": (0, 1), "onesided": (0, 1)})
def dft(draw: Draw, op: Operator) -> Case:
    inverse, onesided = draw(flag), draw(flag)
    parts = 1 if (onesided and not inverse) or (chance(draw) and not inverse) else 2
    if inverse and onesided and op.since < 20:
        onesided = 0
    sizes = [2, draw(st.integers(2, 4)), draw(st.integers(2, 5)), parts]
    axis = draw(one_of((1, 2)))
    length = maybe(draw, lambda: np.array(draw(st.integers(2, 6))))
    chosen = {"inverse": inverse, "onesided": onesided}
    if "axis" in op.attributes:
        return Case([numbers(draw, sizes), length], chosen | {"axis": axis})
    return Case([numbers(draw, sizes), length, np.array(axis)], chosen)


@slopes("STFT", modes={"onesided": (0, 1)})
def stft(draw: Draw, op: Operator) -> Case:
    parts = draw(one_of((1, 1, 2)))
    chosen = {"onesided": draw(flag) if parts == 1 else 0}
    window = maybe(draw, lambda: numbers(draw, [4]))
    return Case([numbers(draw, [2, 12, parts]), np.array(3), window, np.array(4)], chosen)


@slopes(
    "LinearAttention",
    modes={"update_rule": ("linear", "gated", "delta", "gated_delta")},
    unused={"chunk_size": "about speed"},
)
@slopes("LinearAttention", domain=MICROSOFT, modes={"update_rule": ("linear", "gated", "delta", "gated_delta")},
        unused={"chunk_size": "about speed", "state_window": "is refused"})  # fmt: skip
def linear_attention(draw: Draw, op: Operator) -> Case:
    batch, steps, heads, width, out = 2, 3, draw(one_of((1, 2, 4) if op.domain else (1, 2))), 2, 3
    rule = draw(one_of(("linear", "gated", "delta", "gated_delta")))
    query, key = numbers(draw, [batch, steps, 2 * width]), numbers(draw, [batch, steps, heads * width])
    inputs: list[Any] = [query, key, numbers(draw, [batch, steps, heads * out])]
    inputs.append(maybe(draw, lambda: numbers(draw, [batch, heads, width, out])))
    inputs.append(numbers(draw, [batch, steps, heads], -1, -0.1) if "gated" in rule else None)
    inputs.append(numbers(draw, [batch, steps, heads], 0.1, 0.9) if "delta" in rule else None)
    chosen = {"kv_num_heads": heads, "q_num_heads": 2, "update_rule": rule} | options(draw, op, scale=some)
    return Case(inputs, chosen, 2)


@slopes("LinearAttentionGate", domain=MICROSOFT)
def linear_attention_gate(draw: Draw, op: Operator) -> Case:
    x, shift, scale = numbers(draw, [2, 3, 2]), numbers(draw, [2]), numbers(draw, [2])
    return Case([x, shift, scale, numbers(draw, [2, 3, 2])], {}, 2)


@slopes("GatedRMSNorm", domain=MICROSOFT, modes={"activation": ("silu", "swish", "sigmoid")})
def gated_rms_norm(draw: Draw, op: Operator) -> Case:
    inputs = [numbers(draw, [2, 4]), numbers(draw, [2]), numbers(draw, [2, 4])]
    return Case(inputs, options(draw, op, activation=one_of(("silu", "swish", "sigmoid")), epsilon=st.just(1e-2)))


@slopes("GatedAdd", domain=MICROSOFT)
def gated_add(draw: Draw, op: Operator) -> Case:
    computed = chance(draw)
    inputs = [numbers(draw, [2, 3]), numbers(draw, [2, 3]), numbers(draw, [2, 2 if computed else 1])]
    return Case([*inputs, numbers(draw, [2, 1])] if computed else inputs)


KERNEL = {"activation": ("none", "silu")}
ELSEWHERE = "for other processors"


@slopes("CausalConvWithState", modes=KERNEL)
@slopes("CausalConvWithState", domain=MICROSOFT, modes=KERNEL | {"channels_last": (0, 1), "dilation": (1, 2)}, unused={
    "input_channel_offset": ELSEWHERE, "input_channels": ELSEWHERE, "ndim": ELSEWHERE,
    "state_channels_last": ELSEWHERE, "state_length": ELSEWHERE, "state_update_capacity": ELSEWHERE,
    "state_window": ELSEWHERE,
})  # fmt: skip
def causal_conv(draw: Draw, op: Operator) -> Case:
    channels, width, steps = 2, draw(st.integers(2, 3)), 4
    chosen = options(draw, op, activation=one_of(("none", "silu")), channels_last=flag, dilation=one_of((1, 2)))
    before = (width - 1) * chosen.get("dilation", 1)
    x, past = numbers(draw, [2, channels, steps]), maybe(draw, lambda: numbers(draw, [2, channels, before]))
    if chosen.get("channels_last"):
        x, past = (None if v is None else v.transpose(0, 2, 1).copy() for v in (x, past))
    return Case(
        [x, numbers(draw, [channels, 1, width]), maybe(draw, lambda: numbers(draw, [channels])), past], chosen, 2
    )


@slopes("VarlenCausalConvWithState", domain=MICROSOFT, modes=KERNEL | {"dilation": (1, 2)}, unused={
    "delta_offset": ELSEWHERE, "group_size": ELSEWHERE,
})  # fmt: skip
def packed_causal_conv(draw: Draw, op: Operator) -> Case:
    channels, width = 2, draw(st.integers(2, 3))
    chosen = options(draw, op, activation=one_of(("none", "silu")), dilation=one_of((1, 2)))
    past = numbers(draw, [2, channels, (width - 1) * chosen.get("dilation", 1)])
    inputs = [numbers(draw, [5, channels]), numbers(draw, [channels, 1, width]), np.array([0, 2, 5], np.int32),
              maybe(draw, lambda: numbers(draw, [channels])), past]  # fmt: skip
    if chance(draw):
        chosen["state_update_capacity"] = 2
        inputs.append(np.array([1, 2], np.int32))
    return Case(inputs, chosen, len(inputs) - 3)


GATE = ("none", "softplus", "qwen", "sigmoid", "kda")


@slopes("GatedDeltaNet", domain=MICROSOFT, modes={
    "update_rule": ("linear", "gated", "delta", "gated_delta"), "gate_activation": GATE, "qk_l2_norm": (0, 1),
    "beta_activation": ("none", "sigmoid"),
}, unused={"chunk_size": "about speed"})  # fmt: skip
def delta_network(draw: Draw, op: Operator) -> Case:
    tokens, key_heads, heads, width, out = 4, 1, 2, 2, 3
    rule = draw(one_of(("linear", "gated", "delta", "gated_delta")))
    chosen: dict[str, Any] = {"update_rule": rule} | options(
        draw, op, scale=some, qk_l2_norm=flag, beta_activation=one_of(("none", "sigmoid")),
        gate_activation=one_of(GATE), gate_lower_bound=st.floats(-3, -1),
    )  # fmt: skip
    q, k = (numbers(draw, [tokens, key_heads, width]) for _ in range(2))
    decay = [tokens, heads] + ([width] if chance(draw) else [])
    gates = chosen.get("gate_activation", "none") != "none"
    inputs: list[Any] = [
        q, k, numbers(draw, [tokens, heads, out]), maybe(draw, lambda: np.array([0, 1, 4], np.int32)),
        numbers(draw, decay, -1, -0.1) if "gated" in rule else None,
        numbers(draw, [tokens, heads], 0.1, 0.9) if "delta" in rule else None, numbers(draw, [2, heads, out, width]),
        numbers(draw, [heads], -1, 1) if gates else None, numbers(draw, [heads]) if gates else None,
    ]  # fmt: skip
    if chance(draw):
        inputs.append(np.array([1, 1], np.int32))
        return Case(inputs, chosen | {"state_update_capacity": 1}, 3)
    return Case(inputs, chosen, 2)


@slopes("MoEGroupRouter", domain=MICROSOFT)
def router(draw: Draw, op: Operator) -> Case:
    chosen = {"top_k": 2, "n_group": 2} | options(draw, op, topk_group=st.integers(1, 2), group_topk=st.integers(1, 2),
                                                  router_sentinel=st.floats(-3, -1))  # fmt: skip
    return Case([numbers(draw, [2, 6]), numbers(draw, [6], -0.3, 0.3)], chosen)


@slopes("WordConvEmbedding", domain=MICROSOFT)
def words(draw: Draw, op: Operator) -> Case:
    letters = np.array([[1, 2, 3, 0], [4, 5, 0, 0], [0, 0, 0, 0]], np.int32)
    weights = [numbers(draw, s, -1, 1) for s in ([3, 1, 2, 2], [3], [6, 2])]
    return Case([letters, *weights], options(draw, op, char_embedding_size=2, conv_window_size=2, embedding_size=3))


@slopes("MoE", domain=MICROSOFT, modes={
    "activation_type": ("relu", "gelu", "silu", "identity", "swiglu"), "normalize_routing_weights": (0, 1),
    "swiglu_fusion": (0, 1, 2),
}, unused={"use_sparse_mixer": "no processor kernel reads it"})  # fmt: skip
def experts(draw: Draw, op: Operator) -> Case:
    kind = draw(one_of(("relu", "gelu", "silu", "identity", "swiglu")))
    fusion = draw(st.integers(0, 2)) if kind == "swiglu" else 0
    count, width, inner, tokens = 3, 2, 2, 2
    first = 2 * inner if fusion else inner
    chosen: dict[str, Any] = {"activation_type": kind} | options(
        draw, op, k=st.integers(1, 3), normalize_routing_weights=flag, swiglu_fusion=st.just(fusion)
    )
    if kind == "swiglu":
        chosen |= {"swiglu_fusion": fusion}
        chosen |= options(
            draw, op, activation_alpha=some, activation_beta=some, swiglu_limit=one_of((0.8137, 1.4142)),
            swiglu_limit_after_activation=flag,
        )  # fmt: skip
    inputs = [
        numbers(draw, [tokens, width]), numbers(draw, [tokens, count]), numbers(draw, [count, first, width]),
        maybe(draw, lambda: numbers(draw, [count, first])), numbers(draw, [count, width, inner]),
        maybe(draw, lambda: numbers(draw, [count, width])),
    ]  # fmt: skip
    if kind in {"swiglu", "silu"} and not fusion and (kind == "swiglu" or chance(draw)):
        inputs += [numbers(draw, [count, inner, width]), maybe(draw, lambda: numbers(draw, [count, inner]))]
    return Case(inputs, chosen)
