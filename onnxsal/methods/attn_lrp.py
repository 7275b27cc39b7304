"""AttnLRP."""

from __future__ import annotations

from collections.abc import Iterable

from onnxsal.entries import Method
from onnxsal.errors import UsageError
from onnxsal.hookspecs import hookimpl
from onnxsal.methods._lrp import Kind, Settings, meets_convolutions, relevance
from onnxsal.methods._rules import Missing
from onnxsal.types import Feeds, Score

FOR_PICTURES = 0.25
"""The gamma of vision transformers."""


def explain(
    score: Score, feeds: Feeds, *, epsilon: float = 1e-6, gamma: float | None = None, missing: Missing = "error"
) -> Feeds:
    """The score itself, handed back as relevance through attention, normalisation and gates of a transformer.

    Achtibat et al. 2024, AttnLRP: Attention-Aware Layer-Wise Relevance Propagation for Transformers (arXiv 2402.05602).
    LXT's README states that LRP is patented for commercial use.

    Args:
        epsilon: What keeps divisors away from zero.
        gamma: How much more positive summands of convolutions and dense layers count; none: 0.25 where the inputs first
            meet a convolution, as in a vision transformer, whose relevance explodes without, and 0 elsewhere.
        missing: What becomes of nodes that no rule is known for: an error, or the plain gradient and a note.
    """
    if epsilon < 0 or (gamma or 0) < 0:
        raise UsageError(f"epsilon={epsilon:g}, gamma={gamma or 0:g}", where="attn_lrp", hint="neither may be negative")
    if gamma is None:
        gamma = FOR_PICTURES if meets_convolutions(score) else 0.0
        if gamma:
            score.note(
                f"attn_lrp takes gamma={gamma:g}, for the inputs first meet a convolution; gamma=0 leaves it out"
            )
    kind: Kind = "gamma" if gamma else "epsilon"
    return relevance(score, feeds, Settings(kind, kind, kind, epsilon=epsilon, gamma=gamma), missing, "attn_lrp")


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("attn_lrp", explain, relevance=True)
