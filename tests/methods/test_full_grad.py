"""FullGrad: shares that sum to the score, and the map that is drawn of them."""

from __future__ import annotations

import io
import warnings

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import onnxsal
from onnxsal.engines.torch import TorchEngine
from onnxsal.errors import UsageError
from onnxsal.methods.full_grad import shares
from onnxsal.score import BoundScore
from onnxsal.types import Target
from tests.methods.models import cnn

X = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
TARGETS = [2, 0, 1]


def network() -> nn.Module:
    torch.manual_seed(3)
    return cnn().double().eval()


def exported(module: nn.Module, folded: bool) -> onnxsal.Model:
    """Return the module as ONNX; the exporter folds batch normalisation into convolutions unless told not to."""
    data = io.BytesIO()
    training = torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        axes = {"x": {0: "N"}, "scores": {0: "N"}}
        options = {"input_names": ["x"], "output_names": ["scores"], "dynamic_axes": axes, "training": training}
        torch.onnx.export(module, (X,), data, dynamo=False, do_constant_folding=folded, **options)
    return onnxsal.load(onnx.load_from_string(data.getvalue()))


@pytest.mark.parametrize("folded", [True, False])
def test_the_shares_of_a_network_of_rectifiers_sum_to_its_score(folded: bool) -> None:
    model = exported(network(), folded)
    operators = {node.op_type for node in model.graph.nodes}
    assert ("BatchNormalization" in operators) is not folded
    score = BoundScore(
        TorchEngine(model, "cpu"), {"x": X}, ["x"], [Target("scores", (t,)) for t in TARGETS], stacked=True
    )
    total = sum(share.flatten(1).sum(1) for _, share in shares(score, {"x": X}))
    torch.testing.assert_close(total, score({"x": X}), rtol=1e-9, atol=1e-12)


def test_biases_that_are_added_or_taken_away_count_like_any_other() -> None:
    text = """
        <ir_version: 8, opset_import: ["" : 17]>
        sums (double[n, 3] x) => (double[n, 2] y)
          <double[3] a = {1, -2, 3}, double[3] b = {0.5, 0.25, -1}, double[3, 2] w = {1, 2, 3, 4, 5, 6},
           double[2] c = {7, 8}> {
          p = Add(a, x) q = Sub(p, b) r = Sub(a, q) s = Relu(r) y = Gemm<beta = 0.5>(s, w, c)
        }
    """
    model = onnxsal.load(onnx.parser.parse_model(text))
    x = torch.tensor([[0.5, -3.0, 2.0], [1.0, 2.0, -4.0]], dtype=torch.float64)
    score = BoundScore(TorchEngine(model, "cpu"), {"x": x}, ["x"], [Target("y", (1,))] * 2, stacked=True)
    found = dict(shares(score, {"x": x}))
    assert set(found) == {"x", "p", "q", "r", "y"}
    total = sum(share.flatten(1).sum(1) for share in found.values())
    torch.testing.assert_close(total, score({"x": x}), rtol=1e-12, atol=1e-12)


def stretched(values: Tensor) -> Tensor:
    values = values.abs()
    return (values - values.min()) / (values.max() - values.min())


def test_the_map_is_the_papers_laid_over_the_picture() -> None:
    """The same from torch's own layers: the folded network's two convolutions, one example after the other."""
    module = network()
    result = onnxsal.explain(exported(module, True), {"x": X}, method="full_grad", target=TARGETS, verify=False)
    first = nn.utils.fuse_conv_bn_eval(module[0], module[1])
    second, head = module[3], nn.Sequential(*list(module)[4:])
    for example, target in enumerate(TARGETS):
        x = X[example : example + 1].clone().requires_grad_()
        early = first(x)
        late = second(early.relu())
        slopes = torch.autograd.grad(head(late)[0, target], [x, early, late])
        expected = stretched(x.detach() * slopes[0]).sum(1)
        for layer, slope in ((first, slopes[1]), (second, slopes[2])):
            share = stretched(layer.bias.detach()[:, None, None] * slope)
            expected += functional.interpolate(share, size=(8, 8), mode="bilinear").sum(1)
        for channel in result.values["x"][example]:
            np.testing.assert_allclose(channel, expected[0], rtol=1e-8)


def test_without_a_convolution_it_is_refused() -> None:
    from tests.methods.models import inputs_of, model

    with pytest.raises(UsageError, match="no convolution"):
        onnxsal.explain(model("mlp"), inputs_of("mlp"), method="full_grad", verify=False)
