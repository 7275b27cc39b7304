"""Read an ONNX file: the bytes, the checks on them, and the arrays they hold.

Weights are held once: those of a large file stay there while the rest is parsed, and each is read straight into its
array; external data are mapped. Only files beside the model are opened for those: no absolute path, no ``..``, no link
that leads elsewhere.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from mmap import ACCESS_COPY, ACCESS_READ, mmap
from pathlib import Path
from typing import TypeVar
from weakref import WeakValueDictionary

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from onnxsal.errors import ModelError
from onnxsal.importer.wire import LOOKED_AT_FROM, Data, check_size, without_weights

MAX_PROTO_BYTES = 2**31 - 1
PACKED_BITS = {
    getattr(TensorProto, name): bits
    for name, bits in {"UINT4": 4, "INT4": 4, "FLOAT4E2M1": 4, "UINT2": 2, "INT2": 2}.items()
    if hasattr(TensorProto, name)
}
MAX_DENSE_BYTES = 2**31
"""How large a sparse tensor may become when it is written out: as large as a dense one in the file could be."""

MAX_RANK = 32
"""How many axes an array may have; numpy 1 has no more."""

LONGEST_NAME = 200
"""How much of a name is shown."""

_Content = TypeVar("_Content", bytes, Data)

TYPED_FIELDS = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")


@dataclass(frozen=True)
class Apart:
    """Where a source has its large tensors, by the stand-ins that its protobuf holds for their bytes."""

    source: Path | bytes = b""
    places: Mapping[bytes, tuple[int, int]] = field(default_factory=dict)

    def read(self, raw: bytes) -> bytes | np.ndarray:
        """Return the bytes that ``raw_data`` are, or stand for.

        They get memory of their own: a protobuf puts its fields anywhere, compiled code may take it for granted that
        numbers lie in step, and sums are rounded otherwise where they do not.
        """
        if raw not in self.places:
            return raw
        start, end = self.places[raw]
        if isinstance(self.source, bytes):
            return self.source[start:end]
        return np.fromfile(self.source, np.uint8, count=end - start, offset=start)


WHOLE = Apart()
"""Nothing apart: the protobuf holds all there is."""


def read_proto(source: str | Path | bytes) -> onnx.ModelProto:
    """Parse a model, leaving external data where it is.

    Raises:
        ModelError: the file is missing, truncated, too large, or not ONNX.
    """
    where = _name(source)
    data = source if isinstance(source, bytes) else _of_file(Path(source), Path.read_bytes)
    check_size(data, onnx.ModelProto.DESCRIPTOR, where)
    return _parsed(data, where, len(data))


def read_apart(source: str | Path | bytes) -> tuple[onnx.ModelProto, Apart]:
    """Parse a model, leaving external data and large ``raw_data`` where they are.

    Returns:
        The protobuf, with stand-ins for its large tensors, and what `read_array` needs to read those.

    Raises:
        ModelError: as for `read_proto`.
    """
    where = _name(source)
    source = source if isinstance(source, bytes) else Path(source)
    data = source if isinstance(source, bytes) else _of_file(source, _mapped)
    found = without_weights(data, onnx.ModelProto.DESCRIPTOR, where)
    if found is None:
        return read_proto(source), WHOLE
    rest, places = found
    return _parsed(rest, where, len(data)), Apart(source, places)


def _name(source: str | Path | bytes) -> str:
    return "model" if isinstance(source, bytes) else str(source)


def _parsed(data: bytes, where: str, size: int) -> onnx.ModelProto:
    """Parse a model that takes so many bytes with all that was left apart."""
    if not data:
        raise ModelError("the file is empty", where=where, hint="export or download the model again")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise ModelError(
            f"not an ONNX model, a truncated one, or one whose sub-graphs nest too deeply ({size} bytes)",
            where=where,
            hint=_guess_format(data),
        ) from error
    _check_header(model, where)
    return model


def _of_file(path: Path, read: Callable[[Path], _Content]) -> _Content:
    """Return what a file holds."""
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise ModelError("this is a folder", where=str(path), hint="give the .onnx file inside it")
        if size > MAX_PROTO_BYTES:
            raise ModelError(
                f"{size} bytes are more than a protobuf can hold (2 GiB)",
                where=str(path),
                hint="save the model with external data: onnx.save(model, path, save_as_external_data=True)",
            )
        return read(path)
    except FileNotFoundError as error:
        raise ModelError("no such file", where=str(path), hint=_siblings(path)) from error
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", where=str(path)) from error


def _mapped(path: Path) -> Data:
    """Return a file's bytes, of which few are going to be looked at."""
    if path.stat().st_size < LOOKED_AT_FROM:
        return path.read_bytes()
    with path.open("rb") as stream:
        return mmap(stream.fileno(), 0, access=ACCESS_READ)


