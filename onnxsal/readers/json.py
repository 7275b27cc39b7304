"""Requests to model servers, and plain JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from onnxsal.entries import Reader
from onnxsal.errors import InputError, nearest
from onnxsal.hookspecs import hookimpl
from onnxsal.readers._ports import only
from onnxsal.types import Port, Reading

if TYPE_CHECKING:
    import numpy as np

KSERVE = {
    "FP64": "float64",
    "FP32": "float32",
    "FP16": "float16",
    "BF16": "bfloat16",
    "BOOL": "bool",
    "BYTES": "string",
}
KSERVE |= {f"{sign}INT{bits}": f"{sign.lower()}int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)}


def read_json(data: bytes, ports: Sequence[Port]) -> dict[str, Reading]:
    """Read inputs from JSON: `{"NAME": [...]}`, a KServe request (v1 or v2), or one nested list."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON: {error}", hint="write it with a JSON library") from error
    if not isinstance(body, dict):
        return {only(ports, "a list").name: Reading(_array(body, only(ports, "a list").dtype))}
    if _is_v2(body):
        return _by_name({item["name"]: _tensor(item) for item in body["inputs"]}, ports)
    if set(body) <= {"instances", "signature_name"} and "instances" in body:
        return _from_instances(body["instances"], ports)
    return _by_name({p.name: _array(body[p.name], p.dtype) for p in ports if p.name in body}, ports, body)


def _is_v2(body: Mapping[str, Any]) -> bool:
    inputs = body.get("inputs")
    return isinstance(inputs, list) and all(isinstance(i, dict) and {"name", "data", "shape"} <= set(i) for i in inputs)


def _tensor(item: Mapping[str, Any]) -> np.ndarray:
    """Return one input of a v2 request, whose data may be flat or nested."""
    where = f"input {item['name']!r}"
    dtype = KSERVE.get(str(item.get("datatype", "FP32")))
    if dtype is None:
        raise InputError(f"unknown datatype {item['datatype']!r}", where=where, hint=nearest(item["datatype"], KSERVE))
    array = _array(item["data"], dtype)
    shape = item["shape"]
    if not all(isinstance(dim, int) and dim >= 0 for dim in shape) or math.prod(shape) != array.size:
        raise InputError(f"shape {shape} does not hold {array.size} values", where=where, hint="mend shape or data")
    return array.reshape(shape)


def _from_instances(instances: Any, ports: Sequence[Port]) -> dict[str, Reading]:
    """Return the inputs of a v1 request: an example each, by name where the model takes several inputs."""
    if isinstance(instances, list) and instances and all(isinstance(i, dict) for i in instances):
        columns = {p.name: [i[p.name] for i in instances if p.name in i] for p in ports}
        arrays = {p.name: _array(columns[p.name], p.dtype) for p in ports if len(columns[p.name]) == len(instances)}
        return _by_name(arrays, ports, instances[0])
    port = only(ports, "a list of instances")
    return {port.name: Reading(_array(instances, port.dtype))}


def _by_name(
    arrays: Mapping[str, np.ndarray], ports: Sequence[Port], given: Mapping[str, Any] | None = None
) -> dict[str, Reading]:
    missing = [port.name for port in ports if port.name not in arrays]
    if missing:
        raise InputError(
            f"nothing for input {missing[0]!r}", hint=nearest(missing[0], arrays if given is None else given)
        )
    return {port.name: Reading(arrays[port.name]) for port in ports}


def _array(value: Any, dtype: str) -> np.ndarray:
    """Return a nested list as an array of its own kind of numbers; the check against the port comes later."""
    import numpy as np

    try:
        array = np.array(value)
    except ValueError as error:
        raise InputError("the lists are not of one length", hint="fill them up, or feed them one at a time") from error
    if array.dtype.kind == "O" or (array.dtype.kind == "U") != (dtype == "string"):
        raise InputError(f"the values are not all {dtype}", hint="null, text and numbers do not mix")
    # JSON knows one kind of number: 1 may be meant as 1.0, but 1.5 never as a whole one
    return array.astype(np.float64) if "float" in dtype and array.dtype.kind in "iu" else array


@hookimpl
def onnxsal_readers() -> Iterable[Reader]:
    """Yield the reader of JSON."""
    yield Reader("json", read_json, suffixes=(".json",), signatures=(b"{", b"["))
