"""Layer-wise relevance propagation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from onnxsal.entries import Method, Rules
from onnxsal.errors import UsageError
from onnxsal.hookspecs import hookimpl
from onnxsal.methods._lrp import FAMILY, OPERATORS, Kind, Settings, relevance
from onnxsal.methods._rules import Missing, by_operator
from onnxsal.types import Feeds, Score

Composite = Literal[
    "epsilon_plus_flat",
    "epsilon_plus",
    "epsilon_gamma_box",
    "epsilon_alpha2_beta1",
    "epsilon_alpha2_beta1_flat",
    "epsilon",
]
Choice = Literal["composite", "epsilon", "gamma", "alpha_beta", "z_plus", "flat", "w_square", "z_box"]

COMPOSITES: dict[Composite, tuple[Kind, Kind, Kind]] = {
    "epsilon_plus_flat": ("flat", "z_plus", "epsilon"),
    "epsilon_plus": ("z_plus", "z_plus", "epsilon"),
    "epsilon_gamma_box": ("z_box", "gamma", "epsilon"),
    "epsilon_alpha2_beta1": ("alpha_beta", "alpha_beta", "epsilon"),
    "epsilon_alpha2_beta1_flat": ("flat", "alpha_beta", "epsilon"),
    "epsilon": ("epsilon", "epsilon", "epsilon"),
}
"""The rules of the first weighted sums, of other convolutions, and of other dense layers."""


def explain(
    score: Score,
    feeds: Feeds,
    *,
    composite: Composite = "epsilon_plus_flat",
    first: Choice = "composite",
    convolution: Choice = "composite",
    dense: Choice = "composite",
    epsilon: float = 1e-6,
    gamma: float = 0.25,
    alpha: float = 2.0,
    beta: float = 1.0,
    low: float | None = None,
    high: float | None = None,
    missing: Missing = "error",
) -> Feeds:
    """The score itself, handed back node by node as relevance (LRP).

    Every node of the graph is a place of its own; batch normalisation is folded into the weighted sum before it. Bach
    et al. 2015, On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise Relevance Propagation
    (doi 10.1371/journal.pone.0130140); the rules as in Montavon et al. 2019, Layer-Wise Relevance Propagation: An
    Overview (doi 10.1007/978-3-030-28954-6_10). LXT's README states that LRP is patented for commercial use.

    Args:
        composite: Which rule the first weighted sums, other convolutions and other dense layers have.
        first: Another rule for the first weighted sums than the composite's.
        convolution: Another rule for the other convolutions.
        dense: Another rule for the other dense layers.
        epsilon: What keeps divisors away from zero.
        gamma: How much more positive summands count, for gamma.
        alpha: How often positive summands count, for alpha_beta.
        beta: How often negative summands count, for alpha_beta; alpha - beta is 1.
        low: The smallest number the first layer can be fed, for z_box; none: the smallest it is fed.
        high: The largest number the first layer can be fed, for z_box; none: the largest it is fed.
        missing: What becomes of nodes that no rule is known for: an error, or the plain gradient and a note.
    """
    if abs(alpha - beta - 1) > 1e-9:
        raise UsageError(f"alpha={alpha:g} less beta={beta:g} is not 1", where="lrp", hint="alpha=2 beta=1 is usual")
    if epsilon < 0 or gamma < 0:
        raise UsageError(f"epsilon={epsilon:g}, gamma={gamma:g}", where="lrp", hint="neither may be negative")
    usual = COMPOSITES[composite]
    settings = Settings(
        first=usual[0] if first == "composite" else first,
        convolution=usual[1] if convolution == "composite" else convolution,
        dense=usual[2] if dense == "composite" else dense,
        epsilon=epsilon,
        gamma=gamma,
        alpha=alpha,
        beta=beta,
        low=low,
        high=high,
    )
    return relevance(score, feeds, settings, missing, "lrp")


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("lrp", explain, relevance=True)


@hookimpl
def onnxsal_rules() -> Iterable[Rules]:
    yield Rules("lrp", FAMILY, by_operator(OPERATORS))
