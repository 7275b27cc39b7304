"""Rules of quantised operators: exact but for the rounding, and like those of the network before it was quantised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnxruntime.quantization import QuantType, quantize_dynamic

import onnxsal
from tests import models_for_tests as tiny
from tests.models_quantised import FORMATS, picture_network, pictures, quantise_pictures

pytestmark = pytest.mark.filterwarnings("ignore")
node = helper.make_node
RNG = np.random.default_rng
MICROSOFT = "com.microsoft"
TARGETS = [0, 1, 2, 3]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "real.onnx"
    onnx.save(picture_network(), path)
    return path


@pytest.fixture(scope="module", params=["-".join(form) for form in FORMATS] + ["dynamic"])
def quantised(request: pytest.FixtureRequest, real: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "int8.onnx"
    if request.param == "dynamic":
        quantize_dynamic(real, path, weight_type=QuantType.QUInt8)
    else:
        quantise_pictures(real, path, *request.param.split("-"))
    return path


def lifted(path: Any, **options: Any) -> onnxsal.Attribution:
    baseline = {"x": 0.3 * pictures(4, 98)}
    return onnxsal.explain(
        path, {"x": pictures(4, 99)}, method="deep_lift", target=TARGETS, baseline=baseline, verify=False,
        device="cpu", completeness_tolerance=np.inf, **options,
    )  # fmt: skip


def missed(result: onnxsal.Attribution) -> np.ndarray:
    """Return how far the sums miss, as a part of all that was explained, whatever its sign."""
    sizes = sum(np.abs(value).reshape(len(value), -1).sum(1) for value in result.values.values())
    return np.abs(result.completeness) / sizes


def test_deep_lift_is_complete_without_the_rounding(quantised: Path) -> None:
    assert missed(lifted(quantised, quantized="float")).max() < 2e-6


def test_deep_lift_of_what_is_deployed_misses_by_the_rounding_and_says_so(quantised: Path) -> None:
    found = missed(lifted(quantised))
    assert 1e-5 < found.max() < 0.05


def test_deep_lift_is_that_of_the_network_before_it_was_quantised(quantised: Path, real: Path) -> None:
    found, expected = lifted(quantised).values["x"].ravel(), lifted(real).values["x"].ravel()
    assert found @ expected / np.linalg.norm(found) / np.linalg.norm(expected) > 0.97


# --- operators the quantisers write for other networks ----------------------------------------------------------------


def coded(name: str, low: float, high: float, zero: int = 0) -> dict[str, np.ndarray]:
    """Return a scale and a zero point for numbers of a range."""
    scale = np.array((high - low) / 255, np.float32)
    return {f"{name}_s": scale, f"{name}_z": np.array(round(-low / scale) + zero, np.uint8)}


def few_bits(name: str, *shape: int) -> dict[str, np.ndarray]:
    """Return signed weights, with a scale and a zero point that is none."""
    numbers = RNG(len(name)).integers(-127, 128, shape).astype(np.int8)
    return {name: numbers, f"{name}_s": np.array(0.01, np.float32), f"{name}_z": np.array(3, np.int8)}


def case(
    nodes: list[onnx.NodeProto], last: str, size: int, constants: dict[str, np.ndarray], shape: tuple[int, ...] = (4, 6)
) -> onnx.ModelProto:
    """Return a model whose score is a weighted sum of all numbers of a real value; ``x_q`` is the input rounded."""
    constants = {
        **coded("x", -3, 3), **constants, "rows": np.array([0, -1]),
        "weights": RNG(5).normal(size=(size, 1)).astype(np.float32),
    }  # fmt: skip
    head = [node("QuantizeLinear", ["x", "x_s", "x_z"], ["x_q"])]
    end = [node("Reshape", [last, "rows"], ["flat"]), node("MatMul", ["flat", "weights"], ["score"])]
    proto = tiny.model(
        [*head, *nodes, *end], [("x", TensorProto.FLOAT, ["N", *shape])], [("score", TensorProto.FLOAT, ["N", 1])],
        constants,
    )  # fmt: skip
    proto.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    return proto


def read(y: str = "y_q") -> onnx.NodeProto:
    return node("DequantizeLinear", [y, "y_s", "y_z"], ["y"])


LSTM = {
    "w": RNG(0).integers(-127, 128, (1, 6, 12)).astype(np.int8),
    "r": RNG(1).integers(-127, 128, (1, 3, 12)).astype(np.int8),
    "b": RNG(2).normal(size=(1, 24)).astype(np.float32),
    **{f"{name}_s": np.array([0.01], np.float32) for name in "wr"},
    **{f"{name}_z": np.array([0], np.int8) for name in "wr"},
}
CASES: dict[str, onnx.ModelProto] = {
    "QLinearMatMul": case(
        [
            node("QLinearMatMul", ["x_q", "x_s", "x_z", "w", "w_s", "w_z", "y_s", "y_z"], ["y_q"]),
            read(),
        ],
        "y", 12, few_bits("w", 6, 3) | coded("y", -4, 4),
    ),
    "QLinearMatMul of two that move": case(
        [
            node("Transpose", ["x_q"], ["t"], perm=[0, 2, 1]),
            node("QLinearMatMul", ["x_q", "x_s", "x_z", "t", "x_s", "x_z", "y_s", "y_z"], ["y_q"]),
            read(),
        ],
        "y", 16, coded("y", -9, 30),
    ),
    "QLinearSoftmax": case(
        [
            node("QLinearSoftmax", ["x_q", "x_s", "x_z", "y_s", "y_z"], ["y_q"], axis=-1, opset=13, domain=MICROSOFT),
            read(),
        ],
        "y", 24, coded("y", 0, 1),
    ),
    "QLinearWhere": case(
        [
            node("Greater", ["x", "half"], ["c"]),
            node("QLinearWhere", ["c", "x_q", "x_s", "x_z", "o", "x_s", "x_z", "y_s", "y_z"], ["y_q"],
                 domain=MICROSOFT),
            read(),
        ],
        "y", 24, coded("y", -3, 3) | {"half": np.array(0.5, np.float32), "o": np.array([[200]], np.uint8)},
    ),
    "MatMulIntegerToFloat": case(
        [
            node("DynamicQuantizeLinear", ["x"], ["d", "s", "z"]),
            node("MatMulIntegerToFloat", ["d", "w", "s", "w_s", "z", "w_z", "b"], ["y"], domain=MICROSOFT),
        ],
        "y", 12, few_bits("w", 6, 3) | {"b": RNG(2).normal(size=3).astype(np.float32)},
    ),
    "DynamicQuantizeMatMul": case(
        [node("DynamicQuantizeMatMul", ["x", "w", "w_s", "w_z"], ["y"], domain=MICROSOFT)],
        "y", 12, few_bits("w", 6, 3),
    ),
    "QGemm": case(
        [
            node("QGemm", ["x_q", "x_s", "x_z", "w", "w_s", "w_z", "c", "y_s", "y_z"], ["y_q"], transB=1, alpha=0.5,
                 domain=MICROSOFT),
            read(),
        ],
        "y", 3, few_bits("w", 3, 6) | coded("y", -3, 3) | {"c": np.array([100, -90, 7], np.int32)}, (6,),
    ),
    "QAttention": case(
        [node("QAttention", ["x_q", "w", "b", "x_s", "w_s", "", "x_z", "w_z"], ["y"], num_heads=2, domain=MICROSOFT)],
        "y", 24, few_bits("w", 6, 18) | {"b": RNG(2).normal(size=18).astype(np.float32)},
    ),
    "DynamicQuantizeLSTM": case(
        [
            node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
            node("DynamicQuantizeLSTM",
                 ["t", "w", "r", "b", "", "", "", "", "w_s", "w_z", "r_s", "r_z"], ["", "h"], hidden_size=3,
                 domain=MICROSOFT),
            node("Transpose", ["h"], ["y"], perm=[1, 0, 2]),
        ],
        "y", 3, LSTM,
    ),
    "a bias among the integers": case(
        [
            node("DynamicQuantizeLinear", ["x"], ["d", "s", "z"]),
            node("MatMulInteger", ["d", "w", "z", "w_z"], ["sums"]),
            node("Add", ["sums", "c"], ["shifted"]),
            node("Cast", ["shifted"], ["whole"], to=TensorProto.FLOAT),
            node("Mul", ["s", "w_s"], ["factor"]),
            node("Mul", ["whole", "factor"], ["y"]),
        ],
        "y", 12, few_bits("w", 6, 3) | {"c": np.array([0, 0, 0], np.int32)},
    ),
}  # fmt: skip


def of_case(name: str, **options: Any) -> onnxsal.Attribution:
    proto = CASES[name]
    shape = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim][1:]
    x, reference = (RNG(seed).uniform(-2, 2, (3, *shape)).astype(np.float32) for seed in (1, 2))
    return onnxsal.explain(
        proto, {"x": x}, method="deep_lift", target=0, baseline={"x": reference}, verify=False, device="cpu",
        completeness_tolerance=np.inf, **options,
    )  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_an_operator_is_complete_without_its_rounding(name: str) -> None:
    assert missed(of_case(name, quantized="float")).max() < 2e-5


@pytest.mark.parametrize("name", CASES)
def test_and_misses_by_its_rounding_alone(name: str) -> None:
    assert missed(of_case(name)).max() < 0.02


# --- LRP --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus", "epsilon_plus_flat", "epsilon_gamma_box"])
def test_lrp_is_that_of_the_network_before_it_was_quantised(quantised: Path, real: Path, composite: str) -> None:
    """Rules such as z-plus tell weights by their sign, which integers have only less their zero points."""
    options = {"method": "lrp", "target": TARGETS, "composite": composite, "epsilon": 0.05, "verify": False}
    found, expected = (
        onnxsal.explain(path, {"x": pictures(4, 99)}, device="cpu", **options).values["x"].ravel()
        for path in (quantised, real)
    )
    assert found @ expected / np.linalg.norm(found) / np.linalg.norm(expected) > 0.95
    assert 0.8 < np.linalg.norm(found) / np.linalg.norm(expected) < 1.25


NOT_WHOLE = {"QGemm", "MatMulIntegerToFloat", "QAttention", "DynamicQuantizeLSTM", "QLinearSoftmax", "QLinearWhere"}
UNBIASED = [name for name in CASES if name not in NOT_WHOLE]
"""What adds nothing of its own (biases, constants, the rest of Softmax's expansion), so that no relevance is lost."""


@pytest.mark.parametrize("name", UNBIASED)
def test_an_operator_without_biases_hands_the_whole_score_on(name: str) -> None:
    proto = CASES[name]
    shape = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim][1:]
    x = RNG(1).uniform(-2, 2, (3, *shape)).astype(np.float32)
    result = onnxsal.explain(proto, {"x": x}, method="attn_lrp", target=0, verify=False, device="cpu", epsilon=1e-9)
    sizes = np.abs(result.values["x"]).sum(tuple(range(1, x.ndim)))
    assert (np.abs(result.values["x"].sum(tuple(range(1, x.ndim))) - result.score) / sizes).max() < 0.02


@pytest.mark.parametrize("method", ["lrp", "attn_lrp"])
@pytest.mark.parametrize("name", CASES)
def test_every_quantised_operator_has_a_rule(name: str, method: str) -> None:
    proto = CASES[name]
    shape = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim][1:]
    x = RNG(1).uniform(-2, 2, (3, *shape)).astype(np.float32)
    result = onnxsal.explain(proto, {"x": x}, method=method, target=0, verify=False, device="cpu")
    assert np.isfinite(result.values["x"]).all()
    assert np.abs(result.values["x"]).max() > 0
