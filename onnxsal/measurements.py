"""What measuring explanations gives: figures for one, and a ranking of several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from onnxsal.types import SCHEMA, Attribution, plain


@dataclass(frozen=True)
class Measurement:
    """One metric of one explanation.

    Args:
        metric: The metric's name.
        options: Its options, defaults included.
        higher_is_better: Which way methods are ranked.
        values: One number per example; NaN where the metric has no answer.
        seconds: How long measuring took.
    """

    metric: str
    options: Mapping[str, Any]
    higher_is_better: bool
    values: np.ndarray
    seconds: float

    @property
    def mean(self) -> float:
        """The mean over the examples that have a number; NaN where none has."""
        return mean_of(self.values)

    @property
    def deviation(self) -> float:
        """The sample standard deviation over the examples that have a number; NaN for less than two."""
        return deviation_of(self.values)

    @property
    def meta(self) -> dict[str, Any]:
        """All facts, as plain JSON values."""
        return plain(  # type: ignore[no-any-return]
            {
                "options": self.options,
                "higher_is_better": self.higher_is_better,
                "mean": self.mean,
                "deviation": self.deviation,
                "values": self.values,
                "seconds": round(self.seconds, 4),
            }
        )


@dataclass(frozen=True, repr=False)
class Evaluation:
    """One method measured.

    Args:
        attribution: The explanation that was measured.
        measurements: By the metrics' names.
        skipped: The metrics that nobody asked for by name and that could not be measured, and why.
    """

    attribution: Attribution
    measurements: Mapping[str, Measurement]
    skipped: Mapping[str, str] = field(default_factory=dict)

    @property
    def meta(self) -> dict[str, Any]:
        """All facts, as plain JSON values."""
        measured = {name: measurement.meta for name, measurement in self.measurements.items()}
        return {**self.attribution.meta, "metrics": measured, "skipped": dict(self.skipped)}

    def __repr__(self) -> str:
        told = ", ".join(f"{name} {one.mean:.4g}" for name, one in self.measurements.items())
        return f"<Evaluation of {self.attribution.method}: {told}>"


@dataclass(frozen=True, repr=False)
class Comparison:
    """Several methods measured on the same inputs.

    Args:
        evaluations: By the methods' names, with options as they were asked for.
        left_out: The methods that could not explain the answer, or not as they promise, and why.
    """

    evaluations: Mapping[str, Evaluation]
    left_out: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def ranks(self) -> dict[str, dict[str, np.ndarray]]:
        """The methods' ranks for each example, 1 is the best, by each metric that all of them have."""
        first, *others = (evaluation.measurements for evaluation in self.evaluations.values())
        shared = [name for name in first if all(name in measurements for measurements in others)]
        return {name: self._ranks(name) for name in shared}

    def _ranks(self, metric: str) -> dict[str, np.ndarray]:
        measured = [evaluation.measurements[metric] for evaluation in self.evaluations.values()]
        values = np.stack([one.values for one in measured])
        return dict(zip(self.evaluations, ranks_of(values if measured[0].higher_is_better else -values), strict=True))

    @cached_property
    def mean_ranks(self) -> dict[str, np.ndarray]:
        """Each method's mean rank over the metrics, one number per example; the best method first."""
        means = {name: np.mean([by[name] for by in self.ranks.values()], axis=0) for name in self.evaluations}
        return dict(sorted(means.items(), key=lambda item: float(item[1].mean())))

    @property
    def meta(self) -> dict[str, Any]:
        """All facts, as plain JSON values; the best method first."""
        return {
            "schema": SCHEMA,
            "ranking": [
                {
                    "method": name,
                    "mean_rank": mean_of(ranks),
                    "deviation": plain(deviation_of(ranks)),
                    "ranks": plain(ranks),
                }
                for name, ranks in self.mean_ranks.items()
            ],
            "evaluations": {name: self.evaluations[name].meta for name in self.mean_ranks},
            "left_out": dict(self.left_out),
        }

    def __repr__(self) -> str:
        told = ", ".join(f"{name} {ranks.mean():.2f}" for name, ranks in self.mean_ranks.items())
        return f"<Comparison by mean rank: {told}>"


def ranks_of(values: np.ndarray) -> np.ndarray:
    """Return each row's rank within its column, 1 for the greatest; equals share their mean, NaN comes last."""
    keys = np.where(np.isnan(values), -np.inf, values)
    above = (keys[None] > keys[:, None]).sum(1)
    equal = (keys[None] == keys[:, None]).sum(1)
    return np.asarray(above + (equal + 1) / 2)


def mean_of(values: np.ndarray) -> float:
    """Return the mean of the numbers among some values; NaN where there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def deviation_of(values: np.ndarray) -> float:
    """Return the sample standard deviation of the numbers among some values; NaN for less than two."""
    known = values[~np.isnan(values)]
    return float(known.std(ddof=1)) if known.size > 1 else float("nan")
