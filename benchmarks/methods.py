"""What methods that take gradients cost beside Captum's on the same imported network: seconds and peak memory.

    python -m benchmarks.methods [MODEL.onnx] [--input FILE] [--methods NAME ...] [--examples N] [--steps N]

Without a model a MobileNetV2 of random weights is written first. Captum is handed the torch module that onnxsal
imported, its rectifiers as torch's modules, and its own defaults; both take as many steps or samples. Seconds are
medians over repeats in turn, in one process that has run both before. Memory is the most that a run holds beside what
the process held before, in a process of its own that has run the method once (Linux). ``differs`` is how far the two
attributions are apart, as a part of the larger; methods that draw random numbers draw other ones. What only calls
the score is timed by `benchmarks.black_box`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import networks
from benchmarks.import_models import resident
from benchmarks.timing import interleaved, machine

LIBRARIES = ("onnxsal", "captum")
NOISE = 0.1
RANDOM = {"smoothgrad", "gradient_shap"}

Run = Callable[[], Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a table."""
    warnings.simplefilter("ignore")
    options = _parser().parse_args(arguments)
    if options.measure:
        print(json.dumps(held(Subject.of(options.model, options), options.methods[0], options.measure)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = options.model or networks.write("mobilenetv2", Path(folder))
        subject = Subject.of(path, options)
        print(f"{path.name}, {subject.about()}, {machine()}")
        columns = ("onnxsal s", "captum s", "ratio", "onnxsal MB", "captum MB", "ratio", "differs")
        print(f"{'method':22}" + "".join(f"{name:>12}" for name in columns))
        for method in options.methods:
            report(subject, method, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--input", type=Path, help="an .npz by input names; random numbers where not given")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--examples", type=int, default=1)
    parser.add_argument("--steps", type=int, default=50, help="steps of paths, and samples of random methods")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--measure", choices=LIBRARIES, help=argparse.SUPPRESS)
    return parser


def report(subject: Subject, method: str, options: argparse.Namespace) -> None:
    """Print one line: medians over repeats in turn, then memory."""
    runs = {library: subject.run(library, method) for library in LIBRARIES}
    try:
        answers = {library: run() for library, run in runs.items()}
    except Exception as error:  # Captum asserts on graphs it does not know
        print(f"{method:22}  fails: {type(error).__name__}: {' '.join(str(error).split())[:90]}", flush=True)
        return
    ours, theirs = interleaved(runs, options.repeats).values()
    memory, peer = (_in_a_process(subject, method, library, options) / 1e6 for library in LIBRARIES)
    cells = f"{ours:12.3f}{theirs:12.3f}{ours / theirs:12.2f}{memory:12.1f}{peer:12.1f}{memory / peer:12.2f}"
    apart = "random" if method in RANDOM else f"{_apart(*answers.values()):.1e}"
    print(f"{method:22}{cells}{apart:>12}", flush=True)


def _apart(ours: Any, theirs: Any) -> float:
    import numpy as np

    scale = max(np.abs(ours).max(), np.abs(theirs).max())
    return float(np.abs(ours - theirs).max() / scale) if scale else 0.0


def _in_a_process(subject: Subject, method: str, library: str, options: argparse.Namespace) -> float:
    settings = ["--examples", options.examples, "--steps", options.steps, "--measure", library, "--methods", method]
    source = ["--input", options.input] if options.input else []
    command = [sys.executable, "-m", "benchmarks.methods", subject.path, *settings, *source]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def held(subject: Subject, method: str, library: str) -> int:
    """Return the most bytes that a second run holds beside what the process held before it (Linux)."""
    run = subject.run(library, method)
    run()
    before = resident()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    run()
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) * 1024 - before


@dataclass(frozen=True)
class Subject:
    """A model and what it is asked about."""

    path: Path
    model: Any
    name: str
    array: Any
    target: list[int]
    steps: int

    @staticmethod
    def of(path: Path, options: argparse.Namespace) -> Subject:
        """Open a model; the target is the class it answers with."""
        import numpy as np
        import torch

        import onnxsal

        model = onnxsal.load(path)
        port = model.inputs[0]
        shape = [options.examples, *(size if isinstance(size, int) else 1 for size in (port.shape or (1,))[1:])]
        random = np.random.default_rng(0).random(shape, np.float32)
        array = random if options.input is None else np.load(options.input)[port.name]
        with torch.no_grad():
            target = model.torch()(torch.from_numpy(array))[0].argmax(1).tolist()
        return Subject(path, model, port.name, array, target, options.steps)

    def about(self) -> str:
        """Return the input and the steps in words."""
        return f"{self.name} {list(self.array.shape)}, {self.steps} steps or samples"

    def run(self, library: str, method: str) -> Run:
        """Return a library's explanation as an array."""
        settings, captums = METHODS[method]
        if library == "captum":
            return captums(self)
        return lambda: self._explained(method, settings(self))

    def _explained(self, method: str, options: dict[str, Any]) -> Any:
        import onnxsal

        feeds = {self.name: self.array}
        accepted = {"verify": False, "completeness_tolerance": float("inf")}
        result = onnxsal.explain(self.model, feeds, method=method, target=self.target, **accepted, **options)
        return result.values[self.name]

    def forward(self, *rows: Any) -> Any:
        """Return the scores, as Captum asks for them."""
        return self.model.torch()(*rows)[0]

    def last_convolution(self) -> tuple[str, Any]:
        """Return the last convolution's ONNX value, and the layer of torch that it became."""
        module = self.model.torch()
        node = [n for n in module.graph.nodes if n.op == "call_module" and n.meta["onnx"].op_type == "Conv"][-1]
        return node.meta["onnx"].outputs[0], module.get_submodule(node.target)


def _captums(name: str, **options: Any) -> Callable[[Subject], Run]:
    """Return a maker of runs of one of Captum's methods on inputs; an option may be a function of the subject."""

    def make(subject: Subject) -> Run:
        import torch
        from captum import attr

        given = {key: value(subject) if callable(value) else value for key, value in options.items()}
        inner = given.pop("within", None)
        module = _First(subject)
        explainer = getattr(attr, name)(module)
        explainer = getattr(attr, inner)(explainer) if inner else explainer
        x = torch.from_numpy(subject.array)

        def run() -> Any:
            found = explainer.attribute(x.clone().requires_grad_(), target=subject.target, **given)
            return found.detach().numpy()

        return run

    return make


def _First(subject: Subject) -> Any:
    import torch

    class First(torch.nn.Module):
        """The imported module, cut down to its first output."""

        def __init__(self) -> None:
            super().__init__()
            self.whole = _with_rectifiers(subject.model.torch())

        def forward(self, *rows: Any) -> Any:
            return self.whole(*rows)[0]

    return First().eval()


def _with_rectifiers(module: Any) -> Any:
    """Return the graph with its rectifiers as torch's own modules: Captum gives a rule to no other."""
    import copy

    import torch

    graph = copy.deepcopy(module.graph)
    made = torch.fx.GraphModule(module, graph)
    for node in graph.nodes:
        if "onnx" in node.meta and node.meta["onnx"].op_type == "Relu":
            made.add_submodule(f"{node.name}_rectifier", torch.nn.ReLU())
            node.op, node.target = "call_module", f"{node.name}_rectifier"
    made.recompile()
    return made


def _grad_cam(subject: Subject) -> Run:
    import torch
    from captum import attr

    _, layer = subject.last_convolution()
    explainer = attr.LayerGradCam(_First(subject), layer)
    x = torch.from_numpy(subject.array)

    def run() -> Any:
        found = explainer.attribute(x, target=subject.target, relu_attributions=True)
        large = torch.nn.functional.interpolate(found, size=x.shape[2:], mode="bilinear", align_corners=False)
        return large.expand_as(x).detach().numpy()

    return run


def _nothing(_: Subject) -> dict[str, Any]:
    return {}


def _many(subject: Subject) -> Any:
    """Return ten baselines."""
    import torch

    return torch.linspace(-1, 1, 10).reshape(-1, *[1] * (subject.array.ndim - 1)).repeat(1, *subject.array.shape[1:])


METHODS: dict[str, tuple[Callable[[Subject], dict[str, Any]], Callable[[Subject], Run]]] = {
    "saliency": (_nothing, _captums("Saliency")),
    "input_x_gradient": (_nothing, _captums("InputXGradient")),
    "integrated_gradients": (
        lambda s: {"steps": s.steps},
        _captums("IntegratedGradients", n_steps=lambda s: s.steps),
    ),
    "smoothgrad": (
        lambda s: {"samples": s.steps, "noise": NOISE},
        _captums("Saliency", within="NoiseTunnel", nt_samples=lambda s: s.steps, stdevs=NOISE, abs=False),
    ),
    "gradient_shap": (
        lambda s: {"samples": s.steps, "baselines": {s.name: _many(s).numpy()}},
        _captums("GradientShap", n_samples=lambda s: s.steps, baselines=_many),
    ),
    "guided_backprop": (_nothing, _captums("GuidedBackprop")),
    "deconvolution": (_nothing, _captums("Deconvolution")),
    "deep_lift": (_nothing, _captums("DeepLift")),
    "lrp": (_nothing, _captums("LRP")),
    "grad_cam": (lambda s: {"layer": s.last_convolution()[0]}, _grad_cam),
}
"""Methods: onnxsal's options, and what makes Captum's run."""


if __name__ == "__main__":
    main()
