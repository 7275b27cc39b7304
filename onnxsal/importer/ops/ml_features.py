"""Feature preparation of ``ai.onnx.ml``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onnxsal.errors import ImportFault
from onnxsal.importer.operator import on_host, op

DOMAIN = "ai.onnx.ml"


@op("Scaler", domain=DOMAIN)
def scaler(x: Tensor, *, offset: list[float] | None = None, scale: list[float] | None = None) -> Tensor:
    """Shift and scale each feature."""
    wide = x if x.is_floating_point() else x.float()
    return ((wide - _row(wide, offset, 0.0)) * _row(wide, scale, 1.0)).float()


def _row(x: Tensor, values: list[float] | None, default: float) -> Tensor:
    """Return one value for each feature, or one for all."""
    return torch.tensor(values or [default], dtype=x.dtype, device=x.device)


@op("Normalizer", domain=DOMAIN)
def normalizer(x: Tensor, *, norm: str = "MAX") -> Tensor:
    """Divide each example by its largest value, its sum of sizes or its length."""
    x = x.float()
    axis = 0 if x.dim() == 1 else 1
    match norm:
        case "MAX":
            size = x.amax(axis, keepdim=True)
        case "L1":
            size = x.abs().sum(axis, keepdim=True)
        case "L2":
            size = _length(x, axis)
        case _:
            raise ImportFault(f"norm {norm!r} is unknown", hint="known: MAX, L1, L2")
    return x / torch.where(size == 0, 1.0, size)


def _length(x: Tensor, axis: int) -> Tensor:
    """Return the Euclidean length, with a gradient of zero where it is zero."""
    square = (x * x).sum(axis, keepdim=True)
    return torch.where(square == 0, 0.0, torch.where(square == 0, 1.0, square).sqrt())


@op("Binarizer", domain=DOMAIN, gradient=False)
def binarizer(x: Tensor, *, threshold: float = 0.0) -> Tensor:
    """Say 1 where a value exceeds the threshold, 0 elsewhere."""
    return (x > threshold).to(x.dtype)


@op("Imputer", domain=DOMAIN)
def imputer(
    x: Tensor,
    *,
    imputed_value_floats: list[float] | None = None,
    imputed_value_int64s: list[int] | None = None,
    replaced_value_float: float = 0.0,
    replaced_value_int64: int = 0,
) -> Tensor:
    """Put a feature's usual value where one is missing."""
    floating = x.is_floating_point()
    replaced = replaced_value_float if floating else replaced_value_int64
    imputed = imputed_value_floats if floating else imputed_value_int64s
    if not imputed:
        kind = "floats" if floating else "int64s"
        raise ImportFault(f"imputed_value_{kind} is missing", hint=f"the input holds {x.dtype}")
    missing = x.isnan() if math.isnan(replaced) else x == replaced
    return torch.where(missing, torch.tensor(imputed, dtype=x.dtype, device=x.device), x)


@op("OneHotEncoder", domain=DOMAIN, gradient=False)
def one_hot_encoder(
    x: Tensor, *, cats_int64s: list[int] | None = None, cats_strings: list[str] | None = None, zeros: int = 1
) -> Tensor:
    """Turn each category into a row that is 1 in that category's place."""
    found = x.long().unsqueeze(-1) == torch.tensor(cats_int64s or [], dtype=torch.int64, device=x.device)
    if not zeros and not bool(found.any(-1).all()):
        raise ImportFault("a category is unknown and zeros=0 forbids that", where="OneHotEncoder")
    return found.float()


@on_host(one_hot_encoder)
def _one_hot_text(
    x: np.ndarray, *, cats_int64s: list[int] | None = None, cats_strings: list[str] | None = None, zeros: int = 1
) -> Any:
    if cats_strings is None:
        return NotImplemented
    found = x[..., None] == np.array(cats_strings, dtype=object)
    if not zeros and not found.any(-1).all():
        raise ImportFault("a category is unknown and zeros=0 forbids that", where="OneHotEncoder")
    return np.asarray(found, dtype=np.float32)


@op("FeatureVectorizer", domain=DOMAIN)
def feature_vectorizer(*inputs: Tensor, inputdimensions: list[int] | None = None) -> Tensor:
    """Put the features of several inputs side by side."""
    if inputdimensions is None or len(inputdimensions) != len(inputs):
        raise ImportFault(f"inputdimensions has to give a width for each of {len(inputs)} inputs")
    parts = [_columns(x).float() for x in inputs]
    return torch.cat([_fitted(part, width) for part, width in zip(parts, inputdimensions, strict=True)], 1)


def _columns(x: Tensor) -> Tensor:
    """Return the examples as rows; a vector is one example."""
    return x.reshape(1, -1) if x.dim() <= 1 else x.flatten(1)


def _fitted(rows: Tensor, width: int) -> Tensor:
    """Cut rows to a width, or fill them up with zeros."""
    return torch.nn.functional.pad(rows, (0, width - rows.shape[1]))


@op("ArrayFeatureExtractor", domain=DOMAIN)
def array_feature_extractor(x: Tensor, y: Tensor) -> Tensor:
    """Pick features by their places on the last axis."""
    picked = x.index_select(-1, y.reshape(-1))
    return picked.reshape(1, -1) if x.dim() == 1 else picked


@on_host(array_feature_extractor)
def _extract_text(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    picked = np.take(x, np.ravel(y), axis=-1)
    return picked.reshape(1, -1) if x.ndim == 1 else picked
