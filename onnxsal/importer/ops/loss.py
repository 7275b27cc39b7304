"""Losses, as exported training graphs hold them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from onnxsal.importer.operator import op

NEVER = -100
"""torch's own ignored class, which no valid label equals."""


@op("NegativeLogLikelihoodLoss", since=12)
def negative_log_likelihood_loss(
    scores: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Return the negative score of the right class, summed or averaged where asked."""
    ignored = NEVER if ignore_index is None else ignore_index
    return F.nll_loss(scores, target.long(), weight, ignore_index=ignored, reduction=reduction)


@op("SoftmaxCrossEntropyLoss", since=12)
def softmax_cross_entropy_loss(
    scores: Tensor,
    labels: Tensor,
    weights: Tensor | None = None,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> tuple[Tensor, Tensor]:
    """Return the negative log probability of the right class, and the log probabilities of all."""
    log_probabilities = torch.log_softmax(scores, 1)
    loss = negative_log_likelihood_loss(
        log_probabilities, labels, weights, ignore_index=ignore_index, reduction=reduction
    )
    return loss, log_probabilities
