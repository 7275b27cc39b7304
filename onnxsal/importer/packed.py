"""Tokens of several requests in one tensor, packed one behind the other."""

from __future__ import annotations

import torch
from torch import Tensor


class Requests:
    """Where the tokens of each request lie, and those that came in earlier calls.

    Args:
        ends: Where the requests end, from 0 on: [requests + 1].
        tokens: How many tokens there are.
        before: How many tokens of earlier calls each request has.
    """

    def __init__(self, ends: Tensor, tokens: int, before: int) -> None:
        self.starts, self.lengths, self.before = ends.long()[:-1], ends.long().diff(), before
        everywhere = torch.arange(tokens, device=ends.device)
        self.owners = torch.searchsorted(ends[1:].long(), everywhere, right=True)
        self.places = everywhere - self.starts[self.owners]

    def at(self, now: Tensor, earlier: Tensor, owners: Tensor, places: Tensor) -> Tensor:
        """Return what stands at places of requests; places below zero are of earlier calls.

        ``now`` is [tokens, *], ``earlier`` [requests, before, *].
        """
        owners, places = torch.broadcast_tensors(owners, places)
        new = now[(self.starts[owners] + places).clamp(0, now.shape[0] - 1)]
        if not self.before:
            return new
        old = earlier[owners, (places + self.before).clamp(0, self.before - 1)]
        return torch.where((places < 0).reshape(*places.shape, *[1] * (new.dim() - places.dim())), old, new)

    def last(self, now: Tensor, earlier: Tensor, lengths: Tensor) -> Tensor:
        """Return the last tokens of each request when so many of this call's are read."""
        owners = torch.arange(len(self.starts), device=now.device).reshape(-1, *[1] * lengths.dim())
        steps = torch.arange(-self.before, 0, device=now.device)
        return self.at(now, earlier, owners, lengths.unsqueeze(-1) + steps)
