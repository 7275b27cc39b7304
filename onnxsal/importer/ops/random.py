"""Random numbers. A node with a seed gives the same ones in every run; one without draws from torch's generator."""

from __future__ import annotations

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor

from onnxsal.importer.dtypes import torch_dtype
from onnxsal.importer.operator import op

Device = torch.device | None


def _generator(seed: float | None, device: Device) -> torch.Generator | None:
    if seed is None:
        return None
    bits = int(np.float32(seed).view(np.uint32))
    return torch.Generator(device or "cpu").manual_seed(bits)


@op("RandomNormal", gradient=False)
def random_normal(
    *,
    shape: list[int],
    dtype: int = TensorProto.FLOAT,
    mean: float = 0.0,
    scale: float = 1.0,
    seed: float | None = None,
) -> Tensor:
    """Draw from a normal distribution."""
    return _normal(shape, torch_dtype(dtype), None, mean, scale, seed)


@op("RandomNormalLike", gradient=False)
def random_normal_like(
    x: Tensor, *, dtype: int | None = None, mean: float = 0.0, scale: float = 1.0, seed: float | None = None
) -> Tensor:
    """Draw as many numbers as a value has from a normal distribution."""
    return _normal(x.shape, _dtype_like(x, dtype), x.device, mean, scale, seed)


@op("RandomUniform", gradient=False)
def random_uniform(
    *,
    shape: list[int],
    dtype: int = TensorProto.FLOAT,
    high: float = 1.0,
    low: float = 0.0,
    seed: float | None = None,
) -> Tensor:
    """Draw evenly from a range."""
    return _uniform(shape, torch_dtype(dtype), None, low, high, seed)


@op("RandomUniformLike", gradient=False)
def random_uniform_like(
    x: Tensor, *, dtype: int | None = None, high: float = 1.0, low: float = 0.0, seed: float | None = None
) -> Tensor:
    """Draw as many numbers as a value has evenly from a range."""
    return _uniform(x.shape, _dtype_like(x, dtype), x.device, low, high, seed)


def _dtype_like(x: Tensor, dtype: int | None) -> torch.dtype:
    return x.dtype if dtype is None else torch_dtype(dtype)


def _normal(
    shape: list[int] | torch.Size, dtype: torch.dtype, device: Device, mean: float, scale: float, seed: float | None
) -> Tensor:
    drawn = torch.randn(shape, dtype=dtype, device=device, generator=_generator(seed, device))
    return mean + scale * drawn


def _uniform(
    shape: list[int] | torch.Size, dtype: torch.dtype, device: Device, low: float, high: float, seed: float | None
) -> Tensor:
    drawn = torch.rand(shape, dtype=dtype, device=device, generator=_generator(seed, device))
    return low + (high - low) * drawn


@op("Multinomial", since=7, gradient=False)
def multinomial(
    x: Tensor, *, dtype: int = TensorProto.INT32, sample_size: int = 1, seed: float | None = None
) -> Tensor:
    """Draw classes by their unnormalised log probabilities."""
    generator = _generator(seed, x.device)
    drawn = torch.multinomial(torch.softmax(x.float(), -1), sample_size, replacement=True, generator=generator)
    return drawn.to(torch_dtype(dtype))


@op("Bernoulli", since=15, gradient=False)
def bernoulli(x: Tensor, *, dtype: int | None = None, seed: float | None = None) -> Tensor:
    """Draw 1 with the given probabilities, else 0."""
    return torch.bernoulli(x, generator=_generator(seed, x.device)).to(_dtype_like(x, dtype))