def _siblings(path: Path) -> str:
    folder = path.parent
    names = sorted(p.name for p in folder.glob("*.onnx"))[:5] if folder.is_dir() else []
    return f"that folder holds: {', '.join(names)}" if names else "check the path"


def _guess_format(data: bytes) -> str:
    signatures = {
        b"PK\x03\x04": "a zip archive (a PyTorch .pt or .npz file?): export it with torch.onnx.export",
        b"\x89HDF": "an HDF5 file (Keras?): convert it with tf2onnx",
        b"\x89PNG": "a PNG picture: the model comes first, then the input",
        b"\xff\xd8\xff": "a JPEG picture: the model comes first, then the input",
        b"version https://git-lfs": "a Git LFS pointer: run `git lfs pull`",
        b"\x1f\x8b": "gzip data: unpack it first",
        b"<": "text (a web page?): download the file itself",
        b"{": "JSON text",
    }
    kind = next((text for head, text in signatures.items() if data.startswith(head)), None)
    if kind is None and data[4:8] == b"TFL3":
        kind = "a TensorFlow Lite model: convert it with tf2onnx"
    return f"it looks like {kind}" if kind else "export or download the model again"


def _check_header(model: onnx.ModelProto, where: str) -> None:
    if not model.HasField("graph") or not (model.graph.node or model.graph.output):
        raise ModelError("no graph in this file", where=where, hint="is it an ONNX model?")
    if not model.opset_import:
        raise ModelError("the model declares no opset", where=where, hint="export it again with a current exporter")


