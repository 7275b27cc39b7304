"""Grow an ONNX graph: nodes, constants and names; what is computed twice is written once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper

from onnxsal.importer.values import to_host

ELEMENTS = {
    torch.float32: TensorProto.FLOAT,
    torch.float64: TensorProto.DOUBLE,
    torch.float16: TensorProto.FLOAT16,
    torch.bfloat16: TensorProto.BFLOAT16,
    torch.bool: TensorProto.BOOL,
    torch.uint8: TensorProto.UINT8,
    torch.int8: TensorProto.INT8,
    torch.int16: TensorProto.INT16,
    torch.int32: TensorProto.INT32,
    torch.int64: TensorProto.INT64,
    torch.uint16: TensorProto.UINT16,
    torch.uint32: TensorProto.UINT32,
    torch.uint64: TensorProto.UINT64,
    torch.complex64: TensorProto.COMPLEX64,
    torch.complex128: TensorProto.COMPLEX128,
    torch.float8_e4m3fn: TensorProto.FLOAT8E4M3FN,
    torch.float8_e4m3fnuz: TensorProto.FLOAT8E4M3FNUZ,
    torch.float8_e5m2: TensorProto.FLOAT8E5M2,
    torch.float8_e5m2fnuz: TensorProto.FLOAT8E5M2FNUZ,
}
"""The ONNX element type of each torch type."""


@dataclass(frozen=True)
class Value:
    """A value of the ONNX graph.

    ``dtype`` and ``shape`` are what the trace knows of it; a shape's open dimensions are symbolic. Values made on the
    way to one of the trace have neither.
    """

    name: str
    dtype: torch.dtype | None = None
    shape: tuple[Any, ...] | None = None

    @property
    def rank(self) -> int:
        """The number of axes."""
        assert self.shape is not None, self.name
        return len(self.shape)


Argument: TypeAlias = "Value | np.ndarray | Sequence[int] | int | float | None"
"""An input of a node: a value, an array, whole numbers as an int64 vector, one as such a scalar, or none."""


@dataclass
class Builder:
    """A graph in the making.

    ``builder.Add(a, b)`` adds a node and returns its output, or the output of an equal node that is there already.
    """

    opset: int
    taken: set[str] = field(default_factory=set)
    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    _made: dict[Any, tuple[Value, ...]] = field(default_factory=dict)
    _makers: dict[str, NodeProto] = field(default_factory=dict)
    _known: dict[Any, str] = field(default_factory=dict)
    result: Any = None
    """What the trace knows of the call that is being lowered."""
    declared: dict[str, Value] = field(default_factory=dict)
    """Values whose type and shape are known, by name."""
    _bulk: dict[int, Value] = field(default_factory=dict)

    def __getattr__(self, op_type: str) -> Any:
        if not op_type[0].isupper():
            raise AttributeError(op_type)
        return partial(self.op, op_type)

    def op(self, op_type: str, *inputs: Argument, n_outputs: int = 1, **attributes: Any) -> Any:
        """Add a node of the standard domain; return its output, or the tuple of them where several are asked for.

        Attributes that are None are left out.
        """
        names = [self._name_of(argument) for argument in inputs]
        while names and not names[-1]:
            names.pop()
        attributes = {name: value for name, value in attributes.items() if value is not None}
        if op_type == "Transpose":
            names, attributes = self._merged_transpose(names, attributes)
            if _is_sorted(attributes["perm"]):
                return Value(names[0])
        key = op_type, tuple(names), repr(sorted(attributes.items())), n_outputs
        if key not in self._made:
            outputs = tuple(Value(self.fresh(op_type)) for _ in range(n_outputs))
            node = helper.make_node(op_type, names, [o.name for o in outputs], outputs[0].name, **attributes)
            self.add(node)
            self._made[key] = outputs
        return self._made[key][0] if n_outputs == 1 else self._made[key]

    def add(self, node: NodeProto) -> None:
        """Add a node as it is."""
        self.nodes.append(node)
        for output in node.output:
            self._makers[output] = node

    def maker(self, value: Value) -> NodeProto | None:
        """Return the node that makes a value; None for constants and inputs."""
        return self._makers.get(value.name)

    def declare(self, value: Value, dtype: torch.dtype | None, shape: Sequence[Any]) -> Value:
        """Return a value with what is known of it, which the file is going to say."""
        self.declared[value.name] = Value(value.name, dtype, tuple(shape))
        return self.declared[value.name]

    def fresh(self, base: str) -> str:
        """Return a name that nothing has, and take it."""
        name, count = base, 1
        while name in self.taken:
            name, count = f"{base}_{count}", count + 1
        self.taken.add(name)
        return name

    def constant(self, array: np.ndarray, base: str = "constant") -> Value:
        """Return a constant; equal small ones are kept once, large ones are told apart by the array."""
        array = np.asarray(array)
        if array.size > 64:
            if id(array) not in self._bulk:
                self._bulk[id(array)] = self._new_constant(array, base)
            return self._bulk[id(array)]
        key = array.dtype.str, array.dtype.name, array.shape, array.tobytes()
        if key not in self._known:
            self._known[key] = self._new_constant(array, base).name
        return Value(self._known[key])

    def _new_constant(self, array: np.ndarray, base: str) -> Value:
        name = self.fresh(base)
        self.constants[name] = array
        return Value(name)

    def scalar(self, number: Any, dtype: torch.dtype | None) -> Value:
        """Return a constant number of a type."""
        assert dtype is not None
        return self.constant(to_host(torch.tensor(number, dtype=dtype)))

    def cast(self, value: Value, dtype: torch.dtype) -> Value:
        """Return a value in another type."""
        if value.dtype is dtype:
            return value
        cast = self.op("Cast", value, to=ELEMENTS[dtype])
        return Value(cast.name, dtype, value.shape)

    def vector(self, items: Sequence[Any]) -> Value:
        """Return whole numbers, some of them values of shape [1], as one int64 vector."""
        if all(isinstance(item, int) for item in items):
            return self.constant(np.array(items, np.int64))
        parts: list[Any] = []
        for item in items:
            if isinstance(item, int) and parts and isinstance(parts[-1], list):
                parts[-1].append(item)
            else:
                parts.append([item] if isinstance(item, int) else item)
        return self.op("Concat", *parts, axis=0) if len(parts) > 1 else parts[0]

    def size(self, value: Value, axis: int) -> Any:
        """Return one dimension: a number, or a value of shape [1] where it is open."""
        if value.shape is not None and isinstance(value.shape[axis], int):
            return value.shape[axis]
        axis = axis % value.rank
        found = self.op("Shape", value, start=axis, end=axis + 1)
        return Value(found.name, torch.int64, (1,))

    def sizes(self, value: Value) -> list[Any]:
        """Return all dimensions, as `size` does."""
        return [self.size(value, axis) for axis in range(value.rank)]

    def reshape(self, value: Value, shape: Sequence[Any]) -> Value:
        """Return the value in another shape; one open dimension is left to be inferred."""
        open_places = [i for i, size in enumerate(shape) if not isinstance(size, int)]
        if len(open_places) == 1 and -1 not in shape and 0 not in shape:
            shape = [-1 if i in open_places else size for i, size in enumerate(shape)]
        made = self.maker(value)
        if made is not None and made.op_type == "Reshape" and len(open_places) <= 1:
            value = Value(made.input[0])  # only the last of several shapes counts
        return self.op("Reshape", value, self.vector(shape))

    def pad(self, value: Value, axes: Sequence[int], begins: Any, ends: Any, number: Any, dtype: Any) -> Value:
        """Return the value with a number laid around it; what is laid is a list of sizes, or a vector of them.

        All axes are named: up to opset 17 they have to be, and ONNX Runtime 1.32 loses count when it moves a Transpose
        past a Pad of some of them.
        """
        around = [*self._on_all_axes(value, axes, begins), *self._on_all_axes(value, axes, ends)]
        return self.op("Pad", value, self.vector(around), self.scalar(number, dtype))

    def _on_all_axes(self, value: Value, axes: Sequence[int], sizes: Any) -> list[Any]:
        items = sizes if isinstance(sizes, list) else [self.op("Slice", sizes, [i], [i + 1]) for i in range(len(axes))]
        padded = dict(zip(axes, items, strict=True))
        return [padded.get(axis, 0) for axis in range(value.rank)]

    def _merged_transpose(self, names: list[str], attributes: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
        before = self._makers.get(names[0])
        if before is None or before.op_type != "Transpose":
            return names, attributes
        first = list(before.attribute[0].ints)
        return [before.input[0]], {"perm": [first[axis] for axis in attributes["perm"]]}

    def _name_of(self, argument: Argument) -> str:
        if argument is None:
            return ""
        if isinstance(argument, Value):
            return argument.name
        if isinstance(argument, np.ndarray):
            return self.constant(argument).name
        return self.constant(np.array(argument, np.int64)).name

    def used(self, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Return the constants among some values."""
        wanted = set(names)
        return {name: array for name, array in self.constants.items() if name in wanted}


