"""If, Loop and Scan: values against ONNX Runtime, gradients against finite differences, traces against the module."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import parser

from onnxsal.importer.build import build
from onnxsal.importer.normalise import normalise
from tests.importer.ops.support import check_gradient, check_trace, run_onnxruntime
from tests.oracle.node_cases import differs, to_value

X = np.random.default_rng(7).normal(size=(2, 3)).astype(np.float32)


def model(text: str, opset: int = 16) -> onnx.ModelProto:
    return parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> {text}')


def compare(text: str, *inputs: Any, opset: int = 16, gradient: bool = True, trace: bool = True) -> list[Any]:
    """Compare a model with ONNX Runtime; a model in float32 is also checked for its gradient, in float64."""
    proto = model(text, opset)
    module = build(normalise(proto))
    got = list(module(*map(to_value, inputs)))
    assert (reason := differs(got, run_onnxruntime(proto, inputs), 1e-6, 1e-6)) is None, reason
    if trace:
        check_trace(module, [to_value(v) for v in inputs])
    if gradient:
        doubles = [v.astype(np.float64) if v.dtype == np.float32 else v for v in inputs]
        check_gradient(build(normalise(model(text.replace("float", "double"), opset))), doubles)
    return got


IF = """
conditional (bool c, float[2, 3] x) => (float[2, 3] y, float[2, 3] z) {
    twice = Add(x, x)
    y, z = If (c) <
        then_branch = positive () => (float[2, 3] a, float[2, 3] b) { a = Mul(x, x)  b = Identity(twice) },
        else_branch = negative () => (float[2, 3] a, float[2, 3] b) { b = Neg(twice)  a = Exp(b) }
    >
}
"""


@pytest.mark.parametrize("condition", [True, False])
def test_if(condition: bool) -> None:
    compare(IF, np.array(condition), X, trace=False)


def test_if_by_a_shape_traces() -> None:
    text = """
    by_rank (float[N, 3] x) => (float[N, 3] y) {
        shape = Shape(x)
        last = Gather <axis: int = 0> (shape, one)
        c = Equal(last, three)
        y = If (c) <
            then_branch = same () => (float[N, 3] a) { a = Mul(x, x) },
            else_branch = other () => (float[N, 3] a) { a = Neg(x) }
        >
    }
    """.replace("shape = Shape", "one = Constant <value_int = 1> () three = Constant <value_int = 3> () shape = Shape")
    compare(text, X)


def test_if_hands_out_what_an_outer_node_made() -> None:
    text = """
    nested (bool c, float[2, 3] x) => (float[2, 3] y) {
        outer = Exp(x)
        y = If (c) <
            then_branch = first () => (float[2, 3] a) {
                a = If (c) <
                    then_branch = inner () => (float[2, 3] b) { b = Mul(outer, x) },
                    else_branch = never () => (float[2, 3] b) { b = Identity(x) }
                >
            },
            else_branch = second () => (float[2, 3] a) { a = Identity(outer) }
        >
    }
    """
    compare(text, np.array(True), X, trace=False)
    compare(text, np.array(False), X, trace=False)


LOOP = """
power (int64 n, bool go, float[2, 3] x) => (float[2, 3] last, float[K, 2, 3] all) {
    last, all = Loop (n, go, x) <
        body = step (int64 i, bool before, float[2, 3] state) => (bool after, float[2, 3] next, float[2, 3] seen) {
            after = Identity(before)
            product = Mul(state, x)
            ahead = Cast <to: int = TYPE> (i)
            next = Add(product, ahead)
            seen = Identity(state)
        }
    >
}
"""


def loop(text: str, *inputs: Any, **options: Any) -> None:
    compare(text.replace("TYPE", "1"), *inputs, gradient=False, **options)
    doubles = [v.astype(np.float64) if v.dtype == np.float32 else v for v in inputs]
    check_gradient(build(normalise(model(text.replace("TYPE", "11").replace("float", "double")))), doubles)


@pytest.mark.parametrize("opset", [11, 13, 16])
def test_loop_of_a_count(opset: int) -> None:
    loop(LOOP, np.array(4), np.array(True), X, opset=opset, trace=False)


@pytest.mark.parametrize(("count", "go"), [(0, True), (3, False)])
def test_loop_that_never_runs_gives_nothing_of_the_declared_shape(count: int, go: bool) -> None:
    _, seen = compare(LOOP.replace("TYPE", "1"), np.array(count), np.array(go), X, gradient=False, trace=False)
    assert seen.shape == (0, 2, 3)


def test_loop_ends_early() -> None:
    text = """
    double_until (float[2, 3] x) => (float[2, 3] last, float[K] sums, int64 n) {
        none = Constant <value_int = 0> ()
        one = Constant <value_int = 1> ()
        limit = Constant <value_float = 50.0> ()
        last, n, sums = Loop ("", "", x, none) <
            body = step (int64 i, bool before, float[2, 3] s, int64 k)
                => (bool after, float[2, 3] t, int64 m, float total) {
                t = Add(s, s)
                size = Abs(t)
                total = ReduceSum <keepdims: int = 0> (size)
                after = Less(total, limit)
                m = Add(k, one)
            }
        >
    }
    """
    compare(text, X, gradient=False, trace=False)


def test_loop_over_constant_bounds_traces() -> None:
    text = """
    rows (float[N, 3] x) => (float[2, 3] y, float[2, N, 1] all) {
        two = Constant <value_int = 2> ()
        go = Constant <value = bool {1}> ()
        zeros = Constant <value = float[2, 3] {0, 0, 0, 0, 0, 0}> ()
        y, all = Loop (two, go, zeros) <
            body = step (int64 i, bool before, float[2, 3] s) => (bool after, float[2, 3] t, float[N, 1] column) {
                after = Identity(before)
                axis = Constant <value_ints = [1]> ()
                one = Constant <value_ints = [1]> ()
                start = Unsqueeze(i, zero)
                end = Add(start, one)
                column = Slice(x, start, end, axis)
                row = Gather <axis: int = 0> (x, i)
                t = Add(s, row)
            }
        >
    }
    """.replace("two = Constant", "zero = Constant <value_ints = [0]> () two = Constant", 1)
    compare(text, X, gradient=False)


def test_loop_with_a_sequence_as_state() -> None:
    text = """
    collect (float[2, 3] x) => (float[M, 3] y) {
        three = Constant <value_int = 3> ()
        go = Constant <value = bool {1}> ()
        none = SequenceEmpty <dtype: int = TYPE> ()
        filled = Loop (three, go, none) <
            body = step (int64 i, bool before, seq(float[2, 3]) s) => (bool after, seq(float[2, 3]) t) {
                after = Identity(before)
                factor = Cast <to: int = TYPE> (i)
                scaled = Mul(x, factor)
                t = SequenceInsert(s, scaled)
            }
        >
        y = ConcatFromSequence <axis: int = 0> (filled)
    }
    """
    loop(text, X)


SCAN = """
sums (float[3] start, float[N, 3] x, float[3, N] w) => (float[3] final, float[N, 3] partial, float[2, N] ends) {
    final, partial, ends = Scan <num_scan_inputs: int = 2, scan_input_axes = [0, -1], OPTIONS
        body = step (float[3] s, float[3] e, float[3] f) => (float[3] t, float[3] u, float[2] v) {
            product = Mul(e, f)
            grown = Mul(s, s)
            t = Add(grown, product)
            u = Sub(t, e)
            v = Gather <axis: int = 0> (u, first_two)
        }
    > (start, x, w)
}
""".replace("    final,", "first_two = Constant <value = int64[2] {0, 1}> () final,")


@pytest.mark.parametrize("opset", [9, 11, 16])
@pytest.mark.parametrize("inputs_turned", ["[0, 0]", "[1, 0]", "[1, 1]"])
@pytest.mark.parametrize("outputs_turned", ["[0, 0]", "[0, 1]"])
def test_scan(inputs_turned: str, outputs_turned: str, opset: int) -> None:
    directions = f"scan_input_directions = {inputs_turned}, scan_output_directions = {outputs_turned},"
    options = f"scan_output_axes = [0, 1], {directions}"
    rng = np.random.default_rng(0)
    start, x, w = (rng.normal(size=s).astype(np.float32) * 0.5 for s in ((3,), (4, 3), (3, 4)))
    compare(SCAN.replace("OPTIONS", options), start, x, w, opset=opset, trace=opset == 16)


@pytest.mark.parametrize("directions", ["", "directions = [1],"])
def test_scan_of_a_batch(directions: str) -> None:
    text = """
    sums (float[2, 3] start, float[2, 4, 3] x) => (float[2, 3] final, float[2, 4, 3] partial) {
        final, partial = Scan <num_scan_inputs: int = 1, OPTIONS
            body = step (float[3] s, float[3] e) => (float[3] t, float[3] u) { t = Add(s, e)  u = Mul(t, e) }
        > ("", start, x)
    }
    """
    compare(
        text.replace("OPTIONS", directions),
        X,
        np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32),
        opset=8,
    )


def test_scan_of_a_batch_of_several_lengths() -> None:
    text = """
    sums (int64[2] lens, float[2, 3] start, float[2, 4, 3] x) => (float[2, 3] final, float[2, 4, 3] partial) {
        final, partial = Scan <num_scan_inputs: int = 1,
            body = step (float[3] s, float[3] e) => (float[3] t, float[3] u) { t = Add(s, e)  u = Identity(t) }
        > (lens, start, x)
    }
    """
    x = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    compare(text, np.array([4, 2]), X, x, opset=8, trace=False)


def test_gradient_reaches_values_that_a_body_captures() -> None:
    module = build(normalise(model(LOOP.replace("TYPE", "1"))))
    x = torch.tensor(X, requires_grad=True)
    module(torch.tensor(2), torch.tensor(True), x)[0].sum().backward()
    # the state is x, then x*x, then (x*x)*x + 1
    torch.testing.assert_close(x.grad, 3 * x.detach() ** 2)


def test_a_branch_knows_outer_weights_and_gets_native_layers() -> None:
    text = """
    weights (bool c, float[1, 1, 4, 4] x) => (float[1, 2, 2, 2] y) {
        w = Constant <value = float[2, 1, 3, 3] {1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 8, 7, 6, 5, 4, 3, 2, 1}> ()
        double = Add(x, x)
        y = If (c) <
            then_branch = first () => (float[1, 2, 2, 2] a) { a = Conv(double, w) },
            else_branch = second () => (float[1, 2, 2, 2] b) { n = Neg(w)  b = Conv(x, n) }
        >
    }
    """
    module = build(normalise(model(text)))
    assert any(isinstance(m, torch.nn.Conv2d) for m in module.modules())
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    compare(text, np.array(True), x, trace=False)
    compare(text, np.array(False), x, trace=False)
