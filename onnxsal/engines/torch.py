"""The imported graph and autograd, on any torch device: the reference engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from onnxsal.entries import Engine
from onnxsal.hookspecs import hookimpl
from onnxsal.types import Feeds

if TYPE_CHECKING:
    from torch import Tensor

    from onnxsal.model import Model


class TorchEngine:
    """Runs and differentiates the imported ``fx.GraphModule``."""

    name = "torch"

    def __init__(self, model: Model, device: str) -> None:
        self.device = device
        self.inputs = [port.name for port in model.inputs]
        self.outputs = [port.name for port in model.outputs]
        self.module = model.torch(device)

    def run(self, feeds: Feeds) -> Feeds:
        """Return the outputs by name; autograd records what the feeds ask it to."""
        return dict(zip(self.outputs, self.module(*(feeds[name] for name in self.inputs)), strict=True))

    def gradients(self, feeds: Feeds, explained: Iterable[str], score: Callable[[Feeds], Tensor]) -> Feeds:
        """Return the derivative of ``score(outputs)``, summed over its rows, by each explained input."""
        import torch

        leaves = {name: feeds[name].detach().requires_grad_() for name in explained}
        with torch.enable_grad():
            total = score(self.run(feeds | leaves)).sum()
        if not total.requires_grad:  # no explained input reaches the score by a differentiable way
            return {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
        gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        return {
            name: torch.zeros_like(leaf) if gradient is None else gradient
            for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True)
        }


def open_torch(model: Model, device: str) -> TorchEngine:
    """The imported graph and autograd, on any torch device."""
    return TorchEngine(model, device)


@hookimpl
def onnxsal_engines() -> Iterable[Engine]:
    yield Engine("torch", open_torch, gradient=True)
