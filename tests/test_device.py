from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

import onnxsal
from onnxsal.device import choose_device
from onnxsal.entries import Device
from onnxsal.errors import UsageError
from onnxsal.plugins import Provider, registry
from tests import models_for_tests as tiny

PRESENT = [d.name for d, _ in registry().items("devices") if d.count()]
TOLERANCE = 1e-4
"""How far attributions may be apart on two devices, as a part of their scale."""


@pytest.fixture
def machine() -> Iterator[None]:
    """Pretend to have two accelerators of a kind that nobody makes."""
    registry.cache_clear()
    provider = Provider("acme", "1.0", "acme")
    registry().add("devices", Device("abacus", lambda: 2, lambda index: f"abacus {index}", preference=99), provider)
    registry().add("devices", Device("slate", lambda: 0, lambda _: "slate", preference=100), provider)
    yield
    registry.cache_clear()


def test_auto_takes_the_present_device_of_highest_preference(machine: None) -> None:
    assert choose_device("auto") == "abacus"


def test_without_an_accelerator_auto_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for available in (torch.cuda, torch.backends.mps, torch.xpu):
        monkeypatch.setattr(available, "is_available", lambda: False)
    assert choose_device("auto") == "cpu"


@pytest.mark.parametrize("name", ["cpu", "abacus", "abacus:0", "abacus:1"])
def test_a_present_device_is_taken_as_it_is_named(machine: None, name: str) -> None:
    assert choose_device(name) == name


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("abacus:2", "'abacus:2' is not present (2 there)"),
        ("slate", "'slate' is not present (none is visible)"),
        ("abakus", "did you mean 'abacus'"),
        ("abacus:", "no device 'abacus:'"),
        ("abacus:one", "no device 'abacus:one'"),
        ("", "no device ''"),
    ],
)
def test_an_absent_device_says_what_there_is(machine: None, name: str, says: str) -> None:
    with pytest.raises(UsageError) as fault:
        choose_device(name)
    assert says in str(fault.value)
    assert "abacus:0 to abacus:1" in str(fault.value)
    assert fault.value.exit_code == 2


@pytest.mark.parametrize("device", PRESENT)
def test_every_device_here_gives_the_cpus_attributions(device: str) -> None:
    x = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    options = {"method": "integrated_gradients", "steps": 8}
    here = onnxsal.explain(tiny.square(), {"x": x}, device=device, **options)
    cpu = onnxsal.explain(tiny.square(), {"x": x}, device="cpu", **options)
    assert here.provenance.device == device
    scale = np.abs(cpu.values["x"]).max()
    np.testing.assert_allclose(here.values["x"], cpu.values["x"], atol=TOLERANCE * scale)