def are_same(sizes: Sequence[Any] | None, others: Sequence[Any] | None) -> bool:
    """Say whether the trace knows two shapes to be the same, without asking it for more."""
    if sizes is None or others is None or len(sizes) != len(others):
        return False
    return all(_expression(a) == _expression(b) for a, b in zip(sizes, others, strict=True))


def _expression(size: Any) -> Any:
    return size.node.expr if isinstance(size, torch.SymInt) else size


def tensor_proto(array: np.ndarray, name: str) -> TensorProto:
    """Return a constant as ONNX stores it; text too."""
    if array.dtype.kind in "OUS":
        texts: Any = [str(text).encode() for text in array.ravel()]
        return helper.make_tensor(name, TensorProto.STRING, array.shape, texts)
    return numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)


def zero_of(dtype: torch.dtype | None) -> np.ndarray:
    """Return zero as an array of no axes."""
    assert dtype is not None
    return to_host(torch.zeros((), dtype=dtype))


def element_of(name: str) -> int:
    """Return the ONNX element type of a numpy name such as "float32"."""
    if name == "string":
        return TensorProto.STRING
    return helper.np_dtype_to_tensor_dtype(np.dtype(getattr(ml_dtypes, name, name)))


def _is_sorted(axes: Sequence[int]) -> bool:
    return list(axes) == sorted(axes)
