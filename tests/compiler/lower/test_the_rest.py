"""Every other family against autograd: one function a line."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tests.compiler.lower.support import check, normal

ROWS = normal(2, 3, 4)
PICTURES = normal(2, 4, 6, 6)
PLACES = torch.tensor([[2, 0, 1], [1, 1, 3]])

FUNCTIONS = {
    # activations
    "relu": F.relu,
    "relu6": lambda x: F.relu6(x * 4),
    "gelu": F.gelu,
    "gelu by tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "elu": lambda x: F.elu(x, 0.7),
    "celu": lambda x: F.celu(x, 0.7),
    "selu": F.selu,
    "leaky": lambda x: F.leaky_relu(x, 0.2),
    "hard sigmoid": lambda x: F.hardsigmoid(x * 4),
    "hard swish": lambda x: F.hardswish(x * 4),
    "hard shrink": lambda x: F.hardshrink(x, 0.3),
    "soft shrink": lambda x: F.softshrink(x, 0.3),
    "soft plus": F.softplus,
    "soft sign": F.softsign,
    "mish": F.mish,
    "threshold": lambda x: F.threshold(x, 0.2, -1.0),
    "log sigmoid": F.logsigmoid,
    "prelu": lambda x: F.prelu(x, torch.tensor([0.2])),
    "softmax": lambda x: x.softmax(1),
    "log softmax": lambda x: x.log_softmax(-1),
    # element by element
    "clamp": lambda x: x.clamp(-0.5, 0.7),
    "power": lambda x: (x.abs() + 1) ** 1.7,
    "arc tangent of two": lambda x: torch.atan2(x, x.flip(1) + 0.1),
    "logarithm near one": lambda x: torch.log1p(x.abs() * 1e-3),
    "exponential near zero": lambda x: torch.expm1(x * 1e-3),
    "root": lambda x: (x.abs() + 0.5).sqrt() + (x.abs() + 0.5).rsqrt(),
    "choice": lambda x: torch.where(x > 0, x * 2, x.exp()),
    "remainder": lambda x: torch.remainder(x, 0.7) + torch.fmod(x, 0.7),
    "extremes": lambda x: torch.maximum(x, x.flip(1)) - torch.minimum(x, x * 0.5),
    "error function": lambda x: torch.erf(x) + torch.sinh(x) + torch.cosh(x),
    # shapes
    "slice with steps": lambda x: x[:, 1:, ::2],
    "slice from the end": lambda x: x[:, -2:],
    "select": lambda x: x[:, -1],
    "roll": lambda x: torch.roll(x, (1, -1), (1, 2)),
    "flip": lambda x: x.flip(1, 2),
    "repeat": lambda x: x.repeat(1, 2, 1),
    "pad": lambda x: F.pad(x, (1, 2, 0, 1), value=0.5),
    "cut by padding": lambda x: F.pad(x, (-1, -1)),
    "replicated edges": lambda x: F.pad(x, (1, 2), mode="replicate"),
    "reflected edges": lambda x: F.pad(x, (2, 1), mode="reflect"),
    "split": lambda x: torch.cat(x.split([1, 2], 1)[::-1], 1) * x.unbind(2)[1].unsqueeze(2),
    "windows": lambda x: x.unfold(2, 2, 1),
    "permuted": lambda x: x.permute(2, 0, 1).reshape(4, -1).T,
    "stacked": lambda x: torch.stack([x, x * 2], 1),
    "written into": lambda x: x.clone().index_fill_(1, torch.tensor([0]), 0.5).mul_(2),
    # places
    "one axis by index": lambda x: x[:, torch.tensor([0, 2, 0])],
    "two axes by index": lambda x: x[:, torch.tensor([0, 2]), torch.tensor([1, 1])],
    "gathered": lambda x: x.gather(2, x.argsort(2)),
    "added at places": lambda x: torch.zeros_like(x).scatter_add(2, x.argsort(2), x),
    "put by a mask": lambda x: x.masked_fill(x > 0.3, 0.0),
    "index add": lambda x: torch.zeros_like(x).index_add(1, torch.tensor([2, 2, 0]), x),
    # reductions
    "sums": lambda x: x.sum(1) + x.mean(1) + x.amax(1) + x.prod(1),
    "largest and place": lambda x: x.max(2).values,
    "variance": lambda x: x.var(2) + x.std((1, 2)).unsqueeze(1),
    "log of sums": lambda x: x.logsumexp(2),
    "norm": lambda x: x.norm(dim=2),
    "running sum": lambda x: x.cumsum(1),
    "running product": lambda x: x.cumprod(2),
    "top": lambda x: x.topk(2, 2).values,
    "sorted": lambda x: x.sort(2, descending=True).values,
    # products
    "matrices": lambda x: x @ x.transpose(1, 2),
    "matrix and vector": lambda x: x @ torch.tensor([1.0, -2.0, 0.5, 3.0]),
    "einsum": lambda x: torch.einsum("nij,nkj->nik", x, x),
    "attention": lambda x: F.scaled_dot_product_attention(x, x * 2, x + 1),
    "linear": lambda x: F.linear(x, normal(5, 4, seed=3), normal(5, seed=4)),
    # normalisation
    "layer norm": lambda x: F.layer_norm(x, (4,), normal(4, seed=5), normal(4, seed=6)),
    "layer norm of two axes": lambda x: F.layer_norm(x, (3, 4)),
    "root mean square": lambda x: x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5),
}

OF_PICTURES = {
    "batch norm": lambda x: F.batch_norm(x, normal(4), normal(4).abs() + 1, normal(4, seed=1), normal(4, seed=2)),
    "group norm": lambda x: F.group_norm(x, 2, normal(4, seed=1), normal(4, seed=2)),
    "instance norm": F.instance_norm,
    "nearest": lambda x: F.interpolate(x, size=(9, 4), mode="nearest"),
    "nearest twice": lambda x: F.interpolate(x, scale_factor=2, mode="nearest"),
    "nearest exact": lambda x: F.interpolate(x, size=(9, 4), mode="nearest-exact"),
    "bilinear": lambda x: F.interpolate(x, size=(9, 4), mode="bilinear"),
    "bilinear to the corners": lambda x: F.interpolate(x, size=(9, 4), mode="bilinear", align_corners=True),
    "bilinear by a factor": lambda x: F.interpolate(x, scale_factor=1.5, mode="bilinear"),
    "bicubic": lambda x: F.interpolate(x, size=(9, 4), mode="bicubic"),
    "pixel shuffle": lambda x: F.pixel_shuffle(x, 2),
    "replicated edges": lambda x: F.pad(x, (1, 2, 2, 0), mode="replicate"),
    "reflected edges": lambda x: F.pad(x, (1, 2, 2, 0), mode="reflect"),
    "grid": lambda x: F.grid_sample(x, torch.tanh(x[:, :2].permute(0, 2, 3, 1)), align_corners=False),
    "grid at borders": lambda x: F.grid_sample(
        x, x[:, :2].permute(0, 2, 3, 1), padding_mode="border", align_corners=True
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_rows(name):
    check(FUNCTIONS[name], ROWS)


@pytest.mark.parametrize("name", OF_PICTURES)
def test_pictures(name):
    check(OF_PICTURES[name], PICTURES, tolerance=5e-5)


@pytest.mark.parametrize("opset", [18, 21, 23])
def test_newer_opsets(opset):
    check(lambda x: F.layer_norm(x, (4,)).amax(1) + F.pad(x, (1, -1)).mean(1), ROWS, opset=opset)


def test_an_embedding_looked_up():
    table = normal(5, 4)
    check(lambda x: x + F.embedding(torch.tensor([[1, 3, 1]]), table), ROWS)


def test_a_gain_that_is_explained():
    check(lambda x, w: F.layer_norm(x, (4,), w), ROWS, normal(4, seed=1), open_batch=False)
    check(lambda x, w: F.group_norm(x, 2, w), PICTURES, normal(4, seed=1), open_batch=False)
    mean, variance = normal(4), normal(4).abs() + 1
    check(lambda x, w: F.batch_norm(x, mean, variance, w), PICTURES, normal(4, seed=1), open_batch=False)
