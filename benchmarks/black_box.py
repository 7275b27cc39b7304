"""What methods that only call the score cost, beside the forward passes they need in ONNX Runtime, and beside Captum.

    python -m benchmarks.black_box [MODEL.onnx] [--input FILE] [--methods NAME ...] [--passes N] [--repeats N]

Without a model a MobileNetV2 of random weights is written first. Each repeat runs, in turn: the method; the plain ONNX
Runtime session on as many rows in as many calls; Captum's method on the imported torch module, with as many passes and
as many rows at a time; and DIANNA's, where it is installed. Figures are medians; the ratios are to ONNX Runtime.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import networks

Run = Callable[[], Any]

SIDE = 8
"""Pictures are cut into so many parts along each axis."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a table."""
    warnings.simplefilter("ignore")
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        path = options.model or networks.write("mobilenetv2", Path(folder))
        subject = Subject(path, options.input)
        print(f"{path.name}, {subject.describe()}")
        print(f"{'method':18}{'passes':>8}{'calls':>7}" + "".join(f"{name:>12}" for name in COLUMNS))
        for method in options.methods:
            report(subject, method, options.passes, options.repeats)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--input", type=Path, help="an .npz by input names; random numbers where not given")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--passes", type=int, default=256, help="about how many forward passes a method takes")
    parser.add_argument("--repeats", type=int, default=3)
    return parser


COLUMNS = ("onnxruntime", "onnxsal", "ratio", "captum", "ratio", "dianna", "ratio")


