"""Losses, as exported training graphs hold them."""

from __future__ import annotations

import torch
from torch import Tensor

from onnxsal.importer.operator import op


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
    labels = target.long()
    counted = torch.ones_like(labels, dtype=torch.bool) if ignore_index is None else labels != ignore_index
    labels = torch.where(counted, labels, 0)  # an ignored label need not be a class
    share = counted.to(scores.dtype) if weight is None else torch.where(counted, weight[labels], 0)
    loss = -share * scores.gather(1, labels.unsqueeze(1)).squeeze(1)
    if reduction == "none":
        return loss
    return loss.sum() / share.sum() if reduction == "mean" else loss.sum()


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
