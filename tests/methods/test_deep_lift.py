"""DeepLIFT: every rule is exact, the paper's numbers come out, and what has no rule is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor

import onnxsal
from onnxsal import hookimpl
from onnxsal.entries import Rules
from onnxsal.errors import PluginError, UsageError
from onnxsal.hookspecs import onnxsal_rules
from onnxsal.plugins import Provider, registry, rules_of
from tests import models_for_tests as tiny

node = helper.make_node
RNG = np.random.default_rng
DOUBLE, INT64 = tiny.DOUBLE, tiny.INT64


def summed(nodes: Sequence[onnx.NodeProto], last: str, constants: dict[str, np.ndarray] | None = None, **about: Any):
    """Return a model of ``x`` [N, 2, 4, 6] whose score is a weighted sum of all numbers of one value."""
    size = about.pop("size")
    shape = about.pop("shape", (2, 4, 6))
    weights = {"rows": np.array([0, -1]), "weights": RNG(5).normal(size=(size, 1)), **(constants or {})}
    end = [node("Reshape", [last, "rows"], ["flat"]), node("MatMul", ["flat", "weights"], ["score"])]
    return tiny.model([*nodes, *end], [("x", DOUBLE, ["N", *shape])], [("score", DOUBLE, ["N", 1])], weights, **about)


def gap(proto: onnx.ModelProto, low: float = -2, high: float = 2, **options: Any) -> float:
    """Return how far the attributions miss the score's difference, as a part of it."""
    shape = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim][1:]
    x, reference = RNG(1).uniform(low, high, (3, *shape)), RNG(2).uniform(low, high, (3, *shape))
    result = onnxsal.explain(
        proto, {"x": x}, method="deep_lift", baseline={"x": reference}, target=0, verify=False, **options
    )
    there = onnxsal.load(proto).torch()(torch.from_numpy(reference))[0].numpy()[:, 0]
    assert result.completeness is not None
    found = sum(value.sum() for value in result.values.values())
    assert found == pytest.approx((result.score - there).sum(), rel=1e-6)  # by hand, beside what the result says
    return float((np.abs(result.completeness) / np.abs(result.score - there)).max())


PLAIN = (
    "Abs Ceil Cos Elu Erf Exp Floor HardSigmoid LeakyRelu Relu Round Selu Sigmoid Sign Sin Softplus Softsign Tanh "
    "Asinh Atan Neg HardSwish Celu Shrink ThresholdedRelu"
)
ONE_IN_ONE_OUT: dict[str, tuple[int, dict[str, float]]] = {
    **{name: (18, {}) for name in PLAIN.split()},
    "Gelu": (20, {}),
    "Mish": (18, {}),
    "Swish": (24, {"alpha": 1.3}),
}


@pytest.mark.parametrize("operator", ONE_IN_ONE_OUT)
def test_one_number_in_and_one_out_is_complete(operator: str) -> None:
    opset, attributes = ONE_IN_ONE_OUT[operator]
    assert gap(summed([node(operator, ["x"], ["y"], **attributes)], "y", size=48, opset=opset)) < 1e-9


@pytest.mark.parametrize("operator", ["Sqrt", "Log", "Reciprocal"])
def test_what_wants_positive_numbers_is_complete(operator: str) -> None:
    assert gap(summed([node(operator, ["x"], ["y"])], "y", size=48), 0.1, 3) < 1e-9