def report(subject: Subject, method: str, passes: int, repeats: int) -> None:
    """Print one line: medians over interleaved repeats."""
    ours = subject.ours(method, passes)
    with subject.counted() as sizes:
        ours()
    runs: dict[str, Run] = {
        "onnxruntime": subject.plain(sizes),
        "onnxsal": ours,
        "captum": subject.captums(method, passes, max(sizes)),
        "dianna": subject.diannas(method, passes),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            seconds[name].append(_timed(run))
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    floor = medians["onnxruntime"]
    cells = [f"{floor:12.3f}"]
    for name in ("onnxsal", "captum", "dianna"):
        cells += [f"{medians[name]:12.3f}", f"{medians[name] / floor:12.2f}"]
    print(f"{method:18}{sum(sizes):8}{len(sizes):7}" + "".join(cells).replace("nan", "  -"), flush=True)


def _timed(run: Run) -> float:
    started = time.perf_counter()
    return float("nan") if run() is NotImplemented else time.perf_counter() - started


class Subject:
    """A model and one picture."""

    def __init__(self, path: Path, source: Path | None) -> None:
        import numpy as np

        import onnxsal

        self.path = path
        self.model = onnxsal.load(path)
        self.session = self.model.session()
        port = self.model.inputs[0]
        shape = [size if isinstance(size, int) else 1 for size in port.shape or ()]
        random = np.random.default_rng(0).random(shape, np.float32)
        self.name = port.name
        self.array = random if source is None else np.load(source)[port.name]
        self.target = int(self.session.run(None, {self.name: self.array})[0][0].argmax())

    def describe(self) -> str:
        """Return the input, and the threads."""
        import torch

        return f"{self.name} {list(self.array.shape)}, {torch.get_num_threads()} thread(s) in torch"

    def ours(self, method: str, passes: int) -> Run:
        """Return onnxsal's explanation on ONNX Runtime."""
        import onnxsal

        options = METHODS[method](self.array.shape, passes)
        return lambda: onnxsal.explain(
            self.model, {self.name: self.array}, method=method, target=self.target, engine="onnxruntime", **options
        )

    @contextmanager
    def counted(self) -> Iterator[list[int]]:
        """Note how many rows each call of the engine is given."""
        from onnxsal.engines.onnxruntime import OnnxRuntimeEngine

        sizes: list[int] = []
        run = OnnxRuntimeEngine.run

        def noted(engine: Any, values: Any, *rest: Any) -> Any:
            sizes.append(len(values[self.name]))
            return run(engine, values, *rest)

        OnnxRuntimeEngine.run = noted  # type: ignore[method-assign]
        yield sizes
        OnnxRuntimeEngine.run = run  # type: ignore[method-assign]

    def plain(self, sizes: Sequence[int]) -> Run:
        """Return plain forward passes of so many rows."""
        import numpy as np

        rows = {size: np.repeat(self.array, size, 0) for size in set(sizes)}
        return lambda: [self.session.run(None, {self.name: rows[size]}) for size in sizes]

    def captums(self, method: str, passes: int, at_once: int) -> Run:
        """Return Captum's explanation of the imported torch module."""
        import torch
        from captum import attr

        from onnxsal.features import make_features

        module = self.model.torch()
        x = torch.from_numpy(self.array)
        mask = make_features(f"grid:{_cell(x.shape)}", {self.name: x})[self.name].expand(x.shape).contiguous()
        options = METHODS[method](self.array.shape, passes)

        def forward(rows: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                return module(rows)[0]

        common = {"target": self.target, "perturbations_per_eval": at_once}
        match method:
            case "occlusion":
                window, stride = ((x.shape[1], *options[name]) for name in ("window", "stride"))
                return lambda: attr.Occlusion(forward).attribute(x, window, strides=stride, **common)
            case "feature_ablation":
                return lambda: attr.FeatureAblation(forward).attribute(x, feature_mask=mask, **common)
            case "lime":
                explainer = attr.Lime(forward, interpretable_model=_ridge())
            case "kernel_shap":
                explainer = attr.KernelShap(forward)
            case "shapley_sampling":
                explainer = attr.ShapleyValueSampling(forward)
            case _:
                return lambda: NotImplemented
        return lambda: explainer.attribute(x, feature_mask=mask, n_samples=options["samples"], **common)

    def diannas(self, method: str, passes: int) -> Run:
        """Return DIANNA's explanation of the file, where it is installed and has the method."""
        try:
            import dianna
        except ImportError:
            return lambda: NotImplemented
        names = {"rise": "RISE", "lime": "LIME", "kernel_shap": "KernelSHAP"}
        if method not in names:
            return lambda: NotImplemented
        counts = {"rise": "n_masks", "lime": "num_samples", "kernel_shap": "nsamples"}
        given = {counts[method]: passes} | ({"p_keep": 0.5} if method == "rise" else {})  # else it searches for one
        return lambda: dianna.explain_image(
            str(self.path),
            self.array[0],
            names[method],
            labels=[self.target],
            axis_labels={0: "channels"},
            **given,
        )


def _ridge() -> Any:
    from captum._utils.models.linear_model import SkLearnRidge

    return SkLearnRidge(alpha=1.0)


def _cell(shape: Sequence[int]) -> int:
    return -(-shape[-1] // SIDE)


def _occlusion(shape: Sequence[int], passes: int) -> dict[str, Any]:
    """Return a window that is moved about as often as there are passes."""
    step = max(1, round(shape[-1] / passes**0.5))
    return {"window": (2 * step,) * 2, "stride": (step,) * 2}


def _sampling(shape: Sequence[int], passes: int) -> dict[str, Any]:
    return {"features": f"grid:{_cell(shape)}", "samples": max(1, passes // SIDE**2)}


def _features(shape: Sequence[int], passes: int) -> dict[str, Any]:
    return {"features": f"grid:{_cell(shape)}", "samples": max(passes, 2 * SIDE**2)}  # KernelSHAP's least


METHODS: dict[str, Callable[[Sequence[int], int], dict[str, Any]]] = {
    "occlusion": _occlusion,
    "feature_ablation": lambda shape, _: {"features": f"grid:{_cell(shape)}"},
    "rise": lambda _, passes: {"samples": passes},
    "lime": _features,
    "kernel_shap": _features,
    "shapley_sampling": _sampling,
    "partition_shap": _features,
    "hsic": _features,
}


if __name__ == "__main__":
    main()
