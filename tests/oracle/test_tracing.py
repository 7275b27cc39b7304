"""Imported networks are plain graphs: a tracer with symbolic sizes gets through, forwards and backwards.

What is traced at a batch of two answers for a batch of three what the network itself answers.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import onnxsal
from tests import corpus
from tests.oracle.exports import write
from tests.oracle.networks import Export, Network, cells
from tests.oracle.tracing import Example, assert_same, backward, export, forward, trace

pytestmark = pytest.mark.filterwarnings("ignore")

FEW = {
    *("resnet18-dynamo18-symbolic", "unet-torchscript13-symbolic", "bert_embedded-torchscript17-symbolic"),
    *("transformer_encoder-dynamo23-symbolic", "lstm-torchscript17-symbolic", "two_inputs-dynamo23-symbolic"),
}
"""Networks of the table of exports that stand for all of it."""


def untraceable() -> dict[str, str]:
    """Return the models that no tracer gets through, with the reasons."""
    lines = (Path(__file__).parent / "untraceable.txt").read_text().splitlines()
    return dict(line.split(" | ", 1) for line in lines if line and not line.startswith("#"))


TRACEABLE = [name for name in corpus.ids() if name not in untraceable()]


def loaded(name: str) -> tuple[torch.nn.Module, Example]:
    """Return a model's network and an example, its batch left open where the file means it to be."""
    model = onnxsal.load(corpus.model(name))
    example = Example.of(model, corpus.inputs(name))
    return model.torch(), example if corpus.facts(name)["batch_of_3"] == "runs" else example.fixed()


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.parametrize("name", TRACEABLE)
def test_the_answers_are_traced(name: str) -> None:
    module, example = loaded(name)
    traced = trace(forward(module), example)
    assert_same(traced(*example.repeated(3)), forward(module)(*example.repeated(3)))


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.parametrize("name", TRACEABLE)
def test_the_gradient_is_traced(name: str) -> None:
    module, example = loaded(name)
    traced = trace(backward(module), example)
    assert_same(traced(*example.repeated(3)), backward(module)(*example.repeated(3)))


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.parametrize("name", TRACEABLE)
def test_the_network_is_exported(name: str) -> None:
    module, example = loaded(name)
    assert_same(export(module, example)(*example.repeated(3)), forward(module)(*example.repeated(3)))


@pytest.mark.oracle
@pytest.mark.parametrize("name", untraceable())
def test_no_gap_has_closed(name: str) -> None:
    module, example = loaded(name)
    with pytest.raises(RuntimeError):
        trace(forward(module), example)


def test_only_models_of_the_corpus_are_listed() -> None:
    assert set(untraceable()) <= set(corpus.ids())


CELLS = {f"{network.name}-{export}": (network, export) for network, export in cells()}


@pytest.mark.oracle
@pytest.mark.parametrize("cell", [CELLS[name] for name in sorted(FEW)], ids=sorted(FEW))
def test_an_exported_network_is_traced(cell: tuple[Network, Export], tmp_path: Path) -> None:
    network, written = cell
    model = onnxsal.load(write(network, written, tmp_path / "network.onnx"))
    example = Example.of(model, dict(zip(network.names, (v.numpy() for v in network.inputs(2)), strict=True)))
    module, more = model.torch(), example.repeated(3)
    assert_same(trace(backward(module), example)(*more), backward(module)(*more))
    assert_same(export(module, example)(*more), forward(module)(*more))
