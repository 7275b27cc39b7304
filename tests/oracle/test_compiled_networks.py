"""Gradient methods over networks as people export them: compiled, they agree with torch at another batch size.

The product of methods, networks and exports is hours long; a part of it is taken, the same in every run: each network
under about two methods, each method on one network at least, by either exporter.

python -m pytest tests/oracle/test_compiled_networks.py -m oracle
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

import onnxsal
from onnxsal.errors import CompileFault, ParityError, UsageError
from tests.oracle.exports import EXAMPLES, write
from tests.oracle.networks import NETWORKS, Export, Network, cells

pytestmark = pytest.mark.oracle

METHODS: dict[str, dict[str, Any]] = {
    "ablation_cam": {},
    "attn_lrp": {},
    "blur_ig": {"steps": 2},
    "deconvolution": {},
    "deep_lift": {"steps": 2},
    "deep_lift_shap": {"steps": 2, "baselines": "uniform:draws=2"},
    "eigen_cam": {},
    "full_grad": {},
    "grad_cam": {},
    "grad_cam_plus_plus": {},
    "gradient_shap": {"samples": 3},
    "guided_backprop": {},
    "guided_grad_cam": {},
    "guided_ig": {"steps": 2},
    "hires_cam": {},
    "idg": {"steps": 3, "quadrature": "gausslegendre"},
    "input_x_gradient": {},
    "integrated_gradients": {"steps": 3},
    "layer_cam": {},
    "lrp": {},
    "recipro_cam": {},
    "saliency": {},
    "score_cam": {},
    "smoothgrad": {"samples": 2},
    "xgrad_cam": {},
}
"""What is compiled, as short as its formula allows."""

EACH = 7
"""Every which pair is taken: prime to the numbers of methods and networks, so that all of both are met."""

ALONE = {"mobilenet_v3"}
"""Networks whose examples move each other by more than rounding while their weights are random."""

LEFT = {
    ("swin", "full_grad"): "an inner value of its shifted windows is not traced where the batch is open",
    (
        "efficientnet",
        "smoothgrad",
    ): "rounding decides on its gradient under noise; its twin in torch agrees to 1e-6",
}
"""Pairs that do not compile, and why not."""

DIFFERENTIABLE = [n for n in NETWORKS.values() if any(value.is_floating_point() for value in n.inputs(1))]


def pairs() -> list[tuple[Network, Export, str]]:
    """Return networks, one of their exports each, and methods."""
    found = []
    for i, network in enumerate(DIFFERENTIABLE):
        exports = [export for other, export in cells() if other is network]
        for j, method in enumerate(METHODS):
            if (i + 2 * j) % EACH == 0 and (i + j) % 3:
                found.append((network, exports[(i + j) % len(exports)], method))
    return found


@cache
def made(name: str) -> torch.nn.Module:
    return NETWORKS[name].module()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where exported networks lie for as long as the tests run."""
    return tmp_path_factory.mktemp("compiled_networks")


@pytest.mark.parametrize(
    ("network", "export", "method"), [pytest.param(*p, id="-".join(map(str, (p[0].name, *p[1:])))) for p in pairs()]
)
def test_compiled_it_agrees(folder: Path, network: Network, export: Export, method: str):
    path = folder / f"{network.name}-{export}.onnx"
    if not path.exists():
        write(network, export, path, made(network.name))
    model = onnxsal.load(path)
    feeds = dict(zip(network.names, (value.numpy() for value in network.inputs(EXAMPLES)), strict=True))
    output = model.outputs[0]
    asked: dict[str, Any] = {
        "method": method,
        "target": f"{output.name}[{','.join(['0'] * (len(output.shape or (0, 0)) - 1))}]",
        "inputs": [next(port.name for port in model.inputs if port.is_float)],
        **METHODS[method],
    }
    draws = "fresh" if method == "smoothgrad" else "constant"  # a file of open sizes cannot hold noise
    if (network.name, method) in LEFT:
        with pytest.raises((CompileFault, ParityError)):
            onnxsal.compile(model, feeds=feeds, draws=draws, **asked)
        return
    try:
        compiled = onnxsal.compile(model, feeds=feeds, draws=draws, **asked)
    except UsageError as fault:  # the method has nothing to do in this network, with whatever engine
        refused = fault.what
        with pytest.raises(UsageError, match=re.escape(refused)):
            onnxsal.explain(model, feeds, **asked)
        return
    name = f"{asked['inputs'][0]}_attribution"
    checked = compiled.facts["checked"]
    if export.symbolic and not compiled.facts["fixed"] and network.name not in ALONE:
        assert checked["examples"] == EXAMPLES + 1
    assert checked[name] <= 1e-4 or name in checked["across_kinks"]


def test_every_method_and_every_network_is_met():
    assert {method for _, _, method in pairs()} == set(METHODS)
    assert {network.name for network, _, _ in pairs()} == {network.name for network in DIFFERENTIABLE}
    assert {export.exporter for _, export, _ in pairs()} == {"torchscript", "dynamo"}
