"""Operators that compute with narrow numbers: those whose slope is a true one."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from onnxsal.importer.operator import Operator
from tests.oracle.gradients import Case, Draw, excuses, flag, generator, maybe, numbers, one_of, options, slopes

MICROSOFT = "com.microsoft"


@slopes("DequantizeLinear", unused={"output_dtype": "single or half precision, in which differences drown"})
@slopes("DequantizeLinear", domain=MICROSOFT)
def dequantize(draw: Draw, op: Operator) -> Case:
    x = generator(draw).integers(-100, 100, [2, 4, 3]).astype(np.int8)
    block = op.since >= 21 and draw(st.booleans())
    if block:
        return Case([x, numbers(draw, [2, 2, 3], 0.1, 1)], {"axis": 1, "block_size": 2})
    per_axis = draw(st.booleans()) and (op.since >= 13 or op.domain)
    scale = numbers(draw, [4], 0.1, 1) if per_axis else np.array(0.3)
    zero = maybe(draw, lambda: np.ones_like(scale, np.int8))
    return Case([x, scale, zero], {"axis": 1} if per_axis else {})


@slopes("MatMulNBits", domain=MICROSOFT, modes={"bits": (2, 4, 8)}, unused={
    "accuracy_level": "a coarse product rounds", "weight_prepacked": "is refused",
})  # fmt: skip
def matmul_nbits(draw: Draw, op: Operator) -> Case:
    bits, k, n, block = draw(one_of((2, 4, 8))), 20, 3, 16
    packed = generator(draw).integers(0, 256, [n, 2, block * bits // 8]).astype(np.uint8)
    inputs = [numbers(draw, [2, k]), packed, numbers(draw, [n * 2], 0.1, 1)]
    zero = maybe(draw, lambda: generator(draw).integers(0, 256, [n * -(-2 * bits // 8)]).astype(np.uint8))
    bias = maybe(draw, lambda: numbers(draw, [n]))
    return Case([*inputs, zero, None, bias], {"K": k, "N": n, "bits": bits, "block_size": block})


@slopes("MatMulBnb4", domain=MICROSOFT, modes={"quant_type": (0, 1)}, unused={"training_mode": "about memory"})
def matmul_bnb4(draw: Draw, op: Operator) -> Case:
    k, n, block = 16, 3, 16
    packed = generator(draw).integers(0, 256, [k * n // 2]).astype(np.uint8)
    chosen = {"K": k, "N": n, "block_size": block, "quant_type": draw(flag)} | options(draw, op, transB=flag)
    a = numbers(draw, [2, k if chosen.get("transB", 1) else n])
    return Case([a, packed, numbers(draw, [k * n // block], 0.1, 1)], chosen)


@slopes("QMoE", domain=MICROSOFT, modes={
    "expert_weight_bits": (2, 4, 8), "activation_type": ("relu", "gelu", "silu", "identity", "swiglu"),
}, unused={
    "accuracy_level": "a coarse product rounds", "use_sparse_mixer": "no processor kernel reads it",
    "weights_prepacked": "is refused", "quant_type": "others are refused", "fc3_expert_weight_bits": "as fc1's",
})  # fmt: skip
def quantised_experts(draw: Draw, op: Operator) -> Case:
    bits, count, size = draw(one_of((2, 4, 8))), 2, 4
    kind = draw(one_of(("relu", "gelu", "silu", "identity", "swiglu")))
    fusion = draw(st.integers(1, 2)) if kind == "swiglu" else 0
    block = draw(one_of((0, size))) if bits != 8 else 0  # tokens are rounded where there are blocks

    def stored(rows: int) -> list[np.ndarray | None]:
        span = (120, 136) if bits == 8 else (0, 256)  # near the zero point: large weights bend a straight line
        packed = generator(draw).integers(*span, [count, rows, size * bits // 8]).astype(np.uint8)
        scales = numbers(draw, [count, rows, 1] if block else [count, rows], 0.1, 1) / 4
        return [packed, scales, maybe(draw, lambda: numbers(draw, [count, rows]))]

    inputs = [numbers(draw, [2, size]), numbers(draw, [2, count])]
    inputs += [*stored(2 * size if fusion else size), *stored(size), *[None] * 6]
    inputs.append(maybe(draw, lambda: numbers(draw, [2, count], 0.1, 1)))
    chosen = {"expert_weight_bits": bits, "activation_type": kind, "swiglu_fusion": fusion}
    chosen |= options(
        draw, op, k=st.integers(1, 2), normalize_routing_weights=flag, fc1_expert_weight_bits=st.just(bits),
        fc2_expert_weight_bits=st.just(bits),
    )  # fmt: skip
    if kind == "swiglu":
        some = st.floats(0.3, 1.5)
        chosen |= options(
            draw, op, activation_alpha=some, activation_beta=some, swiglu_limit=one_of((0.8137, 1.4142)),
            swiglu_limit_after_activation=flag,
        )  # fmt: skip
    return Case(inputs, chosen | ({"block_size": block} if block else {}))


@slopes("GatherBlockQuantized", domain=MICROSOFT, modes={"bits": (4, 8)})
def gather_block(draw: Draw, op: Operator) -> Case:
    bits, rows, width, block = draw(one_of((4, 8))), 5, 32, 16
    data = generator(draw).integers(0, 256, [rows, width * bits // 8]).astype(np.uint8)
    picks = generator(draw).integers(0, rows, [2, 3])
    chosen = {"bits": bits, "block_size": block, "gather_axis": 0, "quantize_axis": 1}
    return Case([data, picks, numbers(draw, [rows, width // block], 0.1, 1)], chosen)


STRAIGHT = (
    "rounds: its gradient goes straight through by choice, as tests/importer/ops shows, and no difference tells it"
)
excuses(
    STRAIGHT,
    *("QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"),
)
excuses(
    STRAIGHT,
    *(
        "QuantizeLinear",
        "QLinearAdd",
        "QLinearMul",
        "QLinearConcat",
        "QLinearWhere",
        "QLinearSigmoid",
        "QLinearLeakyRelu",
    ),
    *(
        "QLinearSoftmax",
        "QLinearConv",
        "QLinearAveragePool",
        "QLinearGlobalAveragePool",
        "QGemm",
        "DynamicQuantizeLSTM",
    ),
    *("DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QAttention"),
    domain=MICROSOFT,
)
