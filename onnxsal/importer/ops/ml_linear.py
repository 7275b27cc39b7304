"""Linear models and support vector machines of ``ai.onnx.ml``; the scores are differentiable, the labels are not."""

from __future__ import annotations

from itertools import combinations
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onnxsal.errors import ImportFault
from onnxsal.importer.classes import Labels, check_transform, of_two, probit, rows, transformed
from onnxsal.importer.operator import AsIs, layer, op

DOMAIN = "ai.onnx.ml"
KERNELS = ("LINEAR", "POLY", "RBF", "SIGMOID")


@op("LinearRegressor", domain=DOMAIN)
def linear_regressor(
    x: Tensor,
    *,
    coefficients: list[float] | None = None,
    intercepts: list[float] | None = None,
    post_transform: str = "NONE",
    targets: int = 1,
) -> Tensor:
    """Weigh the features and add them up, for each target."""
    given = dict(locals())
    return cast("Tensor", _run(LinearRegressor, given))


@layer(linear_regressor)
class LinearRegressor(nn.Module):
    """A linear model with one row of weights for each target."""

    def __init__(
        self,
        *,
        coefficients: list[float] | None = None,
        intercepts: list[float] | None = None,
        post_transform: str = "NONE",
        targets: int = 1,
    ) -> None:
        super().__init__()
        self.transform = check_transform(post_transform)
        self.weight = _parameter(coefficients).reshape(targets, -1)
        self.bias = _parameter(intercepts) if intercepts else None

    def forward(self, x: Tensor) -> Tensor:
        """Return one column for each target."""
        scores = F.linear(rows(x), self.weight, self.bias)
        if scores.shape[1] > 1:
            return transformed(scores, self.transform)
        return probit(scores) if self.transform == "PROBIT" else scores  # ONNX Runtime leaves a single one as it is


def _parameter(values: list[float] | None) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values or [], dtype=torch.float32), requires_grad=False)


def _run(kind: type[nn.Module], given: dict[str, Any]) -> Any:
    """Make the model from a function's arguments, and run it: the way where no layer could be made before."""
    x = given.pop("x")
    return kind(**given).to(x.device)(x)


@op("LinearClassifier", domain=DOMAIN)
def linear_classifier(
    x: Tensor,
    *,
    classlabels_ints: list[int] | None = None,
    classlabels_strings: list[str] | None = None,
    coefficients: list[float],
    intercepts: list[float] | None = None,
    multi_class: int = 0,
    post_transform: str = "NONE",
) -> tuple[AsIs, Tensor]:
    """Weigh the features for each class; give the best class and all scores."""
    given = dict(locals())
    return cast("tuple[Any, Tensor]", _run(LinearClassifier, given))


@layer(linear_classifier, gives_all=True)
class LinearClassifier(nn.Module):
    """A linear model with one row of weights for each class, or one row that parts two classes."""

    def __init__(
        self,
        *,
        coefficients: list[float],
        classlabels_ints: list[int] | None = None,
        classlabels_strings: list[str] | None = None,
        intercepts: list[float] | None = None,
        multi_class: int = 0,
        post_transform: str = "NONE",
    ) -> None:
        super().__init__()
        del multi_class  # says how the model was trained, not what it answers
        self.transform = check_transform(post_transform)
        self.labels = Labels(classlabels_ints, classlabels_strings)
        self.weight = _parameter(coefficients).reshape(len(intercepts) if intercepts else len(self.labels), -1)
        self.bias = _parameter(intercepts) if intercepts else None
        if len(self.weight) == 1 and len(self.labels) != 2:
            raise ImportFault(f"one score parts two classes, {len(self.labels)} are named", where="LinearClassifier")
        if len(self.weight) == 1 and post_transform == "PROBIT":
            raise ImportFault("PROBIT is not defined for two classes with one score", where="LinearClassifier")

    def forward(self, x: Tensor) -> tuple[Any, Tensor]:
        """Return a label and a row of scores for each example."""
        x = rows(x)
        scores = F.linear(x, _for_features(self.weight, x.shape[1]), self.bias)
        if scores.shape[1] > 1:
            return self.labels(scores.argmax(1)), transformed(scores, self.transform)
        logistic = self.transform == "LOGISTIC"  # the one transform that ONNX Runtime knows here
        return self.labels((scores[:, 0] > 0).long()), of_two(scores, opposite=False, logistic=logistic)


def _for_features(weight: Tensor, features: int) -> Tensor:
    """Return the weights for that many features; a list that is too long is read from its beginning.

    Such files exist (ONNX Runtime's own sample is one), and this is what ONNX Runtime answers for them.
    """
    classes, given = weight.shape
    return weight.reshape(-1)[: classes * features].reshape(classes, features) if given > features else weight


