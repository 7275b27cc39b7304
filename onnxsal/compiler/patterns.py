"""Several calls of a trace that are one function's way back, as one call.

Who exports a network may write an activation out in simple operators; its way back then is a sum over all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import fx

from onnxsal.compiler.alias import root

ATEN = torch.ops.aten


def gather(module: fx.GraphModule) -> None:
    """Replace what is known by one call each."""
    for node in list(module.graph.nodes):
        if node.target is ATEN.add.Tensor and len(node.all_input_nodes) == 2 and not node.kwargs:
            found = _silu(*node.args) or _silu(*reversed(node.args))
            if found is not None:
                _replace(module, node, ATEN.silu_backward.default, found)
    module.graph.lint()


def _silu(plain: Any, curved: Any) -> tuple[fx.Node, fx.Node] | None:
    """Return gradient and input of x * sigmoid(x) where these are the two parts of its way back.

    They are gradient * s, and what comes back through the sigmoid s from gradient * x.
    """
    if curved.target is not ATEN.sigmoid_backward.default or plain.target is not ATEN.mul.Tensor:
        return None
    sent, sigmoid = map(root, curved.args)
    if sent.target is not ATEN.mul.Tensor or sigmoid.target is not ATEN.sigmoid.default:
        return None
    x: fx.Node = root(sigmoid.args[0])  # type: ignore[arg-type]
    factors = _others(plain, sigmoid), _others(sent, x)
    gradient = factors[0]
    return (gradient, x) if gradient is not None and gradient is factors[1] else None


def _others(product: fx.Node, factor: fx.Node) -> fx.Node | None:
    """Return the other factor of a product, None where the one is none of its factors."""
    factors = [root(node) if isinstance(node, fx.Node) else None for node in product.args]
    if factor not in factors or len(factors) != 2:
        return None
    return factors[1] if factors[0] is factor else factors[0]


def _replace(module: fx.GraphModule, node: fx.Node, target: object, args: Iterable[fx.Node]) -> None:
    with module.graph.inserting_before(node):
        made = module.graph.call_function(target, tuple(args))  # type: ignore[arg-type]
    made.meta = dict(node.meta)
    node.replace_all_uses_with(made)
    module.graph.erase_node(node)
