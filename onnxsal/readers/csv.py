"""Tables: a line is an example."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from onnxsal.entries import Reader
from onnxsal.errors import InputError, UsageError, nearest
from onnxsal.hookspecs import hookimpl
from onnxsal.types import Port, Reading

if TYPE_CHECKING:
    import numpy as np


def read_csv(
    data: bytes,
    ports: Sequence[Port],
    *,
    columns: tuple[str, ...] = (),
    rows: int | None = None,
    header: Literal["auto", "yes", "no"] = "auto",
    delimiter: str = ",",
) -> dict[str, Reading]:
    """Read a table in CSV: all columns for one input, or by the inputs' names a column for each.

    Args:
        columns: The columns to take, by name or by number from 0, in the order the model takes them.
        rows: How many lines to take; by default all.
        header: Whether the first line holds the columns' names; by default it does where none of it is a number.
        delimiter: What stands between two columns; `tab` for a tabulator.
    """
    names, lines = _table(data, header, "\t" if delimiter == "tab" else delimiter)
    lines = lines[:rows]
    if len(ports) == 1 or columns:
        if len(ports) != 1:
            raise UsageError(f"the model waits for {len(ports)} inputs", where="option columns", hint="name one: -i")
        chosen = [_position(column, names) for column in columns] or list(range(len(lines[0])))
        return {ports[0].name: Reading(_values(ports[0], lines, chosen))}
    return {port.name: Reading(_values(port, lines, [_position(port.name, names)])) for port in ports}


def _table(data: bytes, header: str, delimiter: str) -> tuple[list[str], list[list[str]]]:
    if len(delimiter) != 1:
        raise UsageError(f"{delimiter!r} is not one character", where="option delimiter", hint="say ; or tab")
    try:
        text = data.decode("utf-8-sig")
        lines = [line for line in csv.reader(io.StringIO(text), delimiter=delimiter, strict=True) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"not a table in UTF-8: {error}", hint="save it as CSV in UTF-8") from error
    names = lines.pop(0) if lines and _is_header(lines[0], header) else []
    if not lines:
        raise InputError("no line of numbers", hint="give one line per example")
    for number, line in enumerate(lines):
        if len(line) != len(lines[0]):
            raise InputError(
                f"{len(line)} columns, {len(lines[0])} before", where=f"example {number}", hint="is a value missing?"
            )
    return [name.strip() for name in names], lines


def _is_header(line: Sequence[str], header: str) -> bool:
    return header == "yes" or (header == "auto" and not any(_is_number(cell) for cell in line))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return not cell.strip()
    return True


def _position(column: str, names: Sequence[str]) -> int:
    if column in names:
        return names.index(column)
    if column.isdecimal():
        return int(column)
    raise InputError(f"no column {column!r}", hint=nearest(column, names) if names else "the table has no header")


def _values(port: Port, lines: Sequence[Sequence[str]], chosen: Sequence[int]) -> np.ndarray:
    import numpy as np

    if max(chosen) >= len(lines[0]):
        raise InputError(f"no column {max(chosen)}", hint=f"there are {len(lines[0])}, counted from 0")
    cells = [[line[index].strip() for index in chosen] for line in lines]
    flat = [] if port.shape is not None and len(port.shape) == len(chosen) == 1 else [len(chosen)]
    if port.dtype == "string":
        return np.array(cells, dtype=object).reshape(len(cells), *flat)
    # whole numbers stay whole: a large identifier would lose its last digits as a float
    numbers = [[_number(cell, port.is_float) for cell in row] for row in cells]
    return np.array(numbers, np.float64 if port.is_float else np.int64).reshape(len(cells), *flat)


def _number(cell: str, fraction: bool) -> float:
    import numpy as np

    try:
        return float(cell) if fraction else int(np.int64(cell))
    except (ValueError, OverflowError) as error:
        kind = "number" if fraction else "whole number of 64 bits"
        raise InputError(f"{cell!r} is not a {kind}", hint="choose columns=…, or mend the table") from error


@hookimpl
def onnxsal_readers() -> Iterable[Reader]:
    """Yield the reader of CSV tables."""
    yield Reader("csv", read_csv, suffixes=(".csv", ".tsv"))