class _Kernel(nn.Module):
    """How alike an example is to each support vector."""

    def __init__(self, kind: str, parameters: list[float] | None) -> None:
        super().__init__()
        if kind not in KERNELS:
            raise ImportFault(f"kernel_type {kind!r} is unknown", hint=f"known: {', '.join(KERNELS)}")
        self.kind = kind
        self.gamma, self.coef0, self.degree = (parameters or [0.0, 0.0, 0.0])[:3]

    def forward(self, x: Tensor, vectors: Tensor) -> Tensor:
        if self.kind == "RBF":
            return torch.exp(-self.gamma * (x.unsqueeze(1) - vectors).square().sum(-1))
        product = F.linear(x, vectors)
        if self.kind == "LINEAR":
            return product
        bent = self.gamma * product + self.coef0
        return torch.tanh(bent) if self.kind == "SIGMOID" else bent**self.degree


@op("SVMRegressor", domain=DOMAIN)
def svm_regressor(
    x: Tensor,
    *,
    coefficients: list[float] | None = None,
    kernel_params: list[float] | None = None,
    kernel_type: str = "LINEAR",
    n_supports: int = 0,
    one_class: int = 0,
    post_transform: str = "NONE",
    rho: list[float] | None = None,
    support_vectors: list[float] | None = None,
) -> Tensor:
    """Weigh an example's likeness to each support vector; or say whether it belongs to the one class."""
    given = dict(locals())
    return cast("Tensor", _run(SVMRegressor, given))


@layer(svm_regressor)
class SVMRegressor(nn.Module):
    """A support vector regression; without vectors, a linear one."""

    def __init__(
        self,
        *,
        coefficients: list[float] | None = None,
        kernel_params: list[float] | None = None,
        kernel_type: str = "LINEAR",
        n_supports: int = 0,
        one_class: int = 0,
        post_transform: str = "NONE",
        rho: list[float] | None = None,
        support_vectors: list[float] | None = None,
    ) -> None:
        super().__init__()
        check_transform(post_transform)  # which ONNX Runtime reads and does not apply
        self.one_class = bool(one_class)
        self.weight = _parameter(coefficients).reshape(1, -1)
        self.bias = _parameter((rho or [0.0])[:1])
        self.kernel = _Kernel(kernel_type, kernel_params)
        self.vectors = _parameter(support_vectors).reshape(n_supports, -1) if n_supports else None

    def forward(self, x: Tensor) -> Tensor:
        """Return one column."""
        x = rows(x)
        likeness = x if self.vectors is None else self.kernel(x, self.vectors)
        score = F.linear(likeness, self.weight, self.bias)
        return torch.where(score > 0, 1.0, -1.0) if self.one_class else score


@op("SVMClassifier", domain=DOMAIN)
def svm_classifier(
    x: Tensor,
    *,
    classlabels_ints: list[int] | None = None,
    classlabels_strings: list[str] | None = None,
    coefficients: list[float] | None = None,
    kernel_params: list[float] | None = None,
    kernel_type: str = "LINEAR",
    post_transform: str = "NONE",
    prob_a: list[float] | None = None,
    prob_b: list[float] | None = None,
    rho: list[float] | None = None,
    support_vectors: list[float] | None = None,
    vectors_per_class: list[int] | None = None,
) -> tuple[AsIs, Tensor]:
    """Let each pair of classes vote by the likeness to their support vectors; give the winner and the scores."""
    given = dict(locals())
    return cast("tuple[Any, Tensor]", _run(SVMClassifier, given))


@layer(svm_classifier, gives_all=True)
class SVMClassifier(nn.Module):
    """A support vector classifier: one against one with support vectors, one against the rest without."""

    def __init__(
        self,
        *,
        classlabels_ints: list[int] | None = None,
        classlabels_strings: list[str] | None = None,
        coefficients: list[float] | None = None,
        kernel_params: list[float] | None = None,
        kernel_type: str = "LINEAR",
        post_transform: str = "NONE",
        prob_a: list[float] | None = None,
        prob_b: list[float] | None = None,
        rho: list[float] | None = None,
        support_vectors: list[float] | None = None,
        vectors_per_class: list[int] | None = None,
    ) -> None:
        super().__init__()
        self.transform = check_transform(post_transform)
        self.labels = Labels(classlabels_ints, classlabels_strings)
        self.pairs = list(combinations(range(len(self.labels)), 2))
        self.kernel = _Kernel(kernel_type, kernel_params)
        counts = vectors_per_class or []
        self.vectors = _parameter(support_vectors).reshape(sum(counts), -1) if sum(counts) else None
        self.all_positive = all(c >= 0 for c in coefficients or ())
        self.calibration = _calibration(prob_a, prob_b, len(self.pairs))
        if self.vectors is None:
            self.weight = _parameter(coefficients).reshape(len(self.labels), -1)
            self.bias = _parameter((rho or [0.0])[:1])
        else:
            self.weight = _pair_weights(coefficients or [], counts, self.pairs)
            self.bias = _parameter((rho or [])[: len(self.pairs)])
        if len(self.pairs) == 1 and self.vectors is not None and not prob_a and post_transform == "PROBIT":
            raise ImportFault("PROBIT is not defined for two classes with one score", where="SVMClassifier")

    def forward(self, x: Tensor) -> tuple[Any, Tensor]:
        """Return a label and a row of scores for each example."""
        x = rows(x)
        return self._one_against_rest(x) if self.vectors is None else self._one_against_one(x)

    def _one_against_rest(self, x: Tensor) -> tuple[Any, Tensor]:
        scores = F.linear(x, self.weight, self.bias.expand(len(self.weight)))
        best, place = scores.max(1)
        if len(self.labels) == 2:
            won = best >= 0.5 if self.all_positive else best > 0
            place = torch.where(won, 1, place)
        return self.labels(place), transformed(scores, self.transform) if len(self.labels) > 1 else scores

    def _one_against_one(self, x: Tensor) -> tuple[Any, Tensor]:
        likeness = self.kernel(x, self.vectors).double()
        exact = F.linear(likeness, self.weight.double(), self.bias.double())  # ONNX Runtime, too, adds up in double
        scores, label = exact.float(), self.labels(self._votes(exact).argmax(1))
        if self.calibration is not None:
            return label, transformed(_coupled(_calibrated(scores, self.calibration), self.pairs), self.transform)
        if len(self.pairs) == 1:
            return label, of_two(scores, opposite=self.transform == "NONE", logistic=self.transform == "LOGISTIC")
        return label, transformed(scores, self.transform)

    def _votes(self, scores: Tensor) -> Tensor:
        first = torch.tensor([a for a, _ in self.pairs], device=scores.device)
        second = torch.tensor([b for _, b in self.pairs], device=scores.device)
        votes = torch.zeros(scores.shape[0], len(self.labels), dtype=torch.int64, device=scores.device)
        chosen = torch.where(scores > 0, first, second)
        return votes.scatter_add(1, chosen, torch.ones_like(chosen))


