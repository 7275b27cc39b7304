"""Requests to model servers as inputs."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from onnxsal.errors import InputError
from onnxsal.readers.json import read_json

from .support import port

X, IDS = port("x", "float32", ("N", 2)), port("ids", "int64", ("N",))


def read(body: Any, *ports: Any) -> dict[str, np.ndarray]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return {name: reading.array for name, reading in read_json(data, ports or [X]).items()}


def v2(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2.5]} | changes]}


@pytest.mark.parametrize(
    "body",
    [
        [[1, 2.5]],
        {"x": [[1, 2.5]]},
        {"x": [[1, 2.5]], "other": None},
        {"instances": [[1, 2.5]]},
        {"instances": [{"x": [1, 2.5]}], "signature_name": "serving_default"},
        v2(),
        v2(data=[[1, 2.5]]),
        {"id": "7", **v2()},
    ],
)
def test_ways_to_write_one_input(body: Any) -> None:
    assert read(body)["x"].tolist() == [[1, 2.5]]


@pytest.mark.parametrize(
    "body",
    [
        {"x": [[1, 2], [3, 4]], "ids": [5, 6]},
        {"instances": [{"x": [1, 2], "ids": 5}, {"x": [3, 4], "ids": 6}]},
        {
            "inputs": [
                {"name": "ids", "shape": [2], "datatype": "INT64", "data": [5, 6]},
                {"name": "x", "shape": [2, 2], "datatype": "FP64", "data": [1, 2, 3, 4]},
            ]
        },
    ],
)
def test_ways_to_write_several(body: Any) -> None:
    arrays = read(body, X, IDS)
    assert arrays["x"].tolist() == [[1, 2], [3, 4]]
    assert arrays["x"].dtype == np.float64
    assert arrays["ids"].tolist() == [5, 6]
    assert arrays["ids"].dtype == np.int64


def test_texts_and_truth() -> None:
    assert read({"t": ["ä"]}, port("t", "string", ("N",)))["t"].tolist() == ["ä"]
    assert read({"t": [True]}, port("t", "bool", ("N",)))["t"].dtype == bool
    assert read(v2(datatype="BYTES", data=["a", "b"]), port("x", "string", ("N", 2)))["x"].tolist() == [["a", "b"]]


def test_input_called_inputs() -> None:
    assert read({"inputs": [[1, 2]]}, port("inputs"))["inputs"].tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        ([[1, 2], [3]], "not of one length"),
        ([[1, None]], "not all float32"),
        ([["1", "2"]], "not all float32"),
        ({"y": [[1, 2]]}, "nothing for input 'x'"),
        ({"instances": [{"y": 1}]}, "nothing for input 'x'"),
        ({"instances": [{"x": 1}, {}]}, "nothing for input 'x'"),
        (v2(shape=[3]), "does not hold 2 values"),
        (v2(shape=[-1, 2]), "does not hold 2 values"),
        (v2(shape=[1 << 40, 1 << 40]), "does not hold 2 values"),
        (v2(datatype="FP31"), "unknown datatype 'FP31'"),
    ],
)
def test_faults(body: Any, what: str) -> None:
    with pytest.raises(InputError, match=what):
        read(body)


def test_list_for_several_inputs() -> None:
    with pytest.raises(InputError, match="waits for 2"):
        read([[1, 2]], X, IDS)
