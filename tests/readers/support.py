"""Ports and bytes for tests of readers."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from onnxsal.types import Port


def port(name: str = "input", dtype: str = "float32", shape: Any = ("N", 3, 8, 8)) -> Port:
    return Port(name, dtype, shape)


def npy(array: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()
