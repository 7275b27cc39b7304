"""Normalisations that ONNX Runtime knows beyond the standard: with a shortcut, with embeddings, by root mean square."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from onnxsal.importer.operator import layer, op
from onnxsal.importer.ops.normalization import layer_norm_layer, layer_normalization
from onnxsal.importer.parts import part, total

DOMAIN = "com.microsoft"


@op("LayerNormalization")
def layer_normalization_1(
    x: Tensor,
    scale: Tensor,
    b: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
    n_outputs: int = 1,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Normalise the last axes of each example: ONNX Runtime's own operator, older than the standard's."""
    return layer_normalization(x, scale, b, axis=axis, epsilon=epsilon, stash_type=stash_type, n_outputs=n_outputs)


layer(layer_normalization_1)(layer_norm_layer)


def _by_root_mean_square(x: Tensor, scale: Tensor, axis: int, epsilon: float) -> tuple[Tensor, Tensor]:
    """Divide by the root of the mean square; return what it was divided by, too (its inverse)."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    axes = tuple(range(axis % x.dim(), x.dim()))
    inverse = torch.rsqrt(wide.square().mean(axes, keepdim=True) + epsilon)
    return (wide * inverse * scale.to(wide.dtype)).to(x.dtype), inverse


@op("SimplifiedLayerNormalization")
def simplified_layer_normalization(
    x: Tensor, scale: Tensor, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> tuple[Tensor, Tensor]:
    """Divide the last axes of each example by the root of their mean square."""
    del stash_type  # the statistics are never narrower than the input
    return _by_root_mean_square(x, scale, axis, epsilon)


@op("SkipLayerNormalization", domain=DOMAIN)
def skip_layer_normalization(
    input: Tensor,
    skip: Tensor,
    gamma: Tensor,
    beta: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    epsilon: float = 1e-12,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Add a shortcut (and a bias), then normalise the last axis."""
    x = total(input, skip) if bias is None else total(input, bias, skip)
    variance, mean = torch.var_mean(x, -1, correction=0, keepdim=True)
    return _normalised(x, gamma, beta, epsilon), mean, torch.rsqrt(variance + epsilon), x


def _normalised(x: Tensor, gamma: Tensor, beta: Tensor | None, epsilon: float) -> Tensor:
    def run(x: Tensor, gamma: Tensor, beta: Tensor | None = None) -> Tensor:
        return F.layer_norm(x, gamma.shape, gamma, beta, epsilon)

    constants = (gamma,) if beta is None else (gamma, beta)
    return part("LayerNormalization", run, x, *constants, epsilon=epsilon)


@op("SkipSimplifiedLayerNormalization", domain=DOMAIN)
def skip_simplified_layer_normalization(
    input: Tensor, skip: Tensor, gamma: Tensor, bias: Tensor | None = None, *, epsilon: float = 1e-12
) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """Add a shortcut (and a bias), then divide the last axis by the root of its mean square."""
    x = total(input, skip) if bias is None else total(input, bias, skip)
    _, inverse = _by_root_mean_square(x, gamma, -1, epsilon)
    y = part("RMSNormalization", lambda x, gamma: _by_root_mean_square(x, gamma, -1, epsilon)[0], x, gamma,
             epsilon=epsilon)  # fmt: skip
    return y, None, inverse, x