def halves(*nodes: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Return nodes behind a split of ``x`` into ``a`` and ``b``, both of which move."""
    return [node("Split", ["x"], ["a", "b"], axis=3, num_outputs=2), *nodes]


SEVERAL: dict[str, tuple[list[onnx.NodeProto], int, dict[str, np.ndarray]]] = {
    "product": (halves(node("Mul", ["a", "b"], ["y"])), 24, {}),
    "product of one with itself": (halves(node("Mul", ["x", "x"], ["y"])), 48, {}),
    "product that broadcasts": (
        halves(node("ReduceMax", ["a", "last"], ["m"]), node("Mul", ["m", "b"], ["y"])),
        24,
        {"last": np.array([3])},
    ),
    "matrices": (halves(node("Transpose", ["b"], ["t"], perm=[0, 1, 3, 2]), node("MatMul", ["a", "t"], ["y"])), 32, {}),
    "einsum": (halves(node("Einsum", ["a", "b"], ["y"], equation="ncij,nckj->ncik")), 32, {}),
    "quotient": (halves(node("Exp", ["b"], ["e"]), node("Div", ["a", "e"], ["y"])), 24, {}),
    "reciprocal": (halves(node("Exp", ["x"], ["e"]), node("Div", ["one", "e"], ["y"])), 48, {"one": np.ones(1)}),
    "power": (halves(node("Exp", ["a"], ["e"]), node("Pow", ["e", "b"], ["y"])), 24, {}),
    "powers of constants": (
        [node("ReduceMean", ["x"], ["m"], axes=[3]), node("Pow", ["m", "ns"], ["y"])],
        16,
        {"ns": np.array([2.0, 3.0])},
    ),
    "maximum": (halves(node("Max", ["a", "b"], ["y"])), 24, {}),
    "minimum": (halves(node("Min", ["a", "b", "half"], ["y"])), 24, {"half": np.array([0.5])}),
    "largest": ([node("ReduceMax", ["x"], ["y"], axes=[1, 3])], 4, {}),
    "smallest": ([node("ReduceMin", ["x"], ["y"], axes=[2])], 12, {}),
    "max pool": ([node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1])], 48, {}),
    "global max pool": ([node("GlobalMaxPool", ["x"], ["y"])], 2, {}),
    "average pool": ([node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2])], 30, {}),
    "softmax": ([node("Softmax", ["x"], ["y"], axis=2)], 48, {}),
    "log softmax": ([node("LogSoftmax", ["x"], ["y"], axis=-1)], 48, {}),
    "layer norm": (
        [node("LayerNormalization", ["x", "scale", "shift"], ["y"], axis=-1)],
        48,
        {"scale": RNG(3).normal(size=6), "shift": RNG(4).normal(size=6)},
    ),
    "layer norm of two axes": (
        [node("LayerNormalization", ["x", "scale"], ["y"], axis=2, epsilon=1e-3)],
        48,
        {"scale": RNG(3).normal(size=(4, 6))},
    ),
    "instance norm": (
        [node("InstanceNormalization", ["x", "two", "two"], ["y"])],
        48,
        {"two": RNG(3).normal(size=2)},
    ),
    "unit norm": ([node("LpNormalization", ["x"], ["y"], axis=2)], 48, {}),
    "unit sum": ([node("LpNormalization", ["x"], ["y"], axis=1, p=1)], 48, {}),
    "norm": ([node("ReduceL2", ["x"], ["y"], axes=[1])], 24, {}),
    "sum of absolutes": ([node("ReduceL1", ["x"], ["y"], axes=[1], keepdims=0)], 24, {}),
    "sum of squares": ([node("ReduceSumSquare", ["x"], ["y"], axes=[1])], 24, {}),
    "log of sum of exponents": ([node("ReduceLogSumExp", ["x"], ["y"], axes=[1])], 24, {}),
    "local response": ([node("LRN", ["x"], ["y"], size=2)], 48, {}),
    "slopes of its own": ([node("PRelu", ["x", "slope"], ["y"])], 48, {"slope": RNG(3).uniform(size=(2, 1, 1))}),
    "clip": ([node("Clip", ["x", "low", "high"], ["y"])], 48, {"low": np.array(-0.5), "high": np.array(0.7)}),
    "maxima that are scattered": (
        [
            node("ReduceMean", ["x"], ["m"], axes=[1], keepdims=0),
            node("ScatterElements", ["base", "places", "m"], ["y"], axis=2, reduction="max"),
        ],
        12,
        {"base": np.full((3, 4, 3), -0.2), "places": np.tile(np.array([0, 1, 0, 2, 1, 0]), (3, 4, 1))},
    ),
    "choice by sign": (
        [
            node("Greater", ["x", "nought"], ["c"]),
            node("Mul", ["x", "tenth"], ["t"]),
            node("Where", ["c", "x", "t"], ["y"]),
        ],
        48,
        {"nought": np.array(0.0), "tenth": np.array(0.1)},
    ),
    "choice of a constant": (
        [node("Greater", ["x", "nought"], ["c"]), node("Where", ["c", "x", "nought"], ["y"])],
        48,
        {"nought": np.array(0.0)},
    ),
}


@pytest.mark.parametrize("case", SEVERAL)
def test_what_takes_several_numbers_is_complete(case: str) -> None:
    nodes, size, constants = SEVERAL[case]
    opset = 11 if any(len(n.input) == 1 and n.op_type.startswith("Reduce") for n in nodes) else 18
    nodes = [n for n in nodes if not (opset == 11 and n.op_type == "Split")]
    if len(nodes) < len(SEVERAL[case][0]):
        nodes = [node("Split", ["x"], ["a", "b"], axis=3, split=[3, 3]), *nodes]
    assert gap(summed(nodes, "y", constants, size=size, opset=opset)) < 1e-8


@pytest.mark.parametrize("since", [20, 21])
def test_group_norm_is_complete(since: int) -> None:
    nodes = [node("Reshape", ["x", "four"], ["r"])]
    nodes += [node("GroupNormalization", ["r", "scale", "scale"], ["y"], num_groups=2)]
    constants = {"four": np.array([0, 4, 12]), "scale": RNG(3).normal(size=2 if since == 20 else 4)}
    assert gap(summed(nodes, "y", constants, size=48, opset=since)) < 1e-9


def test_softmax_is_complete_where_masks_are_infinite_and_scores_far_apart() -> None:
    mask = np.zeros((2, 4, 6))
    mask[:, :, 4:] = -np.inf
    nodes = [node("Mul", ["x", "far"], ["f"]), node("Add", ["f", "mask"], ["m"]), node("Softmax", ["m"], ["y"])]
    assert gap(summed(nodes, "y", {"mask": mask, "far": np.array(400.0)}, size=48, opset=13)) < 1e-9


def test_softmax_below_opset_13_takes_all_axes_behind_the_one() -> None:
    assert gap(summed([node("Softmax", ["x"], ["y"], axis=2)], "y", size=48, opset=11)) < 1e-9


def test_fused_and_taken_apart_normalisation_are_explained_alike() -> None:
    scale = {"scale": RNG(3).normal(size=6), "two": np.array(2.0), "epsilon": np.array(1e-5)}
    whole = [node("LayerNormalization", ["x", "scale"], ["y"])]
    apart = [
        node("ReduceMean", ["x"], ["mean"], axes=[-1]),
        node("Sub", ["x", "mean"], ["c"]),
        node("Pow", ["c", "two"], ["squares"]),
        node("ReduceMean", ["squares"], ["variance"], axes=[-1]),
        node("Add", ["variance", "epsilon"], ["some"]),
        node("Sqrt", ["some"], ["deviation"]),
        node("Div", ["c", "deviation"], ["normal"]),
        node("Mul", ["normal", "scale"], ["y"]),
    ]
    x, reference = RNG(1).normal(size=(3, 2, 4, 6)), RNG(2).normal(size=(3, 2, 4, 6))

    def values(nodes: list[onnx.NodeProto]) -> np.ndarray:
        model = summed(nodes, "y", scale, size=48)
        options = {"baseline": {"x": reference}, "target": 0, "verify": False}
        return onnxsal.explain(model, {"x": x}, method="deep_lift", **options).values["x"]

    np.testing.assert_allclose(values(apart), values(whole), rtol=1e-9, atol=1e-12)


def test_a_reciprocal_of_nothing_does_not_make_multipliers_explode() -> None:
    """RMS normalisation as T5's export writes it, six times: over a reference of zero one over the root is 1000."""
    constants = {"two": np.array(2.0), "one": np.array(1.0), "epsilon": np.array(1e-6), "m": RNG(3).normal(size=(6, 6))}
    nodes, value = [], "x"
    for i in range(6):
        nodes += [
            node("Pow", [value, "two"], [f"squares{i}"]),
            node("ReduceMean", [f"squares{i}"], [f"mean{i}"], axes=[-1]),
            node("Add", [f"mean{i}", "epsilon"], [f"some{i}"]),
            node("Sqrt", [f"some{i}"], [f"root{i}"]),
            node("Div", ["one", f"root{i}"], [f"scale{i}"]),
            node("Mul", [value, f"scale{i}"], [f"normal{i}"]),
            node("MatMul", [f"normal{i}", "m"], [f"z{i}"]),
            node("Add", [f"z{i}", value], [f"h{i}"]),
        ]
        value = f"h{i}"
    x = {"x": RNG(1).normal(size=(3, 2, 4, 6))}
    result = onnxsal.explain(
        summed(nodes, value, constants, size=48), x, method="deep_lift", target=0, verify=False, baseline=0
    )
    assert np.abs(result.values["x"]).max() < 100
    np.testing.assert_allclose(result.completeness, 0, atol=1e-9)


def looped() -> onnx.ModelProto:
    """Return ``score = w . h`` after three rounds of ``h = relu(h @ m) * x``; the sub-graph reads x from outside."""
    body = helper.make_graph(
        [
            node("Identity", ["goes_on"], ["still"]),
            node("MatMul", ["h", "m"], ["z"], name="inner"),
            node("Relu", ["z"], ["r"], name="rectifier"),
            node("Mul", ["r", "x"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", INT64, []),
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("h", DOUBLE, ["N", 4]),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", DOUBLE, ["N", 4]),
        ],
    )
    nodes = [
        node("Loop", ["three", "", "x"], ["h3"], body=body),
        node("MatMul", ["h3", "weights"], ["score"]),
    ]
    constants = {"three": np.array(3), "m": RNG(3).normal(size=(4, 4)), "weights": RNG(4).normal(size=(4, 1))}
    return tiny.model(nodes, [("x", DOUBLE, ["N", 4])], [("score", DOUBLE, ["N", 1])], constants)


def test_nodes_of_a_loops_body_are_places_of_their_own_each_time() -> None:
    assert gap(looped()) < 1e-9


# --- the paper, slowly ------------------------------------------------------------------------------------------------


def dense(rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(rng.normal(size=(i, o)), rng.normal(size=o)) for i, o in ((5, 7), (7, 6), (6, 1))]


def network(layers: list[tuple[np.ndarray, np.ndarray]], activation: str, fused: bool) -> onnx.ModelProto:
    nodes, constants, value = [], {}, "x"
    for i, (weight, bias) in enumerate(layers):
        constants |= {f"w{i}": weight, f"b{i}": bias}
        if fused:
            nodes.append(node("Gemm", [value, f"w{i}", f"b{i}"], [f"z{i}"]))
        else:
            nodes += [node("MatMul", [value, f"w{i}"], [f"m{i}"]), node("Add", [f"b{i}", f"m{i}"], [f"z{i}"])]
        value = f"z{i}"
        if i < len(layers) - 1:
            nodes.append(node(activation, [value], [f"a{i}"]))
            value = f"a{i}"
    return tiny.model(nodes, [("x", DOUBLE, ["N", 5])], [(value, DOUBLE, ["N", 1])], constants)


FUNCTIONS: dict[str, Callable[[float], float]] = {
    "Relu": lambda z: max(z, 0.0),
    "Tanh": lambda z: float(np.tanh(z)),
    "Sigmoid": lambda z: float(1 / (1 + np.exp(-z))),
}


def by_the_paper(layers: Any, f: Callable[[float], float], x: np.ndarray, x0: np.ndarray, reveal: bool) -> np.ndarray:
    """Return the contributions of one example, number by number, as sections 3.2 to 3.5 of the paper say."""
    values, before = [(x, x0)], []
    for weight, bias in layers:
        z, z0 = (v @ weight + bias for v in values[-1])
        before.append((z, z0))
        values.append((np.array([f(v) for v in z]), np.array([f(v) for v in z0])))
    back = np.ones(1)  # the multipliers of the last layer's sums
    for depth in range(len(layers) - 1, -1, -1):
        weight, _ = layers[depth]
        step = values[depth][0] - values[depth][1]
        z, z0 = before[depth]
        last = depth == len(layers) - 1
        multipliers = np.zeros(len(weight))
        for j in range(weight.shape[1]):
            parts = weight[:, j] * step
            gained, lost = parts[parts > 0].sum(), parts[parts < 0].sum()
            if last:
                rise = fall = back[j]
            elif reveal:
                up = (f(z0[j] + gained) - f(z0[j]) + f(z0[j] + lost + gained) - f(z0[j] + lost)) / 2
                down = (f(z0[j] + lost) - f(z0[j]) + f(z0[j] + lost + gained) - f(z0[j] + gained)) / 2
                rise = back[j] * up / gained if gained else 0.0
                fall = back[j] * down / lost if lost else 0.0
            else:
                rise = fall = back[j] * (f(z[j]) - f(z0[j])) / (z[j] - z0[j])
            share = np.select([parts > 0, parts < 0], [rise, fall], (rise + fall) / 2)
            multipliers += share * weight[:, j]
        back = multipliers
    return back * (x - x0)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("rule", ["rescale", "reveal_cancel"])
@pytest.mark.parametrize("activation", FUNCTIONS)
def test_the_papers_numbers_come_out(activation: str, rule: str, fused: bool) -> None:
    layers, x, x0 = dense(RNG(0)), RNG(1).normal(size=(4, 5)), RNG(2).normal(size=(4, 5))
    expected = [
        by_the_paper(layers, FUNCTIONS[activation], *pair, rule == "reveal_cancel") for pair in zip(x, x0, strict=True)
    ]
    model = network(layers, activation, fused)
    found = onnxsal.explain(
        model, {"x": x}, method="deep_lift", rule=rule, baseline={"x": x0}, target=0, verify=False
    ).values["x"]
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-12)


def test_reveal_cancel_shares_a_minimum_that_rescale_gives_to_one_input() -> None:
    """Section 3.5.3: min(i1, i2) = i1 - relu(i1 - i2)."""
    nodes = [
        node("MatMul", ["x", "minus"], ["h"]),
        node("Relu", ["h"], ["r"]),
        node("MatMul", ["x", "first"], ["i"]),
        node("Sub", ["i", "r"], ["y"]),
    ]
    constants = {"minus": np.array([[1.0], [-1.0]]), "first": np.array([[1.0], [0.0]])}
    model = tiny.model(nodes, [("x", DOUBLE, ["N", 2])], [("y", DOUBLE, ["N", 1])], constants)
    x = {"x": np.array([[5.0, 3.0]])}
    shares = {
        r: onnxsal.explain(model, x, method="deep_lift", rule=r, target=0).values["x"]
        for r in ("rescale", "reveal_cancel")
    }
    np.testing.assert_allclose(shares["rescale"], [[0, 3]], atol=1e-12)
    np.testing.assert_allclose(shares["reveal_cancel"], [[1.5, 1.5]], atol=1e-12)


def test_several_baselines_are_averaged() -> None:
    model, x, x0 = network(dense(RNG(0)), "Relu", True), RNG(1).normal(size=(4, 5)), RNG(2).normal(size=(3, 5))
    options = {"target": 0, "verify": False}
    each = [onnxsal.explain(model, {"x": x}, method="deep_lift", baseline={"x": b[None]}, **options) for b in x0]
    whole = onnxsal.explain(model, {"x": x}, method="deep_lift_shap", baselines={"x": x0}, batch_size=5, **options)
    np.testing.assert_allclose(whole.values["x"], np.mean([e.values["x"] for e in each], 0), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(whole.completeness, 0, atol=1e-12)


# --- preflight --------------------------------------------------------------------------------------------------------


def sorted_sum() -> onnx.ModelProto:
    nodes = [node("TopK", ["x", "two"], ["y", "places"], name="best"), node("ReduceSum", ["y"], ["score"], keepdims=0)]
    return tiny.model(nodes, [("x", DOUBLE, [1, 4])], [("score", DOUBLE, [])], {"two": np.array([2])})


X = {"x": np.array([[3.0, 1.0, 4.0, 2.0]])}


def test_a_node_without_a_rule_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="no sound rule for 1 of 2 nodes: TopK 'best'") as refusal:
        onnxsal.explain(sorted_sum(), X, method="deep_lift", verify=False)
    assert "missing=gradient" in str(refusal.value.hint)


def test_or_takes_the_gradient_and_is_noted() -> None:
    result = onnxsal.explain(sorted_sum(), X, method="deep_lift", missing="gradient", verify=False)
    np.testing.assert_array_equal(result.values["x"], [[3, 0, 4, 0]])
    assert "1 of 2 nodes have no deep_lift rule and pass the plain gradient: TopK 'best'" in result.provenance.notes


def test_that_every_node_has_a_rule_is_noted() -> None:
    result = onnxsal.explain(tiny.linear(), {"x": np.ones((1, 3), np.float32)}, method="deep_lift")
    assert "deep_lift has a sound rule for each of the 1 nodes on the way" in result.provenance.notes


class Plugin:
    """Brings a rule for an operator that has none."""

    @staticmethod
    @hookimpl
    def onnxsal_rules() -> list[Rules]:
        def half(call: Any, gradient: tuple[Tensor, ...]) -> tuple[Tensor | None, ...]:
            return torch.full_like(call.inputs[0], 0.5), None

        return [Rules("acme", "deep_lift", {"TopK": half, "Relu": None})]


def test_a_plugins_rule_serves_its_operator_and_goes_before_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Plugin.onnxsal_rules()[0]
    monkeypatch.setitem(registry().entries["rules"], "acme", [(entry, Provider("acme", "1", "acme"))])
    result = onnxsal.explain(sorted_sum(), X, method="deep_lift", verify=False, completeness_tolerance=np.inf)
    np.testing.assert_array_equal(result.values["x"], 0.5 * X["x"])
    assert rules_of("deep_lift")["Relu"] is None
    assert rules_of("deep_lift")["Tanh"] is not None
    other = [(entry, Provider("other", "1", "other"))]
    monkeypatch.setitem(registry().entries["rules"], "other", other)
    with pytest.raises(PluginError, match=r"acme 1 and other 1 both bring a deep_lift rule for TopK"):
        rules_of("deep_lift")


def test_the_hook_is_part_of_the_contract() -> None:
    assert list(onnxsal_rules()) == []
    assert "deep_lift" in registry().names("rules")