def read_array(tensor: TensorProto, folder: Path | None, apart: Apart = WHOLE) -> np.ndarray:
    """Return a tensor of the file as an array; external data is mapped, not read.

    Args:
        tensor: The tensor.
        folder: Where external data lie.
        apart: What `read_apart` left in the file.

    Raises:
        ModelError: the data disagree with the declared shape, with themselves, or lie outside the folder.
    """
    where = f"tensor {tensor.name[:LONGEST_NAME]!r}"
    _check_once(tensor, where)
    try:
        return _read_external(tensor, folder, where) if uses_external_data(tensor) else _read_own(tensor, apart)
    except (ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
        raise ModelError(
            f"values do not fit the declared shape {list(tensor.dims)[:MAX_RANK]}: {str(error)[:200]}",
            where=where,
            hint="the file is damaged or truncated; export it again",
        ) from error


def _check_once(tensor: TensorProto, where: str) -> None:
    """Refuse a tensor that holds its values in two places, and a rank that no array has."""
    places = [name for name in TYPED_FIELDS if len(getattr(tensor, name))]
    places = (["raw_data"] if tensor.HasField("raw_data") else []) + places
    places += ["external data"] if uses_external_data(tensor) else []
    if len(places) > 1:
        raise ModelError(
            f"holds its values twice, in {places[0]} and in {places[1]}: two readers would see two models",
            where=where,
            hint="write the model again with onnx.save",
        )
    if len(tensor.dims) > MAX_RANK or any(dim < 0 for dim in tensor.dims):
        raise ModelError(
            f"the declared shape {list(tensor.dims)[:MAX_RANK]} ({len(tensor.dims)} axes) is no shape",
            where=where,
            hint="the file is damaged; export it again",
        )


def _read_own(tensor: TensorProto, apart: Apart) -> np.ndarray:
    if tensor.data_type == TensorProto.STRING:
        texts = [s.decode("utf-8", "surrogateescape") for s in tensor.string_data]
        return np.array(texts, dtype=object).reshape(tuple(tensor.dims))
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    if not tensor.HasField("raw_data"):
        return onnx.numpy_helper.to_array(tensor)
    raw = apart.read(tensor.raw_data)
    if tensor.data_type in PACKED_BITS:
        return _unpacked(tensor, bytes(raw))
    flat = np.frombuffer(raw, dtype.newbyteorder("<"))
    flat.flags.writeable = False
    return flat.astype(dtype, copy=False).reshape(tuple(tensor.dims))


def _unpacked(tensor: TensorProto, raw: bytes) -> np.ndarray:
    """Return numbers of which a byte holds several."""
    return onnx.numpy_helper.to_array(TensorProto(data_type=tensor.data_type, dims=tensor.dims, raw_data=raw))


def read_sparse(sparse: onnx.SparseTensorProto, folder: Path | None, apart: Apart = WHOLE) -> np.ndarray:
    """Return a sparse tensor of the file as a dense array.

    Raises:
        ModelError: as for `read_array`; the indices are no places in the shape, or the array is too large to write out.
    """
    values, indices = (read_array(tensor, folder, apart) for tensor in (sparse.values, sparse.indices))
    where = f"sparse tensor {sparse.values.name[:LONGEST_NAME]!r}"
    shape = tuple(sparse.dims)
    size = math.prod(shape)
    if min(shape, default=1) < 0 or size * values.dtype.itemsize > MAX_DENSE_BYTES:
        raise ModelError(
            f"the declared shape {list(shape)[:MAX_RANK]} is too large to be written out ({MAX_DENSE_BYTES:,} bytes)",
            where=where,
            hint="store it as a dense tensor with external data",
        )
    bounds = np.array(shape) if indices.ndim == 2 else np.array(size)
    fits = indices.dtype.kind == "i" and indices.shape in {(values.size, len(shape)), (values.size,)}
    if not fits or bool(((indices < 0) | (indices >= bounds)).any()):
        raise ModelError(f"indices are no places in the shape {list(shape)}", where=where, hint="export it again")
    dense = np.zeros(shape, values.dtype)
    if indices.ndim == 2:
        dense[tuple(indices.T)] = values
    else:
        dense.reshape(-1)[indices] = values
    return dense


def _read_external(tensor: TensorProto, folder: Path | None, where: str) -> np.ndarray:
    try:
        info = ExternalDataInfo(tensor)
    except (ValueError, TypeError) as error:
        raise ModelError(f"external data cannot be found: {error}", where=where) from error
    path = confined(info.location, folder, where)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    shape = tuple(tensor.dims)
    count = math.prod(shape)
    offset = int(info.offset or 0)
    packed = tensor.data_type in PACKED_BITS
    needed = (count * PACKED_BITS[tensor.data_type] + 7) // 8 if packed else count * dtype.itemsize
    if info.length is not None and int(info.length) != needed:
        raise ModelError(f"external data has {info.length} bytes, the shape {list(shape)} needs {needed}", where=where)
    size = path.stat().st_size
    if offset < 0 or offset + needed > size:
        raise ModelError(
            f"external data ends beyond {path.name} ({size} bytes)", where=where, hint="the data file is truncated"
        )
    if packed:
        with path.open("rb") as stream:
            stream.seek(offset)
            return _unpacked(tensor, stream.read(needed))
    if count == 0:
        return np.zeros(shape, dtype)
    if offset % dtype.alignment:
        return _copied(path, dtype.newbyteorder("<"), offset, needed).reshape(shape)
    return np.frombuffer(_copy_on_write(path), np.uint8, needed, offset).view(dtype.newbyteorder("<")).reshape(shape)


_MAPPINGS: WeakValueDictionary[tuple[int, ...], mmap] = WeakValueDictionary()


def _copy_on_write(path: Path) -> mmap:
    """Return a file mapped as a whole, once however many arrays lie in it: each mapping holds a file descriptor.

    Pages come in as they are used, and the file is never written to.
    """
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        key = status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size
        mapping = _MAPPINGS.get(key)
        if mapping is None:
            mapping = _MAPPINGS[key] = mmap(file.fileno(), 0, access=ACCESS_COPY)
    return mapping


def _copied(path: Path, dtype: np.dtype, offset: int, size: int) -> np.ndarray:
    """Return numbers that lie out of step in a file."""
    return np.fromfile(path, np.uint8, count=size, offset=offset).view(dtype)


def confined(location: str, folder: Path | None, where: str) -> Path:
    """Return the path of external data, refusing one that is not a plain file below the model's folder."""
    if folder is None:
        raise ModelError(
            "has external data, but the model was given as bytes", where=where, hint="give the model's path instead"
        )
    root = folder.resolve()
    path = root / location
    inside = not Path(location).is_absolute() and ".." not in Path(location).parts
    if not location or not inside or path.is_symlink() or not path.resolve().is_relative_to(root):
        raise ModelError(
            f"external data {location!r} leads outside the model's folder",
            where=where,
            hint="keep the data file beside the model, as a plain file",
        )
    if not path.is_file():
        raise ModelError(f"external data file {location!r} is missing", where=where, hint=f"put it into {root}")
    if path.stat().st_nlink > 1:
        raise ModelError(
            f"external data {location!r} is a hard link", where=where, hint="copy the data file beside the model"
        )
    return path
