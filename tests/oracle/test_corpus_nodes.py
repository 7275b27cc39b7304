"""Models whose outputs drift apart from ONNX Runtime's agree with it node by node.

Every node is handed the very numbers that ONNX Runtime hands it. What is left between the whole outputs is then what a
float's last bit grows to on the way: a node that computed something else would be found here.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import onnxsal
from onnxsal.importer.build import build
from onnxsal.importer.graph import Graph
from onnxsal.importer.values import to_host, to_tensor
from onnxsal.types import Port
from tests import corpus

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]

ROUNDING = 3e-6
"""How far sums of single precision that are added up in another order may be apart, as a part of the largest."""


@pytest.mark.parametrize(
    "name", ["swift_f0", "tashkeel_bilstm_int8", "traceforge_t5_encoder", "voicefilter_embedder_int8"]
)
def test_every_node_answers_what_onnxruntime_answers(name: str) -> None:
    model = onnxsal.load(corpus.model(name))
    names = [output for node in model.graph.nodes for output in node.outputs if output]
    known = dict(corpus.inputs(name))
    session = model.session(optimised=False, inner=names)
    known |= dict(zip(names, session.run(names, known), strict=True))
    for graph in _nodes(model.graph, known):
        answers = build(graph)(*(to_tensor(np.array(known[port.name])) for port in graph.inputs))
        for port, answer in zip(graph.outputs, answers, strict=True):
            _agree(to_host(answer), np.asarray(known[port.name]), str(graph.nodes[0]))


def _nodes(graph: Graph, known: dict[str, np.ndarray]) -> list[Graph]:
    """Return a graph of each node, with its own constants."""
    alone = []
    for node in graph.nodes:
        assert not node.subgraphs
        inputs = [name for name in dict.fromkeys(node.inputs) if name and name not in graph.constants]
        constants = {name: graph.constants[name] for name in node.inputs if name in graph.constants}
        ports = [
            tuple(Port(name, np.asarray(known[name]).dtype.name, np.shape(known[name])) for name in some)
            for some in (inputs, [name for name in node.outputs if name])
        ]
        alone.append(replace(graph, nodes=(node,), inputs=ports[0], outputs=ports[1], constants=constants))
    return alone


def _agree(ours: np.ndarray, theirs: np.ndarray, where: str) -> None:
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape), where
    if theirs.dtype.kind != "f":
        np.testing.assert_array_equal(ours, theirs, err_msg=where)
    else:
        finite = np.abs(theirs[np.isfinite(theirs)])
        room = ROUNDING * finite.max() if finite.size else 0.0
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=room, err_msg=where)
