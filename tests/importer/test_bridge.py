from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from onnxsal.importer import bridge
from onnxsal.importer.build import build
from onnxsal.importer.graph import Graph, Node
from onnxsal.importer.lookup import Lookup
from onnxsal.types import Port
from tests import models_for_tests as tiny


def through_bridge(op_type: str, opset: int, *constants: np.ndarray, **attributes: object) -> torch.fx.GraphModule:
    """Build a one-node graph with none of our own operators."""
    names = [f"c{i}" for i in range(len(constants))]
    node = Node("node", op_type, "", opset, ("x", *names), ("y",), attributes)
    ports = (Port("x", "float32", None),), (Port("y", "float32", None),)
    return build(Graph("g", *ports, (node,), dict(zip(names, constants, strict=True))), Lookup([]))


def test_a_converter_serves_later_opsets_of_the_same_schema() -> None:
    node = Node("relu", "Relu", "", 22, ("x",), ("y",))
    found = bridge.find(node)
    assert found is not None
    assert found.version == 14
    assert found.provider.distribution == "onnx2torch"
    (y,) = through_bridge("Relu", 22)(torch.tensor([-1.0, 2.0]))
    assert y.tolist() == [0, 2]


def test_constants_reach_the_converter() -> None:
    (y,) = through_bridge("Reshape", 13, np.array([3, 2]))(torch.arange(6.0).reshape(2, 3))
    assert y.shape == (3, 2)


def test_another_meaning_is_not_served() -> None:
    assert bridge.find(Node("s", "Softmax", "", 26, ("x",), ("y",))) is not None
    assert bridge.find(Node("s", "NoSuchOperator", "", 17, ("x",), ("y",))) is None


BROKEN = "RuntimeError('operator torchvision::nms does not exist')"
MISSING = "ModuleNotFoundError('No module named torchvision')"
SCRIPT = """
import sys, warnings, numpy as np, onnx, onnxsal
from onnxsal.errors import ImportFault
a = onnxsal.explain(sys.argv[1], {"x": np.ones((1, 3), np.float32)}, target=0)
print(a.values["x"].tolist())
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    try:
        onnxsal.load(sys.argv[2]).torch()
    except ImportFault as fault:
        print(fault)
print(*(w.message for w in caught))
"""


@pytest.mark.parametrize("fault", [BROKEN, MISSING])
def test_without_a_working_torchvision_only_onnx2torchs_operators_are_missing(fault: str, tmp_path: Path) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(f"raise {fault}")
    nodes = [onnx.helper.make_node("Frobnicate", ["x"], ["y"], name="odd")]
    odd = tiny.model(nodes, [("x", tiny.FLOAT, ["N", 3])], [("y", tiny.FLOAT, ["N", 3])])
    paths = [str(tiny.save(tiny.linear(), tmp_path)), str(tiny.save(odd, tmp_path, "odd.onnx"))]
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, *paths],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert str([abs(tiny.WEIGHT[:, 0]).tolist()]) in run.stdout
    assert "node 'odd' (Frobnicate, opset 17)" in run.stdout
    kind, _, what = fault.removesuffix("')").partition("('")
    assert f"onnx2torch cannot be imported ({kind}: {what})" in run.stdout


@pytest.mark.oracle
def test_no_operator_is_left_to_a_converter_alone() -> None:
    """Everything onnx2torch converts in the standard domain, we serve ourselves: no converter has to be denied."""
    from onnx2torch.node_converters.registry import _CONVERTER_REGISTRY

    from onnxsal.importer.lookup import default_lookup
    from onnxsal.importer.operator import Operator

    theirs = {(d.operation_type, d.version) for d in _CONVERTER_REGISTRY if not d.domain}
    left = [
        (name, version)
        for name, version in sorted(theirs)
        if not isinstance(default_lookup().find(Node("n", name, "", version, (), ("y",))), Operator)
        and name not in {"Constant"}
    ]
    assert left == []


def test_nodes_go_back_to_protobuf_whole() -> None:
    attributes = {"to": 1, "alpha": 0.5, "axes": [1, 2], "mode": "linear", "value": np.float32([1, 2])}
    proto = bridge.to_proto(Node("n", "Thing", "acme", 1, ("a", ""), ("b",), attributes))
    back = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
    assert back["to"] == 1
    assert list(back["axes"]) == [1, 2]
    assert back["mode"] == b"linear"
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(back["value"]), [1, 2])
    assert list(proto.input) == ["a", ""]
