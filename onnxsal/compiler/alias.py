"""Calls of a trace that hand on what they are given."""

from __future__ import annotations

import torch
from torch import fx

ALIASES = frozenset(
    {
        torch.ops.aten.alias.default,
        torch.ops.aten.detach.default,
        torch.ops.aten.clone.default,
        torch.ops.aten.lift_fresh_copy.default,
        torch.ops.aten.lift_fresh.default,
        torch.ops.aten.contiguous.default,
    }
)


def root(node: fx.Node) -> fx.Node:
    """Return the node whose value a node hands on."""
    while node.target in ALIASES:
        node = node.all_input_nodes[0]
    return node
