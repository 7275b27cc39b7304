"""Small networks of every common kind, exported once: what each method is tried on."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from functools import cache

import onnx
import torch
from torch import Tensor, nn

import onnxsal
from onnxsal.engines.torch import TorchEngine
from onnxsal.score import BoundScore
from onnxsal.types import Target

Inputs = dict[str, Tensor]


class Recurrent(nn.Module):
    """An LSTM whose last state is read out."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 4, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return three scores."""
        return self.head(self.lstm(x)[0][:, -1])


class Transformer(nn.Module):
    """One head of attention and a mean over the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(4, 12)
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return three scores."""
        query, key, value = self.mix(x).chunk(3, -1)
        mixed = (query @ key.transpose(1, 2) / 2).softmax(-1) @ value
        return self.head(self.norm(x + mixed).mean(1))


class TwoInputs(nn.Module):
    """Two tables that meet in a product."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(3, 4), nn.Linear(2, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return three scores."""
        return self.head(self.left(x).tanh() * self.right(y))


def cnn() -> nn.Module:
    """Return a convolution with batch normalisation that has seen some data."""
    body = [nn.Conv2d(2, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, 1, 1), nn.ReLU()]
    network = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    with torch.no_grad():
        network.train()(torch.randn(8, 2, 8, 8))
    return network


def mlp() -> nn.Module:
    """Return two layers."""
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))


KINDS: dict[str, tuple[Callable[[], nn.Module], tuple[tuple[int, ...], ...]]] = {
    "cnn": (cnn, ((2, 8, 8),)),
    "mlp": (mlp, ((5,),)),
    "lstm": (Recurrent, ((6, 3),)),
    "transformer": (Transformer, ((5, 4),)),
    "two_inputs": (TwoInputs, ((3,), (2,))),
}
"""Makers of networks with three scores, and the shapes of one example of their inputs."""


@cache
def network(kind: str) -> nn.Module:
    """Return the torch module of a kind, in double precision."""
    torch.manual_seed(7)
    return KINDS[kind][0]().double().eval()


@cache
def model(kind: str) -> onnxsal.Model:
    """Return the network as an ONNX model with any number of examples."""
    inputs = inputs_of(kind)
    data = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network(kind),
            tuple(inputs.values()),
            data,
            dynamo=False,
            input_names=list(inputs),
            output_names=["scores"],
            dynamic_axes={name: {0: "N"} for name in (*inputs, "scores")},
        )
    return onnxsal.load(onnx.load_from_string(data.getvalue()))


def inputs_of(kind: str, examples: int = 3) -> Inputs:
    """Return the same random inputs every time."""
    generator = torch.Generator().manual_seed(11)
    shapes = zip(("x", "y"), KINDS[kind][1], strict=False)
    return {name: torch.randn(examples, *shape, generator=generator, dtype=torch.float64) for name, shape in shapes}


def score_of(kind: str, inputs: Inputs, classes: list[int], seed: int = 0) -> BoundScore:
    """Return the score of the inputs, one class for each example, as a method is handed it."""
    targets = [Target("scores", (number,)) for number in classes]
    return BoundScore(TorchEngine(model(kind), "cpu"), inputs, list(inputs), targets, stacked=True, seed=seed)
