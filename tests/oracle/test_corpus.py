"""Real models that people deploy: each imports, answers what ONNX Runtime answers, and has gradients."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import onnxsal
from onnxsal.errors import ImportFault
from onnxsal.importer.values import as_tensor
from onnxsal.model import Model
from onnxsal.parity import verify
from tests import corpus

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]

TOLERANCE = 1e-3
EIGHT_BITS = {"tashkeel_bilstm_int8": 1e-2, "traceforge_t5_encoder": 3e-2, "voicefilter_embedder_int8": 1e-2}
"""Where one number in thousands lies so near the middle of two 8-bit steps that a float's last bit decides its way."""

NO_GRADIENT = {
    "deepcut": {"input_1", "input_2"},  # numbers of letters, cast to integers
    "atspm_tree_decode": {"X"},  # trees are steps
    "surfaces_tree_cls": {"input"},
    "swift_f0": {"fmin", "fmax"},  # bounds, which are compared with
    "minimol_gnn": {"graph_slots"},  # only counted
}
"""Floating inputs that no gradient reaches."""


def _loaded(name: str) -> tuple[Model, dict[str, np.ndarray]]:
    return onnxsal.load(corpus.model(name)), corpus.inputs(name)


@pytest.mark.parametrize("name", corpus.ids())
def test_the_import_answers_what_onnxruntime_answers(name: str) -> None:
    model, feeds = _loaded(name)
    parity = verify(model, feeds, tolerance=EIGHT_BITS.get(name, TOLERANCE))
    assert parity.ok, [(o.name, o.max_rel, o.own_rel) for o in parity.outputs] + [str(parity.first)]


@pytest.mark.parametrize("name", corpus.ids(max_mb=25))
def test_a_file_that_onnxruntime_optimised_answers_the_same(name: str, tmp_path: Path) -> None:
    parity = verify(
        onnxsal.load(_optimised(name, tmp_path, "EXTENDED")),
        corpus.inputs(name),
        tolerance=EIGHT_BITS.get(name, TOLERANCE),
    )
    assert parity.ok, [(o.name, o.max_rel, o.own_rel) for o in parity.outputs] + [str(parity.first)]


def _optimised(name: str, folder: Path, level: str) -> Path:
    """Return the file that ONNX Runtime saves when it has fused what it can."""
    import onnxruntime

    source = corpus.model(name)
    for weights in corpus.facts(name).get("external_data", {}):
        shutil.copy(source.parent / weights, folder)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    return folder / "optimised.onnx"


def test_a_file_laid_out_for_one_processor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImportFault, match="take the file it was made from"):
        onnxsal.load(_optimised("dnsmos_p808", tmp_path, "ALL")).torch()


@pytest.mark.parametrize("name", [i for i in corpus.ids() if corpus.facts(i).get("batch_of_3") == "runs"])
def test_three_examples_at_once(name: str) -> None:
    model, feeds = _loaded(name)
    parity = verify(model, _three(model, feeds), tolerance=EIGHT_BITS.get(name, TOLERANCE))
    assert parity.ok, [(o.name, o.max_rel, o.own_rel) for o in parity.outputs] + [str(parity.first)]


def _three(model: Model, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return three examples along the first axis that a port leaves open, with different numbers where floating."""
    return {port.name: _repeated(feeds[port.name], port.shape or ()) for port in model.inputs}


def _repeated(array: np.ndarray, shape: Sequence[Any]) -> np.ndarray:
    axis = next((i for i, dim in enumerate(shape) if not isinstance(dim, int)), None)
    if axis is None or array.ndim == 0:
        return array
    factors = (1.0, 0.75, 0.5) if array.dtype.kind == "f" else (1, 1, 1)
    return np.concatenate([array * factor for factor in factors], axis).astype(array.dtype)


@pytest.mark.parametrize("name", corpus.ids())
def test_gradients_are_numbers(name: str) -> None:
    model, feeds = _loaded(name)
    values = [as_tensor(feeds[port.name]) for port in model.inputs]
    leaves = {
        port.name: value.requires_grad_()
        for port, value in zip(model.inputs, values, strict=True)
        if value.is_floating_point()
    }
    gradients = _gradients(model.torch()(*values), leaves)
    assert set(leaves) - set(gradients) == NO_GRADIENT.get(name, set())
    for port, gradient in gradients.items():
        assert gradient.isfinite().all(), f"{port}: {int((~gradient.isfinite()).sum())} of {gradient.numel()}"
        assert gradient.count_nonzero(), f"{port}: all zero"


def _gradients(outputs: Any, leaves: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the gradients of a random combination of all answers, for the leaves that it depends on."""
    random = torch.Generator().manual_seed(0)
    scores = [o.double() * torch.randn(o.shape, generator=random, dtype=torch.float64) for o in _floating(outputs)]
    if not scores or not leaves:
        return {}
    total = torch.stack([score.sum() for score in scores]).sum()
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    return {name: gradient for name, gradient in zip(leaves, found, strict=True) if gradient is not None}


def _floating(value: Any) -> list[Tensor]:
    """Return the answers that depend on an input by a gradient, also those in lists and maps."""
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in _floating(item)]
    if isinstance(value, dict):
        return _floating(list(value.values()))
    return [value] if isinstance(value, Tensor) and value.requires_grad else []
