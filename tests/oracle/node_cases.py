"""ONNX's own node cases, run through the importer.

python -m tests.oracle.node_cases [PATTERN ...]      # print what fails, and the counts
"""

from __future__ import annotations

import fnmatch
import sys
import warnings
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import torch
from onnx.backend.test.case.node import collect_testcases
from torch import Tensor

from onnxsal.importer.build import build
from onnxsal.importer.normalise import normalise
from onnxsal.importer.values import to_host, to_tensor

EXOTIC = {
    np.dtype(getattr(ml_dtypes, name))
    for name in (
        *("bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
        *("float4_e2m1fn", "int4", "uint4", "int2", "uint2"),
    )
}


@cache
def cases() -> dict[str, Any]:
    """Return the node cases by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {case.name: case for case in collect_testcases(None)}


RANDOM = "test_bernoulli"
TRAINING = "ai.onnx.preview.training"


def is_ordinary(case: Any) -> bool:
    """Say whether a case is about tensors of ordinary element types, and is neither random nor training."""
    values = [value for inputs, outputs in case.data_sets for value in (*inputs, *outputs)]
    if not all(isinstance(v, (np.ndarray, np.generic, onnx.TensorProto)) for v in values):
        return False
    arrays = [np.asarray(onnx.numpy_helper.to_array(v) if isinstance(v, onnx.TensorProto) else v) for v in values]
    return (
        all(a.dtype not in EXOTIC and a.dtype.kind not in "USOT" for a in arrays)
        and not case.name.startswith(RANDOM)
        and all(entry.domain != TRAINING for entry in case.model.opset_import)
    )


def fault(case: Any) -> str | None:
    """Return why the importer fails a case, or None where every output is right."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = build(normalise(case.model))
            for inputs, expected in case.data_sets:
                got = module(*[to_value(value) for value in inputs])
                reason = differs(got, expected, case.rtol, case.atol)
                if reason:
                    return reason
    except Exception as error:  # every way to fail is the result here
        return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return None


def to_value(value: Any) -> Any:
    """Turn a case's input into what the module takes."""
    if isinstance(value, onnx.TensorProto):
        value = onnx.numpy_helper.to_array(value)
    if isinstance(value, (list, tuple)):
        return [to_value(v) for v in value]
    if value is None:
        return None
    array = np.asarray(value)
    return array.astype(object) if array.dtype.kind in "USOT" else to_tensor(array)


def differs(got: Any, expected: Any, rtol: float, atol: float) -> str | None:
    """Return the first difference in number, kind, shape, dtype or value, or None."""
    if isinstance(expected, onnx.TensorProto):
        expected = onnx.numpy_helper.to_array(expected)
    if isinstance(expected, (list, tuple)):
        if not isinstance(got, (list, tuple)) or len(got) != len(expected):
            return f"expected {len(expected)} values, got {len(got) if isinstance(got, (list, tuple)) else type(got)}"
        reasons = (differs(g, e, rtol, atol) for g, e in zip(got, expected, strict=True))
        return next((reason for reason in reasons if reason), None)
    if expected is None:
        return None if got is None else "expected nothing"
    if isinstance(expected, dict):
        return None if got == expected else f"expected {expected}, got {got}"
    expected = np.asarray(expected)
    if not isinstance(got, (Tensor, np.ndarray)):
        return f"expected an array, got {type(got).__name__}"
    got = to_host(got)
    if expected.dtype.kind in "USOT":
        same = got.shape == expected.shape and [str(v) for v in got.flat] == [str(v) for v in expected.flat]
        return None if same else f"text differs: {got!r} for {expected!r}"
    if expected.dtype in EXOTIC and got.dtype != expected.dtype:
        expected = expected.astype(got.dtype)  # torch carries some of these types in a wider one
    if got.dtype != expected.dtype:
        return f"dtype {got.dtype}, expected {expected.dtype}"
    if got.shape != expected.shape:
        return f"shape {got.shape}, expected {expected.shape}"
    if expected.dtype in EXOTIC:
        got, expected = got.astype(np.float32), expected.astype(np.float32)
    if np.allclose(got, expected, rtol, atol, equal_nan=True):
        return None
    with np.errstate(all="ignore"):
        return f"largest difference {np.nanmax(np.abs(got.astype(np.float64) - expected.astype(np.float64)))}"


def main(patterns: list[str]) -> None:
    """Print the cases that fail, and the counts."""
    torch.manual_seed(0)
    chosen = [n for n in cases() if not patterns or any(fnmatch.fnmatch(n, p) for p in patterns)]
    reasons = {name: fault(cases()[name]) for name in chosen}
    for name, reason in reasons.items():
        if reason:
            print(f"{name}: {reason}")
    print(f"{sum(r is None for r in reasons.values())} of {len(chosen)} pass")


if __name__ == "__main__":
    main(sys.argv[1:])
