"""Arrays by name, for numpy."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from onnxsal.entries import Format
from onnxsal.errors import OutputError
from onnxsal.hookspecs import hookimpl
from onnxsal.types import Attribution

if TYPE_CHECKING:
    import numpy as np

META = "_meta"
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The oldest date a zip archive can hold: the same result gives the same bytes on every day."""


def render_npz(attribution: Attribution, *, compress: bool = False) -> bytes:
    """Write one array per explained input under its ONNX name, and the facts as JSON text under `_meta`.

    Args:
        compress: Deflate the arrays; attributions seldom shrink by more than a tenth.
    """
    import numpy as np

    if META in attribution.values:
        raise _unfit(META)
    arrays = dict(attribution.values) | {META: np.array(json.dumps(attribution.meta, ensure_ascii=False))}
    members = {member_name(name, arrays): storable(value) for name, value in arrays.items()}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, array in members.items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
            archive.writestr(entry, _encode(array))
    return stream.getvalue()


def member_name(name: str, names: Collection[str]) -> str:
    """Return the archive member that `numpy.load` gives back under exactly this name.

    Raises:
        OutputError: numpy cannot tell such names apart.
    """
    # numpy finds members with and without ".npy"; where another input is called that, only the bare name is free
    bare = f"{name}.npy" in names
    if "\0" in name or (bare and name.endswith((".npy", "/"))):
        raise _unfit(name)
    return name if bare else f"{name}.npy"


def _unfit(name: str) -> OutputError:
    what = "an .npz file cannot hold an input of this name"
    return OutputError(what, where=f"input {name!r}", hint="use json or safetensors")


def storable(value: np.ndarray) -> np.ndarray:
    """Return an array that other programs can read: types outside numpy (bfloat16) become float32, exactly."""
    import numpy as np

    array = np.asarray(value, order="C")
    return array if array.dtype.kind in "biufcU" and array.dtype.isbuiltin != 2 else array.astype(np.float32)


def _encode(array: np.ndarray) -> bytes:
    import numpy as np

    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=False)
    return stream.getvalue()


@hookimpl
def onnxsal_formats() -> Iterable[Format]:
    """Yield the npz format."""
    yield Format("npz", render_npz, ".npz")
