"""Several arrays by name, as numpy saves them."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from onnxsal.entries import Reader
from onnxsal.errors import InputError, nearest
from onnxsal.hookspecs import hookimpl
from onnxsal.readers.npy import decode
from onnxsal.types import Port, Reading

if TYPE_CHECKING:
    import numpy as np

MAX_BYTES = 8 << 30
"""No archive may unpack to more."""
SUSPICIOUS_BYTES, SUSPICIOUS_RATIO = 256 << 20, 200
"""Real inputs of this size do not shrink this well; bombs do."""


def read_npz(data: bytes, ports: Sequence[Port]) -> dict[str, Reading]:
    """Read arrays by the inputs' names; a single one may be called anything."""
    keys = _assign(decode_names(data), ports)
    arrays = decode_archive(data, set(keys.values()))
    return {port: Reading(arrays[key]) for port, key in keys.items()}


def _assign(names: Sequence[str], ports: Sequence[Port]) -> dict[str, str]:
    """Return which array feeds which port."""
    if all(port.name in names for port in ports):
        return {port.name: port.name for port in ports}
    # numpy.savez(path, x, y) calls them arr_0, arr_1: then their order is all there is
    numbered = [f"arr_{i}" for i in range(len(ports))]
    if len(names) == len(ports) and (len(ports) == 1 or set(names) == set(numbered)):
        return dict(zip((port.name for port in ports), numbered if len(ports) > 1 else names, strict=True))
    missing = next(port.name for port in ports if port.name not in names)
    raise InputError(f"no array for input {missing!r}", hint=nearest(missing, names))


def decode_names(data: bytes) -> list[str]:
    """Return the names of the arrays in an ``.npz`` file; errors as for `decode_archive`."""
    with _opened(data) as archive:
        return [member.filename.removesuffix(".npy") for member in archive.infolist()]


def decode_archive(data: bytes, wanted: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """Return the arrays in an ``.npz`` file (all, or the wanted), bounded before unpacking, never unpickled.

    Raises:
        InputError: not such a file, damaged, or one that unpacks to far more than it is.
    """
    with _opened(data) as archive:
        members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        chosen = {name: member for name, member in members.items() if wanted is None or name in wanted}
        _check_sizes(list(chosen.values()), len(data))
        return {name: _unpack(archive, name, member) for name, member in chosen.items()}


@contextmanager
def _opened(data: bytes) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"not an .npz file, or a damaged one: {error}", hint="write it with numpy.savez") from error


def _check_sizes(members: Sequence[zipfile.ZipInfo], packed: int) -> None:
    total = sum(member.file_size for member in members)
    if total > MAX_BYTES or (total > SUSPICIOUS_BYTES and total > SUSPICIOUS_RATIO * packed):
        raise InputError(
            f"{packed} bytes would unpack to {total}", hint="if that is meant, save it unpacked with numpy.savez"
        )


def _unpack(archive: zipfile.ZipFile, name: str, member: zipfile.ZipInfo) -> np.ndarray:
    try:
        return decode(archive.read(member))
    except InputError as error:
        error.where = f"array {name!r}"
        raise


@hookimpl
def onnxsal_readers() -> Iterable[Reader]:
    """Yield the reader of ``.npz`` files."""
    yield Reader("npz", read_npz, suffixes=(".npz",), signatures=(b"PK\x03\x04", b"PK\x05\x06"))
