"""Flexible attention: ONNX's cases hold the values; here its gradient and its trace."""

from __future__ import annotations

import numpy as np
import torch
from onnx import TensorProto, helper

from tests.importer.ops.support import check


def _graph(op_type: str) -> object:
    port = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    return helper.make_graph([helper.make_node(op_type, ["x"], ["y"])], op_type, port[:1], port[1:])


def test_sub_graphs_change_scores_and_probabilities() -> None:
    random = np.random.default_rng(0)
    q, k, v = (random.standard_normal(s).astype(np.float32) for s in ((2, 4, 3, 2), (2, 2, 5, 2), (2, 2, 5, 3)))
    wide = [torch.from_numpy(x).repeat_interleave(4 // x.shape[1], 1) for x in (q, k, v)]
    scores = torch.tanh(wide[0] @ wide[1].transpose(-1, -2) * 0.5)
    expected = scores.softmax(-1).sqrt() @ wide[2]
    check(
        "FlexAttention", [q, k, v], opset=1, domain="ai.onnx.preview", expected=[expected.numpy()], gradient=True,
        trace=True, scale=0.5, score_mod=_graph("Tanh"), prob_mod=_graph("Sqrt"),
    )  # fmt: skip
