"""Networks as people export them: imported, they answer and differentiate as ONNX Runtime's own answers say.

python -m pytest tests/oracle/test_networks.py -m "oracle or not oracle"     # the whole table
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import onnxsal
from tests.oracle.agreement import Agreement
from tests.oracle.exports import EXAMPLES, write
from tests.oracle.networks import NETWORKS, Export, Network, cells

QUICK = {
    ("resnet18", "torchscript13-symbolic"),
    ("resnet18", "dynamo18-symbolic"),
    ("vit", "dynamo23-symbolic"),
    ("unet", "torchscript11-fixed"),
    ("bert_embedded", "torchscript17-symbolic"),
    ("gpt_tokens", "torchscript11-fixed"),
    ("transformer_encoder", "dynamo23-symbolic"),
    ("lstm", "torchscript17-symbolic"),
    ("gru", "torchscript11-fixed"),
    ("mlp", "dynamo20-fixed"),
    ("two_inputs", "dynamo20-fixed"),
}
"""What every run of the tests looks at; the rest of the table is marked ``oracle``."""


def parameters(*, gradients: bool) -> list[object]:
    """Return the table as test parameters; with ``gradients``, only networks that have a floating-point input."""
    return [
        pytest.param((network, export), id=f"{network.name}-{export}", marks=_marks(network, export))
        for network, export in cells()
        if not gradients or any(value.is_floating_point() for value in network.inputs(1))
    ]


def _marks(network: Network, export: Export) -> list[pytest.MarkDecorator]:
    return [] if (network.name, str(export)) in QUICK else [pytest.mark.oracle]


@cache
def made(name: str) -> torch.nn.Module:
    return NETWORKS[name].module()


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Let small networks run on one thread, which is faster, and repeats itself."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where exported networks lie for as long as the tests run."""
    return tmp_path_factory.mktemp("networks")


@pytest.fixture(scope="session")
def agreement(request: pytest.FixtureRequest, folder: Path) -> Agreement:
    """One cell of the table: exported, imported, and fed with another number of examples where it was left open."""
    network, export = request.param
    path = folder / f"{network.name}-{export}.onnx"
    if not path.exists():
        write(network, export, path, made(network.name))
    examples = EXAMPLES + 1 if export.symbolic else EXAMPLES
    feeds = dict(zip(network.names, (value.numpy() for value in network.inputs(examples)), strict=True))
    return Agreement(onnxsal.load(path), feeds)


@pytest.mark.parametrize("agreement", parameters(gradients=False), indirect=True)
def test_answers_are_those_of_onnx_runtime(agreement: Agreement):
    assert agreement.parity() < 1e-4


@pytest.mark.parametrize("agreement", parameters(gradients=True), indirect=True)
def test_gradients_are_finite_and_not_zero(agreement: Agreement):
    for name, gradient in agreement.gradients().items():
        assert gradient.shape == agreement.feeds[name].shape
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() > 0


@pytest.mark.parametrize("agreement", parameters(gradients=True), indirect=True)
def test_gradients_agree_with_differences_of_onnx_runtime(agreement: Agreement):
    for name in agreement.floats:
        for seed in range(2):
            measured, promised = agreement.difference(name, seed)
            assert promised == pytest.approx(measured, rel=1e-2)


def test_every_network_is_exported_by_both_exporters():
    assert all(
        {export.exporter for export in network.exports} == {"torchscript", "dynamo"} for network in NETWORKS.values()
    )


def test_the_quick_part_is_in_the_table():
    assert {(network.name, str(export)) for network, export in cells()} >= QUICK
