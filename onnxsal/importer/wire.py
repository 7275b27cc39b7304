"""A look at a file's wire format before it is parsed: how many things will it become, and where do its weights lie?

A message that says nothing takes two bytes in a file and a hundred in memory; a file of such messages fills any machine
while it is parsed. Weights are one field each, however large, and are stepped over; the parser, which would copy them,
is handed a short stand-in for each.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from mmap import mmap
from typing import Any, TypeAlias

from onnx import TensorProto

from onnxsal.errors import ModelError

Data: TypeAlias = bytes | mmap

MAX_FIELDS = 2_000_000
"""How many messages and texts a file may hold: the largest language models have some hundred thousand."""

LOOKED_AT_FROM = 2**24
"""Bytes up to which a file is harmless, whatever is in it, and not worth taking apart."""

LARGE = 2**16
"""Bytes of ``raw_data`` from which the parser gets a stand-in."""

LONGEST_NUMBER, LONGEST_LENGTH = 10, 5
"""How many bytes a number may take, and the length of a field; the parser takes no more either."""


@dataclass(eq=False, slots=True)
class _Field:
    """A field of bytes: where its length is written, where its content starts and ends, the message it is part of."""

    at: int
    start: int
    end: int
    holder: _Field | None
    saved: int = 0
    """How much shorter the content becomes."""


class _Unsound(Exception):
    """What no field of ONNX looks like."""


def check_size(data: Data, descriptor: Any, where: str) -> None:
    """Refuse a serialised message that would become more messages and texts than any model has.

    Raises:
        ModelError: there are more than `MAX_FIELDS`.
    """
    if len(data) >= LOOKED_AT_FROM:
        _large(data, descriptor, where)


def without_weights(data: Data, descriptor: Any, where: str) -> tuple[bytes, dict[bytes, tuple[int, int]]] | None:
    """Return a serialised message with a stand-in for each large ``raw_data``, and where each of those starts and ends.

    None where the message is to be parsed as it is: it has none, or the parser is going to refuse it. A stand-in is
    drawn anew for each message, so that no file can hold one of its own.

    Raises:
        ModelError: as for `check_size`.
    """
    large = _large(data, descriptor, where) if len(data) >= LOOKED_AT_FROM else []
    if not large:
        return None
    secret = secrets.token_bytes(16)
    stand_ins = {field: secret + number.to_bytes(4, "big") for number, field in enumerate(large)}
    edits = []
    for field in sorted({*large, *_holders(large)}, key=lambda field: field.start, reverse=True):  # from the inside out
        if field in stand_ins:
            end, written = field.end, _number(len(stand_ins[field])) + stand_ins[field]
        else:
            end, written = field.start, _number(field.end - field.start - field.saved)
        edits.append((field.at, end, written))
        if field.holder is not None:
            field.holder.saved += field.saved + (end - field.at) - len(written)
    return _edited(data, reversed(edits)), {name: (field.start, field.end) for field, name in stand_ins.items()}


def _large(data: Data, descriptor: Any, where: str) -> list[_Field]:
    """Return the fields of large ``raw_data``; none where the parser is going to refuse the data."""
    large: list[_Field] = []
    left = MAX_FIELDS
    sound = True
    waiting: list[tuple[_Field | None, int, int, Any]] = [(None, 0, len(data), descriptor)]
    while waiting:
        holder, begin, end, kind = waiting.pop()
        messages, weights = _inner(kind)
        try:
            for number, at, start, stop in _fields(data, begin, end):
                field = _Field(at, start, stop, holder)
                if (inner := messages.get(number)) is not None:
                    waiting.append((field, start, stop, inner))
                elif number == weights and stop - start >= LARGE:
                    large.append(field)
                left -= 1
                if left < 0:
                    raise ModelError(
                        f"more than {MAX_FIELDS:,} nodes, attributes and names in {len(data):,} bytes",
                        where=where,
                        hint="no model is made of so many parts; the file is damaged, or made to exhaust memory",
                    )
        except _Unsound:  # the parser comes no further here, but reads what is before it
            sound = False
    return large if sound else []


def _fields(data: Data, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield a message's fields of bytes: number, where the length is written, where the content starts and ends.

    ONNX has no groups, and the parser steps over all that is in one; their ends are given number 0 and no content.
    """
    while at < end:
        tag, at = _read_number(data, at, end, LONGEST_NUMBER)
        match tag & 7:
            case 0:
                _, at = _read_number(data, at, end, LONGEST_NUMBER)
            case 1:  # eight bytes
                at += 8
            case 5:  # four bytes
                at += 4
            case 2:  # a message, a text, or packed numbers
                length, start = _read_number(data, at, end, LONGEST_LENGTH)
                if start + length > end:
                    raise _Unsound
                yield tag >> 3, at, start, start + length
                at = start + length
            case 3 | 4:  # a group begins, or ends
                yield 0, at, at, at
            case _:
                raise _Unsound
    if at > end:
        raise _Unsound


@lru_cache(maxsize=64)
def _inner(kind: Any) -> tuple[dict[int, Any], int | None]:
    """Return the kinds of a message's messages by their number, and the number of its ``raw_data`` where it has any."""
    is_tensor = kind.full_name == TensorProto.DESCRIPTOR.full_name
    messages = {field.number: field.message_type for field in kind.fields if field.message_type is not None}
    return messages, TensorProto.RAW_DATA_FIELD_NUMBER if is_tensor else None


def _holders(fields: Iterable[_Field]) -> set[_Field]:
    """Return the messages that fields are part of, those around these included."""
    found: set[_Field] = set()
    for field in fields:
        holder = field.holder
        while holder is not None and holder not in found:
            found.add(holder)
            holder = holder.holder
    return found


def _edited(data: Data, edits: Iterable[tuple[int, int, bytes]]) -> bytes:
    """Return the data with other bytes in some places, which are in order."""
    pieces: list[bytes] = []
    at = 0
    for start, end, written in edits:
        pieces += (data[at:start], written)
        at = end
    return b"".join((*pieces, data[at:]))


def _read_number(data: Data, at: int, end: int, longest: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, and where it ends."""
    value = 0
    for shift in range(0, 7 * longest, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise _Unsound


def _number(value: int) -> bytes:
    """Return a number as it is written, seven bits a byte."""
    written = bytearray()
    while value > 127:
        written.append(value & 127 | 128)
        value >>= 7
    return bytes((*written, value))
