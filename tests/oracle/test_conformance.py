"""ONNX's own cases through the importer, with the gaps that are known and why."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Any

import onnx
import onnx.backend.test
import pytest
from onnx.backend.test.runner import Runner

import onnxsal
from onnxsal.parity import first_divergence
from tests.oracle.node_cases import cases, fault, is_ordinary

pytestmark = pytest.mark.oracle

DATA = Path(onnx.backend.test.__file__).parent / "data"
FOLDERS = ("simple", "pytorch-operator", "pytorch-converted")


def known_gaps() -> dict[str, str]:
    """Return the patterns of the cases that are known to fail, with the reasons."""
    lines = (Path(__file__).parent / "known_gaps.txt").read_text().splitlines()
    return dict(line.split(" | ", 1) for line in lines if line and not line.startswith("#"))


def is_known(name: str) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in known_gaps())


@pytest.fixture(scope="module")
def node_faults() -> dict[str, str | None]:
    """Return why each node case fails; None where it passes."""
    return {name: fault(case) for name, case in cases().items()}


def test_every_node_case_passes_but_the_known_gaps(node_faults: dict[str, str | None]) -> None:
    unknown = {name: reason for name, reason in node_faults.items() if reason and not is_known(name)}
    assert unknown == {}


def test_no_known_gap_has_closed(node_faults: dict[str, str | None]) -> None:
    folders = {path.name for folder in FOLDERS for path in (DATA / folder).iterdir()}
    closed = [name for name, reason in node_faults.items() if reason is None and is_known(name)]
    unused = [p for p in known_gaps() if not fnmatch.filter([*node_faults, *folders], p)]
    assert (closed, unused) == ([], [])


def test_the_promised_number_of_ordinary_cases_passes(node_faults: dict[str, str | None]) -> None:
    ordinary = [name for name, case in cases().items() if is_ordinary(case)]
    passing = [name for name in ordinary if node_faults[name] is None]
    print(f"{len(passing)} of {len(ordinary)} ordinary node cases pass, {len(cases())} in all")
    assert len(ordinary) >= 1600
    assert len(passing) >= 0.983 * len(ordinary)


def stored_case(folder: Path) -> Any:
    """Return a case that is stored as files, in the form of a node case."""
    model = onnx.load(folder / "model.onnx")
    data = [
        tuple(
            [read(path, value.type) for path, value in zip(paths(data, kind), ports, strict=False)]
            for kind, ports in (("input", model.graph.input), ("output", model.graph.output))
        )
        for data in sorted(folder.glob("test_data_set_*"))
    ]
    return onnx.backend.test.case.test_case.TestCase(
        folder.name, folder.name, None, str(folder), model, data, "stored", 1e-3, 1e-7
    )


def paths(folder: Path, kind: str) -> list[Path]:
    return sorted(folder.glob(f"{kind}_*.pb"), key=lambda p: int(p.stem.split("_")[1]))


def read(path: Path, kind: onnx.TypeProto) -> Any:
    """Return a stored value: a tensor, or a sequence of them."""
    if kind.HasField("sequence_type"):
        return onnx.numpy_helper.to_list(onnx.SequenceProto.FromString(path.read_bytes()))
    return onnx.numpy_helper.to_array(onnx.TensorProto.FromString(path.read_bytes()))


@pytest.mark.parametrize("folder", FOLDERS)
def test_stored_cases_pass(folder: str) -> None:
    faults = {path.name: fault(stored_case(path)) for path in sorted((DATA / folder).iterdir())}
    assert {name: reason for name, reason in faults.items() if reason and not is_known(name)} == {}
    assert [name for name, reason in faults.items() if reason is None and is_known(name)] == []


@pytest.mark.parametrize("path", sorted((DATA / "light").glob("*.onnx")), ids=lambda p: p.stem)
def test_light_models_answer_as_onnx_runtime_does(path: Path) -> None:
    """Their weights are one number over and over: logits of 1e19, of which only the last Softmax keeps the rounding."""
    model = onnxsal.load(path)
    proto = {port.name: port for port in onnx.load(path).graph.input}
    feeds = {p.name: Runner.generate_dummy_data(proto[p.name], name=path.stem) for p in model.inputs}
    found = first_divergence(model, feeds, "cpu", 1e-4)
    assert found is None or found.op_type == "Softmax"