def _pair_weights(coefficients: list[float], counts: list[int], pairs: list[tuple[int, int]]) -> nn.Parameter:
    """Return each pair's weights over all support vectors, zero for vectors of other classes.

    The file's row r of a class's vectors is about its r-th rival, the class itself not counted.
    """
    total = sum(counts)
    given = torch.tensor(coefficients).reshape(-1, total)
    weights = torch.zeros(len(pairs), total)
    starts = [sum(counts[:c]) for c in range(len(counts) + 1)]
    for row, (a, b) in enumerate(pairs):
        weights[row, starts[a] : starts[a + 1]] = given[b - 1, starts[a] : starts[a + 1]]
        weights[row, starts[b] : starts[b + 1]] = given[a, starts[b] : starts[b + 1]]
    return nn.Parameter(weights, requires_grad=False)


def _calibration(a: list[float] | None, b: list[float] | None, pairs: int) -> nn.Parameter | None:
    if not a or not b:
        return None
    return nn.Parameter(torch.tensor([a[:pairs], b[:pairs]]), requires_grad=False)


def _calibrated(scores: Tensor, calibration: Tensor) -> Tensor:
    """Return each pair's probability of its first class."""
    return torch.sigmoid(-(scores * calibration[0] + calibration[1])).clamp(1e-7, 1 - 1e-7)


def _coupled(chances: Tensor, pairs: list[tuple[int, int]]) -> Tensor:
    """Return the probabilities of the classes that fit the pairs' best (Wu, Lin and Weng 2004, second method).

    The value is that of the iteration that ONNX Runtime stops early; the gradient that of the exact solution.
    """
    classes = pairs[-1][1] + 1
    first, second = (list(side) for side in zip(*pairs, strict=True))
    won = chances.new_zeros(chances.shape[0], classes, classes)
    won[:, first, second] = chances
    won[:, second, first] = 1 - chances
    against = won.transpose(1, 2)
    q = torch.diag_embed((against * against).sum(2)) - against * won
    exact = _solved(q)
    return exact + (_iterated(q.detach()) - exact).detach()


def _solved(q: Tensor) -> Tensor:
    """Return the p of sum one that minimises p'Qp."""
    ones = q.new_ones(q.shape[0], q.shape[1], 1)
    solution: Tensor = torch.linalg.solve(q.double(), ones.double()).squeeze(2)
    return (solution / solution.sum(1, keepdim=True)).to(q.dtype)


def _iterated(q: Tensor) -> Tensor:
    """Return the same by the published iteration, each example until its own error is small."""
    classes = q.shape[1]
    p = torch.full_like(q[:, 0], 1 / classes)
    for _ in range(100):
        qp = torch.einsum("nij,nj->ni", q, p)
        pqp = (p * qp).sum(1, keepdim=True)
        running = (qp - pqp).abs().amax(1, keepdim=True) >= 0.005 / classes
        if not bool(running.any()):
            break
        p = torch.where(running, _swept(q, p, qp, pqp), p)
    return p


def _swept(q: Tensor, p: Tensor, qp: Tensor, pqp: Tensor) -> Tensor:
    """Move one class's probability after the other."""
    for i in range(q.shape[1]):
        own = q[:, i, i : i + 1]
        step = (pqp - qp[:, i : i + 1]) / own
        p = p + step * torch.eye(q.shape[1], dtype=q.dtype, device=q.device)[i]
        pqp = (pqp + step * (step * own + 2 * qp[:, i : i + 1])) / (1 + step) ** 2
        qp, p = (qp + step * q[:, i]) / (1 + step), p / (1 + step)
    return p
