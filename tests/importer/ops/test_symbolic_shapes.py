"""Shape arithmetic stays on the host, so that a graph traced once serves every batch size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from onnxsal.importer.build import build
from onnxsal.importer.normalise import normalise
from tests.oracle.tracing import Example, forward, trace

CONSTANTS = {
    "zero": np.array(0),
    "one": np.array(1),
    "two": np.array([2]),
    "zeros": np.array([0]),
    "ones": np.array([1]),
    "minus_one": np.array([-1]),
    "minus_two": np.array([-2]),
    "twelve": np.array([12]),
    "keep_and_open": np.array([0, -1]),
    "furthest": np.array([-(2**31)]),
}


def graph(text: str, opset: int) -> fx.GraphModule:
    """Return the module of a graph written as ``result = Op(inputs) attribute=value``, one node a line."""
    nodes = []
    for line in filter(None, map(str.strip, text.splitlines())):
        outputs, call = line.split(" = ")
        op_type, rest = call.split("(")
        inputs, _, attributes = rest.partition(")")
        pairs = (pair.split("=") for pair in attributes.split())
        node = helper.make_node(
            op_type, inputs.split(", "), outputs.split(", "), **{k: int(v) for k, v in pairs if k != "value"}
        )
        nodes.append(node)
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "shapes",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 4])],
            [onnx.ValueInfoProto(name="y")],
            [numpy_helper.from_array(v, k) for k, v in CONSTANTS.items()],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
    )
    return build(normalise(model))


GRAPHS: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "flattened by computed sizes": (
        """
        shape = Shape(x)
        batch = Gather(shape, zero) axis=0
        three = Gather(shape, one) axis=0
        rows = Mul(batch, three)
        rows_1 = Unsqueeze(rows, zeros)
        sizes = Concat(rows_1, minus_one) axis=0
        y = Reshape(x, sizes)
        """,
        lambda x: x.reshape(-1, 4),
    ),
    "numbers of the rows": (
        """
        shape = Shape(x)
        batch = Gather(shape, zero) axis=0
        numbers = Range(zero, batch, one)
        column = Unsqueeze(numbers, minus_one)
        wide = Unsqueeze(column, minus_one)
        full = Expand(wide, shape)
        floats = Cast(full) to=1
        y = Add(x, floats)
        """,
        lambda x: x + torch.arange(len(x)).reshape(-1, 1, 1),
    ),
    "filled": (
        """
        shape = Shape(x)
        batch = Slice(shape, zeros, ones)
        sizes = Concat(batch, ones, twelve) axis=0
        nothing = ConstantOfShape(sizes)
        two_d = Flatten(x) axis=1
        three_d = Unsqueeze(two_d, ones)
        y = Concat(three_d, nothing) axis=1
        """,
        lambda x: torch.stack([x.flatten(1), torch.zeros(len(x), 12)], 1),
    ),
    "all but the last row, twice": (
        """
        shape = Shape(x)
        batch = Slice(shape, zeros, ones)
        last = Sub(batch, ones)
        rows = Slice(x, zeros, last, zeros)
        size = Shape(rows)
        first = Gather(size, zeros) axis=0
        repeats = Concat(two, ones, ones) axis=0
        y = Tile(rows, repeats)
        """,
        lambda x: x[:-1].repeat(2, 1, 1),
    ),
    "half the batch, turned round": (
        """
        shape = Shape(x)
        batch = Slice(shape, zeros, ones)
        half = Div(batch, two)
        rows = Slice(x, half, batch, zeros)
        y = Slice(rows, minus_one, furthest, zeros, minus_one)
        """,
        lambda x: x[len(x) // 2 :].flip(0),
    ),
    "a broadcast as exporters write it": (
        """
        shape = Shape(x)
        wanted = Concat(minus_one, ones, minus_one) axis=0
        open = Equal(wanted, minus_one)
        sizes = Where(open, shape, wanted)
        row = Slice(x, zeros, ones, ones)
        y = Expand(row, sizes)
        """,
        lambda x: x[:, :1],
    ),
    "split and picked": (
        """
        a, b = Split(x, sizes_of_parts) axis=1
        shape = Shape(a)
        batch, rest = Split(shape, one_and_two) axis=0
        only = Squeeze(batch, zeros)
        numbers = Range(zero, only, one)
        picked = Gather(b, numbers) axis=0
        y = Sub(picked, x)
        """,
        lambda x: x[:, 2:] - x,
    ),
}
CONSTANTS |= {"sizes_of_parts": np.array([2, 1]), "one_and_two": np.array([1, 2])}


@pytest.fixture(params=GRAPHS)
def case(request: pytest.FixtureRequest) -> tuple[fx.GraphModule, Callable[[Tensor], Tensor]]:
    text, expected = GRAPHS[request.param]
    return graph(text, 18), expected


def numbers(batch: int) -> Tensor:
    return torch.arange(batch * 12.0).reshape(batch, 3, 4)


def test_runs(case: tuple[fx.GraphModule, Callable[[Tensor], Tensor]]) -> None:
    module, expected = case
    for batch in (2, 3, 5):
        torch.testing.assert_close(module(numbers(batch))[0], expected(numbers(batch)), rtol=0, atol=0)


def test_traced_graph_serves_other_batch_sizes(case: tuple[fx.GraphModule, Callable[[Tensor], Tensor]]) -> None:
    module, expected = case
    traced = make_fx(module, tracing_mode="symbolic")(numbers(6))
    for batch in (6, 8, 5):
        torch.testing.assert_close(traced(numbers(batch))[0], expected(numbers(batch)), rtol=0, atol=0)


def test_exported_graph_serves_other_batch_sizes(case: tuple[fx.GraphModule, Callable[[Tensor], Tensor]]) -> None:
    module, expected = case
    automatic = [{0: torch.export.Dim.AUTO}]  # lets the exporter find out that one row less than a batch may be no row
    exported = torch.export.export(module, (numbers(6),), dynamic_shapes=automatic, strict=False).module()
    for size in (6, 8, 5):
        torch.testing.assert_close(exported(numbers(size))[0], expected(numbers(size)), rtol=0, atol=0)


def test_an_open_size_is_a_number_where_the_symbols_cancel() -> None:
    module = graph("y = Reshape(x, keep_and_open)", 17)
    traced = trace(forward(module), Example([torch.rand(1, 3, 4)], [0]))
    (view,) = (node for node in traced.graph.nodes if node.target is torch.ops.aten.view.default)
    assert view.args[1][1] == 12
    assert traced(torch.rand(5, 3, 4))[0].shape == (5, 12)
