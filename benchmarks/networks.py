"""The large architectures that benchmarks run on, of random weights, written as ONNX with an open batch.

    python -m benchmarks.networks FOLDER [NAME ...]

A file that is there already is left as it is. Weights don't matter to speed; sizes do, and these are the true ones.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

OPSET = 17
PICTURE = (2, 3, 224, 224)
TOKENS = 128

Made = tuple[nn.Module, tuple[Tensor, ...]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the networks that are asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NETWORKS))
    options = parser.parse_args(arguments)
    for name in options.names or NETWORKS:
        print(write(name, options.folder))


def write(name: str, folder: Path) -> Path:
    """Write a network as ONNX, unless it is there, and return its path."""
    path = folder / f"{name}.onnx"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    module, inputs = NETWORKS[name]()
    names = [f"x{i}" if i else "x" for i in range(len(inputs))]
    axes = {x: {0: "batch"} for x in names}
    with _quiet():
        torch.onnx.export(
            module.eval(), inputs, path, dynamo=False, opset_version=OPSET, input_names=names, output_names=["y"],
            dynamic_axes=axes | {"y": {0: "batch"}},
        )  # fmt: skip
    return path


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def _pictures(architecture: str) -> Callable[[], Made]:
    """Return a maker of one of timm's networks of pictures."""

    def make() -> Made:
        import timm

        return timm.create_model(architecture, exportable=True), (torch.randn(PICTURE),)

    return make


class Encoder(nn.Module):
    """A BERT over embeddings, so that there is a floating-point input, and a head over its first token."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import BertConfig, BertModel

        self.body = BertModel(BertConfig(attn_implementation="eager"))
        self.head = nn.Linear(768, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return [batch, 2] of embeddings [batch, tokens, 768]."""
        return self.head(self.body(inputs_embeds=x).pooler_output)


class Recurrent(nn.Module):
    """A bidirectional LSTM over a series, and a head over its last step."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.LSTM(64, 128, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return [batch, 10] of a series [batch, steps, 64]."""
        return self.head(self.body(x)[0][:, -1])


class Block(nn.Sequential):
    """Two convolutions of a U-Net."""

    def __init__(self, before: int, after: int) -> None:
        layers: list[Any] = []
        for channels in (before, after):
            layers += [nn.Conv2d(channels, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        super().__init__(*layers)


class UNet(nn.Module):
    """The U-Net of segmentation, of half the usual width, with the answer averaged over the picture."""

    def __init__(self, width: int = 32, depth: int = 4) -> None:
        super().__init__()
        sizes = [width * 2**i for i in range(depth + 1)]
        self.down = nn.ModuleList(Block(a, b) for a, b in zip([3, *sizes], sizes, strict=False))
        self.rise = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in pairwise(sizes))
        self.up = nn.ModuleList(Block(2 * a, a) for a in sizes[:-1])
        self.head = nn.Conv2d(width, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return [batch, 4] of pictures [batch, 3, height, width]."""
        kept = []
        for block in self.down:
            x = block(nn.functional.max_pool2d(x, 2) if kept else x)
            kept.append(x)
        for rise, block, beside in reversed(list(zip(self.rise, self.up, kept[:-1], strict=True))):
            x = block(torch.cat([beside, rise(x)], 1))
        return self.head(x).mean((2, 3))


NETWORKS: dict[str, Callable[[], Made]] = {
    "resnet50": _pictures("resnet50"),
    "mobilenetv2": _pictures("mobilenetv2_100"),
    "mobilenetv3": _pictures("mobilenetv3_large_100"),
    "efficientnet": _pictures("efficientnet_b0"),
    "vit": _pictures("vit_base_patch16_224"),
    "swin": _pictures("swin_tiny_patch4_window7_224"),
    "bert": lambda: (Encoder(), (torch.randn(2, TOKENS, 768),)),
    "lstm": lambda: (Recurrent(), (torch.randn(2, 100, 64),)),
    "unet": lambda: (UNet(), (torch.randn(2, 3, 128, 128),)),
}
"""Makers of a network and of two examples, by name."""


if __name__ == "__main__":
    main()
