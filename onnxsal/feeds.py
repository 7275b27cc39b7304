"""Feeds: the checks that arrays fit the model's ports."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from onnxsal.errors import InputError, nearest
from onnxsal.types import Port


def check_feeds(ports: Sequence[Port], feeds: Mapping[str, Any], *, allow_nan: bool = False) -> dict[str, np.ndarray]:
    """Return the feeds as arrays that fit the ports: names, ranks, sizes, types and finite values are checked.

    Arrays, torch tensors, lists and numbers are taken. A type is changed only within its kind and where no value
    changes its meaning (float64 to float32, int64 to int32 where it fits).

    Raises:
        InputError: an input is missing, unknown, or does not fit.
    """
    check_names(feeds, ports)
    missing = [port for port in ports if port.name not in feeds and not port.dtype.startswith("optional(")]
    if missing:
        given = f"given: {', '.join(feeds)}" if feeds else "nothing is given"
        raise InputError(f"input {missing[0].name!r} is not fed; {given}", hint=f"it takes {missing[0]}")
    present = [port for port in ports if port.name in feeds]
    arrays = {port.name: _fit(port, feeds[port.name], allow_nan) for port in present}
    _check_symbols(present, arrays)
    return arrays


def _fit(port: Port, value: Any, allow_nan: bool) -> Any:
    if port.dtype.startswith(("sequence(", "optional(", "map(")):
        return [_to_array(item) for item in value] if isinstance(value, (list, tuple)) else value
    array = _to_array(value)
    array = _fit_dtype(port, array, exact=not hasattr(value, "dtype"))
    _check_shape(port, array)
    if not allow_nan:
        _check_finite(port, array)
    return array


def _to_array(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):  # a torch tensor; torch is not imported for the sake of arrays
        from onnxsal.importer.values import to_host

        return to_host(value)
    return np.asarray(value)


def _fit_dtype(port: Port, array: np.ndarray, exact: bool) -> np.ndarray:
    if port.dtype == "string":
        return _texts(port, array)
    wanted = _dtype(port.dtype)
    if array.dtype == wanted:
        return array.astype(wanted.newbyteorder("="), copy=False)
    if array.dtype.kind == "V" and array.dtype.names is None and array.dtype.itemsize == wanted.itemsize:
        return array.view(wanted)  # how numpy saves bfloat16 and float8: it forgets the type, not the bits
    if _kind(array.dtype) == _kind(wanted) or (exact and array.dtype.kind in "iuf"):
        cast = _cast(array, wanted)
        if cast is not None:
            return cast
    raise InputError(
        f"the values are {_seen(array, wanted)}, the model takes {port.dtype}",
        where=_where(port),
        hint=_dtype_hint(array, port),
    )


def _cast(array: np.ndarray, wanted: np.dtype[Any]) -> np.ndarray | None:
    """Return the array in another type, or None where values would come out as others."""
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(wanted)
    if _kind(array.dtype) == "float" and _kind(wanted) == "float":
        overflowed = np.isinf(cast.astype(np.float64)) & np.isfinite(array.astype(np.float64))
        return None if overflowed.any() else cast
    return cast if np.array_equal(cast, array) else None


def _dtype(name: str) -> np.dtype[Any]:
    return np.dtype(getattr(ml_dtypes, name, name))


def _kind(dtype: np.dtype[Any]) -> str:
    if dtype.kind in "iu":
        return "int"
    return "float" if dtype.kind == "f" or dtype.name.startswith(("bfloat", "float")) else dtype.kind


def _seen(array: np.ndarray, wanted: np.dtype[Any]) -> str:
    if array.dtype.kind in "iu" and wanted.kind in "iu" and array.size:
        return f"{array.dtype} from {array.min()} to {array.max()}"
    return str(array.dtype) if array.dtype.kind != "O" else "Python objects"


def _dtype_hint(array: np.ndarray, port: Port) -> str:
    if array.dtype.kind == "u" and port.is_float:
        return f"raw bytes of a picture? scale them as in training, then x.astype({port.dtype!r})"
    if array.dtype.kind in "OUSV":
        return f"make it a numeric array of {port.dtype}"
    return f"if the values mean the same, x.astype({port.dtype!r})"


def _texts(port: Port, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == "S":
        return np.char.decode(array, "utf-8").astype(object)
    if array.dtype.kind == "U" or (array.dtype.kind == "O" and all(isinstance(v, str) for v in array.flat)):
        return array.astype(object)
    raise InputError(f"the values are {array.dtype}, the model takes text", where=_where(port), hint="give strings")


def _check_shape(port: Port, array: np.ndarray) -> None:
    if port.shape is None:
        return
    if not fits(array.shape, port.shape):
        raise InputError(
            f"shape {_dims(array.shape)}, the model takes {_dims(port.shape)}",
            where=_where(port),
            hint=_shape_hint(array.shape, port.shape),
        )
    if array.ndim and array.shape[0] == 0 and port.shape[0] != 0:
        raise InputError("no examples: the first axis is empty", where=_where(port), hint="give at least one")


def fits(shape: Sequence[int], wanted: Sequence[Any]) -> bool:
    """Say whether a shape has the rank and the fixed sizes of a declared one."""
    return len(shape) == len(wanted) and all(
        not isinstance(w, int) or s == w for s, w in zip(shape, wanted, strict=True)
    )


def _shape_hint(shape: tuple[int, ...], wanted: tuple[Any, ...]) -> str:
    if fits(shape, wanted[1:]) and wanted[0] in {None, 1} | {d for d in wanted[:1] if isinstance(d, str)}:
        return "the first axis counts the examples: x[None] adds it"
    for axes in ((0, 3, 1, 2), (0, 2, 3, 1), (0, 2, 1)):
        if len(axes) == len(shape) and fits([shape[a] for a in axes], wanted):
            return f"the channels are on another axis: x.transpose{axes}"
    if len(shape) == len(wanted) and fits(shape[1:], wanted[1:]):
        return f"the model was exported for batches of exactly {wanted[0]}: explain as many at a time"
    return "prepare the input as the model was trained; `onnxsal inspect MODEL` shows the inputs"


def _dims(shape: Sequence[Any]) -> str:
    return "[" + ", ".join("?" if d is None else str(d) for d in shape) + "]"


def _check_finite(port: Port, array: np.ndarray) -> None:
    if _kind(array.dtype) != "float":
        return
    finite = np.isfinite(array)
    if not finite.all():
        first = [int(i) for i in np.argwhere(~finite)[0]]
        raise InputError(
            f"{int((~finite).sum())} of {array.size} values are NaN or infinite, the first at {first}",
            where=_where(port),
            hint="mend the input; if the model is meant to take them, say --allow-nan (allow_nan=True)",
        )


def _check_symbols(ports: Sequence[Port], arrays: Mapping[str, Any]) -> None:
    """Axes that the model calls by one name have to agree."""
    sizes: dict[str, tuple[int, str]] = {}
    for port in ports:
        shape = getattr(arrays[port.name], "shape", ())
        for axis, dim in enumerate(port.shape or ()):
            if isinstance(dim, str) and _is_name(dim) and axis < len(shape):
                size, first = sizes.setdefault(dim, (shape[axis], port.name))
                if size != shape[axis]:
                    raise InputError(
                        f"axis {axis} ({dim!r}) is {shape[axis]}, but {size} in input {first!r}",
                        where=_where(port),
                        hint=f"feed both with the same {dim!r}",
                    )


def _is_name(dim: str) -> bool:
    """Say whether an exporter named the dimension, rather than filled in a word for "any"."""
    return bool(re.fullmatch(r"[A-Za-z_][\w.]*", dim)) and dim.lower() not in {
        "none",
        "unk",
        "unknown",
        "dynamic",
        "any",
    }


def _where(port: Port) -> str:
    return f"input {port.name!r}"


def check_names(names: Iterable[str | None], ports: Sequence[Port]) -> None:
    """Refuse a name that no port has; None stands for the inputs nobody named."""
    known = [port.name for port in ports]
    for name in names:
        if name is not None and name not in known:
            raise InputError(f"the model has no input {name!r}", hint=nearest(str(name), known))
