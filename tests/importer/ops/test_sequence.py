"""Sequences and optionals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import parser

from onnxsal.errors import InputError
from onnxsal.importer.build import build
from onnxsal.importer.normalise import normalise
from tests.importer.ops.support import check

X = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
PARTS = [X[:1], X[1:2] + 1, X[3:] * 2]


def test_construct_and_length() -> None:
    check("SequenceConstruct", [X, X[:1]], opset=11, expected=[[X, X[:1]]])
    check("SequenceLength", [PARTS], opset=11)
    check("SequenceEmpty", [], opset=11, expected=[[]])


@pytest.mark.parametrize("position", [0, 2, -1, -3])
def test_at(position: int) -> None:
    check("SequenceAt", [PARTS, np.array(position)], opset=11)


@pytest.mark.parametrize("position", [None, 0, 3, -1, -3])
def test_insert_and_erase(position: int | None) -> None:
    place = [] if position is None else [np.array(position)]
    check("SequenceInsert", [PARTS, X[2:3], *place], opset=11)
    if position != 3:
        check("SequenceErase", [PARTS, *place], opset=11)


@pytest.mark.parametrize("position", [3, -4])
def test_positions_outside_are_refused(position: int) -> None:
    with pytest.raises(InputError, match=f"position {position}"):
        check("SequenceAt", [PARTS, np.array(position)], opset=11, expected=[X])


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_split_one_by_one(axis: int, keepdims: int) -> None:
    check("SplitToSequence", [X], opset=11, axis=axis, keepdims=keepdims)


@pytest.mark.parametrize("split", [np.array(2), np.array(3), np.array([1, 3]), np.array(9)])
def test_split_by_sizes(split: np.ndarray) -> None:
    check("SplitToSequence", [X, split], opset=11)


@pytest.mark.parametrize(("axis", "new_axis"), [(0, 0), (-1, 0), (0, 1), (1, 1), (-1, 1)])
def test_concat(axis: int, new_axis: int) -> None:
    check("ConcatFromSequence", [PARTS], opset=11, axis=axis, new_axis=new_axis)


def test_gradient_passes_through_a_sequence() -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    mapped (float[N, 3] x) => (float[M, 3] y) {
        rows = SplitToSequence <axis: int = 0> (x)
        squares = SequenceMap (rows) <body = square (float[1, 3] r) => (float[1, 3] s) { s = Mul(r, r) }>
        y = ConcatFromSequence <axis: int = 0> (squares)
    }
    """
    module = build(normalise(parser.parse_model(text)))
    x = torch.arange(6.0).reshape(2, 3).requires_grad_()
    module(x)[0].sum().backward()
    torch.testing.assert_close(x.grad, 2 * x.detach(), rtol=0, atol=0)


def test_map_with_a_second_sequence_and_a_tensor() -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    mapped (seq(float[1, 3, 2]) a, seq(float[1, 3, 2]) b, float[2] c)
        => (seq(float[1, 3, 2]) y, seq(float[1, 3, 2]) z) {
        y, z = SequenceMap (a, b, c) <
            body = each (float[1, 3, 2] p, float[1, 3, 2] q, float[2] r) => (float[1, 3, 2] s, float[1, 3, 2] t) {
                s = Add(p, q)
                t = Mul(p, r)
            }
        >
    }
    """
    module = build(normalise(parser.parse_model(text)))
    parts, factors = [torch.tensor(p) for p in PARTS], torch.tensor([2.0, 3.0])
    sums, products = module(parts, parts[::-1], factors)
    torch.testing.assert_close(sums, [a + b for a, b in zip(parts, parts[::-1], strict=True)], rtol=0, atol=0)
    torch.testing.assert_close(products, [a * factors for a in parts], rtol=0, atol=0)


def test_shapes_in_a_sequence_stay_known() -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    shapes (float[N, 3] x) => (float[M, K] y) {
        rows = Shape <start: int = 0, end: int = 1> (x)
        minus_one = Constant <value_ints = [-1]> ()
        twice = Add(rows, rows)
        sizes = SequenceConstruct(minus_one, twice)
        shape = ConcatFromSequence <axis: int = 0> (sizes)
        longer = Concat <axis: int = 0> (x, x)
        y = Reshape(longer, shape)
    }
    """
    module = build(normalise(parser.parse_model(text)))
    exported = torch.export.export(
        module, (torch.zeros(4, 3),), dynamic_shapes=[{0: torch.export.Dim.AUTO}], strict=False
    )
    assert exported.module()(torch.zeros(5, 3))[0].shape == (3, 10)


def test_optional() -> None:
    check("OptionalHasElement", [X], opset=18, expected=[np.array(True)])
    check("OptionalHasElement", [], opset=18, expected=[np.array(False)])
    check("OptionalGetElement", [X], opset=18, expected=[X])


def test_an_empty_optional_has_nothing_to_get() -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 18]>
    get (optional(float[2]) x) => (float[2] y) { y = OptionalGetElement(x) }
    """
    with pytest.raises(InputError, match="holds nothing"):
        build(normalise(parser.parse_model(text)))(None)
