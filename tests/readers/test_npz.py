"""Archives of arrays: names, order, bombs."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from onnxsal.errors import InputError
from onnxsal.readers.npz import decode_archive, read_npz

from .support import npy, npz, port


def test_arrays_go_to_the_ports_of_their_names() -> None:
    data = npz(**{"a/b:0": np.ones(2), "c": np.zeros(3), "labels": np.array([1])})
    readings = read_npz(data, [port("c"), port("a/b:0")])
    assert {name: r.array.tolist() for name, r in readings.items()} == {"c": [0, 0, 0], "a/b:0": [1, 1]}


def test_arrays_nobody_asked_for_are_not_opened() -> None:
    data = npz(x=np.ones(2), labels=np.array([object()], dtype=object))
    assert read_npz(data, [port("x")])["x"].array.tolist() == [1, 1]


def test_single_array_may_have_any_name() -> None:
    assert read_npz(npz(image=np.ones(2)), [port("input")])["input"].array.tolist() == [1, 1]


def test_unnamed_arrays_are_taken_in_order() -> None:
    stream = io.BytesIO()
    np.savez(stream, np.ones(1), np.zeros(2))
    readings = read_npz(stream.getvalue(), [port("first"), port("second")])
    assert readings["first"].array.shape == (1,)
    assert readings["second"].array.shape == (2,)


def test_missing_name_offers_the_nearest() -> None:
    with pytest.raises(InputError, match="no array for input 'pixel_values'") as caught:
        read_npz(npz(pixel_value=np.ones(1), mask=np.ones(1)), [port("pixel_values"), port("mask")])
    assert "'pixel_value'" in (caught.value.hint or "")


def test_pickles_are_never_opened() -> None:
    with pytest.raises(InputError, match="pickled") as caught:
        read_npz(npz(x=np.array([object()], dtype=object)), [port("x")])
    assert caught.value.where == "array 'x'"


def test_bomb_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        for _ in range(300):
            member.write(b"\0" * (1 << 20))
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(InputError, match="would unpack to 314572800"):
        decode_archive(stream.getvalue())


def test_size_that_lies_is_noticed() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", npy(np.zeros(100_000)))
    data = stream.getvalue()
    true = (800_128).to_bytes(4, "little")
    assert true in data
    with pytest.raises(InputError):
        decode_archive(data.replace(true, (1000).to_bytes(4, "little")))


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"PK\x03\x04" + b"\0" * 100, b"no zip at all"])
def test_damaged_archive(data: bytes) -> None:
    with pytest.raises(InputError, match=r"not an \.npz"):
        decode_archive(data)


def test_flipped_byte_is_noticed() -> None:
    data = bytearray(npz(x=np.arange(100.0)))
    data[300] ^= 1
    with pytest.raises(InputError, match="CRC"):
        decode_archive(bytes(data))


def test_encrypted_archive_is_refused() -> None:
    data = bytearray(npz(x=np.arange(3.0)))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    with pytest.raises(InputError, match="encrypted"):
        decode_archive(bytes(data))
