"""Write a network by either of torch's exporters."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from tests.oracle.networks import Export, Network

EXAMPLES = 2
"""How many examples a network is exported with."""


def write(network: Network, export: Export, path: Path, module: nn.Module | None = None) -> Path:
    """Write a network as ONNX and return the path."""
    module = module or network.module()
    inputs = network.inputs(EXAMPLES)
    with _quiet(), _plain_attention():
        (_by_dynamo if export.exporter == "dynamo" else _by_torchscript)(network, export, module, inputs, path)
    return path


def _by_torchscript(
    network: Network, export: Export, module: nn.Module, inputs: tuple[Tensor, ...], path: Path
) -> None:
    axes = {name: dict(network.open_axes(name)) for name in network.names} if export.symbolic else None
    torch.onnx.export(
        module,
        inputs,
        path,
        dynamo=False,
        opset_version=export.opset,
        input_names=list(network.names),
        dynamic_axes=axes,
    )


def _by_dynamo(network: Network, export: Export, module: nn.Module, inputs: tuple[Tensor, ...], path: Path) -> None:
    shapes = tuple(dict.fromkeys(network.open_axes(name), torch.export.Dim.DYNAMIC) for name in network.names)
    torch.onnx.export(
        module, inputs, path, dynamo=True, opset_version=export.opset, input_names=list(network.names),
        dynamic_shapes=shapes if export.symbolic else None, external_data=False, verbose=False,
    )  # fmt: skip


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' chatter to themselves."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


@contextlib.contextmanager
def _plain_attention() -> Iterator[None]:
    """Switch off the fast path of torch's transformer layers: one operator that exporters do not know."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