@op("EmbedLayerNormalization", domain=DOMAIN)
def embed_layer_normalization(
    input_ids: Tensor,
    segment_ids: Tensor | None,
    word_embedding: Tensor,
    position_embedding: Tensor,
    segment_embedding: Tensor | None,
    gamma: Tensor,
    beta: Tensor,
    mask: Tensor | None = None,
    position_ids: Tensor | None = None,
    *,
    epsilon: float = 1e-12,
    mask_index_type: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Look up and add the embeddings of words, places and segments, then normalise the sum."""
    del mask_index_type  # says the second output's type, which has one form only here
    places = torch.arange(input_ids.shape[1], device=input_ids.device) if position_ids is None else position_ids
    x = total(F.embedding(input_ids, word_embedding), F.embedding(places, position_embedding))
    if segment_ids is not None and segment_embedding is not None:
        x = total(x, F.embedding(segment_ids, segment_embedding))
    return _normalised(x, gamma, beta, epsilon), _lengths(input_ids, mask), x


@op("QEmbedLayerNormalization", domain=DOMAIN)
def qembed_layer_normalization(
    input_ids: Tensor,
    segment_ids: Tensor | None,
    word_embedding_quant: Tensor,
    position_embedding_quant: Tensor,
    segment_embedding: Tensor | None,
    gamma_quant: Tensor,
    beta_quant: Tensor,
    mask: Tensor | None,
    word_embedding_scale: Tensor,
    position_embedding_scale: Tensor,
    segment_embedding_scale: Tensor | None,
    gamma_scale: Tensor,
    beta_scale: Tensor,
    word_embedding_zero_point: Tensor,
    position_embedding_zero_point: Tensor,
    segment_embedding_zero_point: Tensor | None,
    gamma_zero_point: Tensor,
    beta_zero_point: Tensor,
    *,
    epsilon: float = 1e-12,
) -> tuple[Tensor, Tensor]:
    """Look up and add embeddings that are stored in 8 bits, then normalise the sum."""
    words, places, gamma, beta = (
        (table.to(scale.dtype) - zero.to(scale.dtype)) * scale
        for table, scale, zero in (
            (word_embedding_quant, word_embedding_scale, word_embedding_zero_point),
            (position_embedding_quant, position_embedding_scale, position_embedding_zero_point),
            (gamma_quant, gamma_scale, gamma_zero_point),
            (beta_quant, beta_scale, beta_zero_point),
        )
    )
    segments = None
    if segment_embedding is not None and segment_embedding_scale is not None:
        assert segment_embedding_zero_point is not None  # all three of them or none, says the schema
        segments = segment_embedding.to(words.dtype) - segment_embedding_zero_point.to(words.dtype)
        segments = segments * segment_embedding_scale
    y, lengths, _ = embed_layer_normalization(
        input_ids, segment_ids, words, places, segments, gamma, beta, mask, epsilon=epsilon
    )
    return y, lengths


def _lengths(input_ids: Tensor, mask: Tensor | None) -> Tensor:
    """Return how many places of each example count; zero where no mask says it."""
    if mask is None:
        return torch.zeros(input_ids.shape[0], dtype=torch.int32, device=input_ids.device)
    return (mask == 1).sum(1).to(torch.int32)


@op("GroupNorm", domain=DOMAIN)
def group_norm(
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    *,
    activation: int,
    channels_last: int = 1,
    epsilon: float = 1e-5,
    groups: int,
) -> Tensor:
    """Normalise groups of channels together, then let values through by their logistic function if asked."""
    first = x.movedim(-1, 1) if channels_last else x
    y = F.group_norm(first, groups, gamma.to(x.dtype), beta.to(x.dtype), epsilon)
    y = F.silu(y) if activation else y
    return y.movedim(1, -1) if channels_last else y


@op("SkipGroupNorm", domain=DOMAIN)
def skip_group_norm(
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    skip: Tensor,
    bias: Tensor | None = None,
    *,
    activation: int,
    channels_last: int = 1,
    epsilon: float = 1e-5,
    groups: int,
) -> tuple[Tensor, Tensor]:
    """Add a shortcut (and a bias), then normalise groups of channels together."""
    shape = (-1,) if channels_last else (-1, *[1] * (x.dim() - 2))
    spread = skip.reshape(skip.shape[0], *[1] * (x.dim() - 2), -1) if skip.dim() == 2 and channels_last else skip
    total = x + spread if bias is None else x + spread + bias.reshape(shape)
    y = group_norm(
        total, gamma, beta, activation=activation, channels_last=channels_last, epsilon=epsilon, groups=groups
    )
    return y, total
