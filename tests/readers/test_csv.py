"""Tables as inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxsal.errors import InputError, UsageError
from onnxsal.readers.csv import read_csv

from .support import port

TABLE = port("X", shape=("N", 2))


def read(text: str, to: Any = TABLE, **options: Any) -> np.ndarray:
    return read_csv(text.encode(), [to], **options)[to.name].array


def test_lines_are_examples() -> None:
    array = read("1,2.5\n-3,4e1\n")
    assert array.tolist() == [[1, 2.5], [-3, 40]]
    assert array.dtype == np.float64


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("a,b\n1,2\n", {}),
        ("\ufeffa,b\r\n1,2\r\n", {}),
        ('"a"; "b"\n1; 2\n\n', {"delimiter": ";"}),
        ("1\t2", {"delimiter": "tab"}),
        ("1,9\n1,2", {"header": "yes"}),
        ("1,2\n3,4", {"rows": 1}),
        ("id,b,a\n7,2,1", {"columns": ("a", "b")}),
        ("7,2,1", {"columns": ("2", "1")}),
    ],
)
def test_ways_to_write_it(text: str, options: dict[str, Any]) -> None:
    assert read(text, **options).tolist() == [[1, 2]]


def test_a_column_for_each_input() -> None:
    ports = [port("age", "int64", ("N", 1)), port("name", "string", ("N", 1)), port("dose", "float32", ("N",))]
    readings = read_csv(b"name,dose,age,label\nx,0.5,9007199254740993,1\ny,1,4,0\n", ports)
    assert readings["age"].array.tolist() == [[9007199254740993], [4]]
    assert readings["name"].array.tolist() == [["x"], ["y"]]
    assert readings["dose"].array.tolist() == [0.5, 1]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "no line of numbers"),
        ("a,b\n", "no line of numbers"),
        ("1,2\n3\n", "1 columns, 2 before"),
        ("1,x\n", "'x' is not a number"),
        ("1,\n", "'' is not a number"),
        ('"1', "not a table"),
    ],
)
def test_faults(text: str, what: str) -> None:
    with pytest.raises(InputError, match=what):
        read(text)


def test_other_encodings() -> None:
    with pytest.raises(InputError, match="UTF-8"):
        read_csv("1,2,ü".encode("latin-1"), [TABLE])


@pytest.mark.parametrize("cell", ["1.5", "99999999999999999999", "0x1", ""])
def test_what_is_no_whole_number(cell: str) -> None:
    with pytest.raises(InputError, match=f"'{cell}' is not a whole number"):
        read(f"1,{cell}", port("X", "int64", ("N", 2)))


def test_unknown_column_offers_the_nearest() -> None:
    with pytest.raises(InputError, match="no column 'heigth'") as caught:
        read("height,weight\n1,2", columns=("heigth",))
    assert "'height'" in (caught.value.hint or "")
    with pytest.raises(InputError, match="no column 9"):
        read("1,2", columns=("9",))
    with pytest.raises(InputError, match="no column 'b'"):
        read_csv(b"a\n1", [port("a"), port("b")])


def test_columns_of_several_inputs() -> None:
    with pytest.raises(UsageError, match="2 inputs"):
        read_csv(b"a,b\n1,2", [port("a"), port("b")], columns=("a",))


def test_delimiter_is_one_character() -> None:
    with pytest.raises(UsageError, match="not one character"):
        read("1,2", delimiter=",,")
