"""What integrated gradients cost beside Captum's at the same completeness error.

    python -m benchmarks.completeness [MODEL ...] [--repeats N]

Models are files, or names of the corpus (``tests/corpus``), explained on its inputs. Captum takes its default, 50 steps
of Gauss-Legendre on the imported module; its error is what its attributions miss of the score's difference. Ours is
asked for as few steps as miss no more, by either quadrature, on the compiled engine, which has compiled before.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import interleaved

LADDER = (2, 3, 4, 6, 8, 10, 12, 16, 20, 25, 32, 40, 50, 64)
MODELS = ("orinet", "open_nsfw_tf", "malviz_resnet18", "efficientnet_lite0_ts13")
QUADRATURES = ("gausslegendre", "adaptive")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a table."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(arguments)
    print("| model | captum | misses | onnxsal | misses | steps | times as fast |\n" + "| --- " * 7 + "|")
    for name in options.models:
        print(line(name, options.repeats), flush=True)


def line(name: str, repeats: int) -> str:
    """Return a model's line of the table."""
    subject = Subject(name)
    missed = subject.captum_misses()
    steps, quadrature, ours = subject.fewest(missed)
    runs = {"captum": subject.captum, "onnxsal": lambda: subject.onnxsal(steps, quadrature)}
    theirs, own = interleaved(runs, repeats).values()
    cells = f"{theirs:.2f} s | {missed:.1e} | {own:.2f} s | {ours:.1e} | {steps} {quadrature} | {theirs / own:.1f}"
    return f"| {Path(name).stem} | {cells} |"


class Subject:
    """A model, its input and the class it answers."""

    def __init__(self, name: str) -> None:
        import torch

        import onnxsal
        from tests import corpus

        is_file = name.endswith(".onnx")
        self.model = onnxsal.load(name if is_file else corpus.model(name))
        (port,) = self.model.inputs
        shape = [size if isinstance(size, int) else 1 for size in port.shape or ()]
        drawn = {port.name: np.random.default_rng(0).random(shape, np.float32)}
        self.name, self.feeds = port.name, drawn if is_file else corpus.inputs(name)
        self.x = torch.from_numpy(self.feeds[port.name])
        self.module = self.model.torch()
        with torch.no_grad():
            self.target = self.module(self.x)[0].argmax(1).tolist()
            rows = torch.arange(len(self.target))
            ends = [self.module(x)[0][rows, self.target] for x in (self.x, torch.zeros_like(self.x))]
        self.difference = (ends[0] - ends[1]).double().numpy()

    def misses(self, attributions: Any) -> float:
        """Return what attributions miss, as a part of the score's difference."""
        total = np.asarray(attributions, np.float64).reshape(len(self.target), -1).sum(1)
        return float(np.abs(total / self.difference - 1).max())

    def captum(self) -> Any:
        """Explain by Captum."""
        from captum.attr import IntegratedGradients

        explainer = IntegratedGradients(lambda x: self.module(x)[0])
        return explainer.attribute(self.x.clone().requires_grad_(), target=self.target).detach().numpy()

    def captum_misses(self) -> float:
        """Return what Captum's attributions miss."""
        return self.misses(self.captum())

    def onnxsal(self, steps: int, quadrature: str) -> Any:
        """Explain by onnxsal."""
        import onnxsal

        found = onnxsal.explain(
            self.model, self.feeds, method="integrated_gradients", target=self.target, engine="compiled",
            steps=steps, quadrature=quadrature, completeness_tolerance=float("inf"),
        )  # fmt: skip
        return found.values[self.name]

    def fewest(self, missed: float) -> tuple[int, str, float]:
        """Return the fewest steps that miss no more, by which quadrature, and what they miss."""
        for steps in LADDER:
            for quadrature in QUADRATURES:
                ours = self.misses(self.onnxsal(steps, quadrature))
                if ours <= missed:
                    return steps, quadrature, ours
        raise SystemExit("no number of steps misses as little")


if __name__ == "__main__":
    main()
