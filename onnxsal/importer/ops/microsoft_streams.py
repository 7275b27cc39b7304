"""Hyper-connections: several residual streams side by side, and the gates between them and a layer."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor

from onnxsal.importer.operator import op

DOMAIN = "com.microsoft"


def _wide(x: Tensor) -> torch.dtype:
    """Return the type to compute in: single precision at least."""
    return torch.promote_types(x.dtype, torch.float32)


def _streams(x: Tensor, count: int) -> Tensor:
    """Return [..., streams, features]; a count says that they lie side by side."""
    wide = x.to(_wide(x))
    return wide.unflatten(-1, (count, -1)) if count else wide


def _gates(gate: Tensor, streams: Tensor) -> Tensor:
    """Return gates that go with streams: one for each, or one for each feature of each."""
    gate = gate.to(streams.dtype)
    if gate.dim() == streams.dim():
        return gate
    count, features = streams.shape[-2:]
    return gate.unflatten(-1, (count, features if gate.shape[-1] == count * features else 1))


def _by_root_mean_square(x: Tensor, epsilon: float) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon)


@op("BranchwiseRMSNorm", domain=DOMAIN)
def branchwise_rms_norm(
    x: Tensor, scale: Tensor | None = None, *, epsilon: float = 1e-5, num_branches: int = 0
) -> Tensor:
    """Divide each stream's features by the root of their mean square, and scale."""
    streams = _streams(x, num_branches)
    y = _by_root_mean_square(streams, epsilon)
    if scale is not None:
        y = y * scale.to(y.dtype).reshape(-1, streams.shape[-1])
    return y.reshape(x.shape).to(x.dtype)


@op("HyperConnectionPreMix", domain=DOMAIN)
def hyper_connection_pre_mix(
    streams: Tensor, pre_mix: Tensor, *, num_branches: int = 0, reduction_scale: float = 1.0
) -> Tensor:
    """Add the streams up to what a layer sees, each as much as its gate lets through."""
    apart = _streams(streams, num_branches)
    return (reduction_scale * (apart * _gates(pre_mix, apart)).sum(-2)).to(streams.dtype)


@op("HyperConnectionPostMix", domain=DOMAIN)
def hyper_connection_post_mix(
    streams: Tensor, block_output: Tensor, post_mix: Tensor, stream_mix: Tensor | None = None, *, num_branches: int = 0
) -> Tensor:
    """Mix the streams with each other, and add a layer's answer to each as much as its gate lets through."""
    apart = _streams(streams, num_branches)
    kept = apart if stream_mix is None else stream_mix.to(apart.dtype).transpose(-1, -2) @ apart
    y = kept + _gates(post_mix, apart) * block_output.to(apart.dtype).unsqueeze(-2)
    return y.reshape(streams.shape).to(streams.dtype)


@op("EngramGate", domain=DOMAIN)
def engram_gate(
    key: Tensor,
    query: Tensor,
    value: Tensor,
    key_norm_scale: Tensor,
    query_norm_scale: Tensor,
    conv_norm_scale: Tensor | None = None,
    *,
    epsilon: float = 1e-5,
) -> tuple[Tensor, Tensor | None]:
    """Let a remembered value into each stream as much as its key agrees with the stream."""
    wide = _wide(key)
    k, q = (
        _by_root_mean_square(x.to(wide), epsilon) * scale.to(wide)
        for x, scale in ((key, key_norm_scale), (query, query_norm_scale))
    )
    match = (k * q).sum(-1, keepdim=True) / sqrt(key.shape[-1])
    gate = torch.sigmoid(match.sign() * match.abs().clamp(min=1e-6).sqrt())
    y = gate * value.to(wide).unsqueeze(-2)
    normed = None if conv_norm_scale is None else _by_root_mean_square(y, epsilon) * conv_norm_scale.to(wide)
    return y.to(key.dtype), None if normed is None else normed.to(key.dtype)
