"""Arrays that numpy saved."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from onnxsal.entries import Reader
from onnxsal.errors import InputError
from onnxsal.hookspecs import hookimpl
from onnxsal.readers._ports import only
from onnxsal.types import Port, Reading

if TYPE_CHECKING:
    import numpy as np

MAGIC = b"\x93NUMPY"


def read_npy(data: bytes, ports: Sequence[Port]) -> dict[str, Reading]:
    """Read one numpy array; pickled objects are refused."""
    return {only(ports, "an .npy file").name: Reading(decode(data))}


def decode(data: bytes) -> np.ndarray:
    """Return the array in an ``.npy`` file, without trusting its header and without unpickling.

    Raises:
        InputError: not such a file, a pickle, or fewer bytes than the header promises.
    """
    import numpy as np

    stream = io.BytesIO(data)
    shape, fortran, dtype = _header(stream)
    if dtype.hasobject:
        raise InputError("holds pickled Python objects, which could run code when read", hint="save a numeric array")
    # numpy allocates what the header says before it reads: a header of 100 bytes could ask for terabytes
    promised, held = math.prod(shape) * dtype.itemsize, len(data) - stream.tell()
    if min(shape, default=0) < 0 or promised > held:
        raise InputError(
            f"truncated: shape {list(shape)} of {dtype} takes {promised} bytes, the file holds {held}",
            hint="save or download the array again",
        )
    flat = np.frombuffer(data, dtype, math.prod(shape), stream.tell())
    return np.array(flat.reshape(shape, order="F" if fortran else "C"), dtype.newbyteorder("="), order="C")


def _header(stream: io.BytesIO) -> tuple[tuple[int, ...], bool, Any]:
    import numpy as np

    if not stream.getvalue().startswith(MAGIC):
        raise InputError("not an .npy file", hint="write it with numpy.save(path, array)")
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(stream)
        return readers[version](stream)
    except (ValueError, KeyError, SyntaxError, TypeError) as error:
        raise InputError(
            f"the header is damaged: {_short(error)}", hint="write it with numpy.save(path, array)"
        ) from error


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:120]


@hookimpl
def onnxsal_readers() -> Iterable[Reader]:
    """Yield the reader of ``.npy`` files."""
    yield Reader("npy", read_npy, suffixes=(".npy",), signatures=(MAGIC,))
