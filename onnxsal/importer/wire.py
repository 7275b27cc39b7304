"""A look at a file's wire format before it is parsed: how many things will it become?

A message that says nothing takes two bytes in a file and a hundred in memory; a file of such messages fills any machine
while it is parsed. Weights are one field each, however large, and are stepped over.
"""

from __future__ import annotations

from typing import Any

from onnxsal.errors import ModelError

MAX_FIELDS = 2_000_000
"""How many messages and texts a file may hold: the largest language models have some hundred thousand."""

LOOKED_AT_FROM = 2**24
"""Bytes up to which a file is harmless, whatever is in it."""


def check_size(data: bytes, descriptor: Any, where: str) -> None:
    """Refuse a serialised message that would become more messages and texts than any model has.

    Raises:
        ModelError: there are more than `MAX_FIELDS`.
    """
    if len(data) < LOOKED_AT_FROM:
        return
    left = MAX_FIELDS
    waiting = [(0, len(data), descriptor)]
    while waiting:
        at, end, kind = waiting.pop()
        fields = {f.number: f.message_type for f in kind.fields}
        while at < end:
            tag, at = _varint(data, at)
            match tag & 7:
                case 0:  # a number
                    _, at = _varint(data, at)
                case 1:  # eight bytes
                    at += 8
                case 5:  # four bytes
                    at += 4
                case 2:  # a message, a text, or packed numbers
                    length, at = _varint(data, at)
                    inner = fields.get(tag >> 3)
                    if inner is not None and at + length <= end:
                        waiting.append((at, at + length, inner))
                    at += length
                    left -= 1
                    if left < 0:
                        raise ModelError(
                            f"more than {MAX_FIELDS:,} nodes, attributes and names in {len(data):,} bytes",
                            where=where,
                            hint="no model is made of so many parts; the file is damaged, or made to exhaust memory",
                        )
                case _:
                    return  # no field of ONNX: the parser says what is wrong


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, and where it ends; the end of the data ends it too."""
    value = shift = 0
    while at < len(data):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
    return value, at
