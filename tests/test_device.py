from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

import onnxsal
from onnxsal.device import choose_device, choose_provider, providers_of
from onnxsal.entries import Device
from onnxsal.errors import ParityError, UsageError
from onnxsal.model import session_on, session_options
from onnxsal.parity import require_place
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


@pytest.fixture
def providers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pretend that ONNX Runtime offers OpenVINO, and a provider by another name that computes what the CPU does."""
    registry.cache_clear()
    again = Device("again", lambda: 1, lambda _: "", provider="CPUExecutionProvider", tensors=False)
    registry().add("devices", again, Provider("acme", "1.0", "acme"))
    monkeypatch.setattr("onnxsal.device._available", lambda: ["OpenVINOExecutionProvider", "CPUExecutionProvider"])
    yield
    registry.cache_clear()


@pytest.mark.parametrize("name", ["cpu", "openvino", "openvino:GPU", "again"])
def test_a_provider_is_taken_as_it_is_named(providers: None, name: str) -> None:
    assert choose_provider(name) == name
    assert choose_provider("auto") == "cpu"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("tensorrt", "the installed ONNX Runtime has no TensorrtExecutionProvider"),
        ("cuda:1", "the installed ONNX Runtime has no CUDAExecutionProvider"),
        ("openvina", "did you mean 'openvino'"),
        ("mps", "mps is torch's"),
        ("openvino:", "say openvino"),
        ("again:1", "say again"),
    ],
)
def test_an_absent_provider_says_which_there_are(providers: None, name: str, says: str) -> None:
    with pytest.raises(UsageError) as fault:
        choose_provider(name)
    assert says in str(fault.value)
    assert "ONNX Runtime here has: again, cpu, openvino" in str(fault.value)


def test_torch_knows_no_provider(providers: None) -> None:
    with pytest.raises(UsageError, match=r"an execution provider of ONNX Runtime\n.*-e compiled"):
        choose_device("openvino")


def test_what_onnx_runtime_is_told() -> None:
    cpu = "CPUExecutionProvider"
    assert providers_of("cpu") == [cpu]
    assert providers_of("openvino") == ["OpenVINOExecutionProvider", cpu]
    assert providers_of("openvino:GPU.1") == [("OpenVINOExecutionProvider", {"device_type": "GPU.1"}), cpu]
    assert providers_of("cuda:1") == [("CUDAExecutionProvider", {"device_id": "1"}), cpu]


@pytest.mark.parametrize(("method", "engine"), [("occlusion", "onnxruntime"), ("saliency", "compiled")])
def test_a_provider_brings_its_engine(providers: None, method: str, engine: str) -> None:
    x = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    there = onnxsal.explain(tiny.square(), {"x": x}, method=method, device="again")
    assert (there.provenance.engine, there.provenance.device) == (engine, "again")
    here = onnxsal.explain(tiny.square(), {"x": x}, method=method, device="cpu")
    np.testing.assert_allclose(there.values["x"], here.values["x"], rtol=1e-5)


def test_a_provider_that_cannot_be_set_up_is_not_replaced_by_the_cpu() -> None:
    with pytest.raises(UsageError, match="cannot set up CUDA"), pytest.warns(UserWarning, match="CUDA"):
        session_on(tiny.square().SerializeToString(), session_options(True), ["CUDAExecutionProvider"])


def test_a_provider_that_answers_something_else_is_refused() -> None:
    class Wrong:
        def run(self, names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
            return [answer * 1.01 for answer in model.session().run(names, feeds)]

    model, feeds = onnxsal.load(tiny.square()), {"x": np.ones((2, 3), np.float32)}
    require_place(model, feeds, model.session(), "abacus", None)
    require_place(model, feeds, Wrong(), "abacus", 0.02)
    with pytest.raises(ParityError, match=r"on abacus, output .* by 0\.01 of its scale"):
        require_place(model, feeds, Wrong(), "abacus", None)
