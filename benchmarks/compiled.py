"""What a gradient costs as a compiled file, beside ONNX Runtime's forward pass, the torch engine and Captum.

    python benchmarks/compiled.py [MODEL.onnx ...] [--batch N] [--threads N] [--repeats N] [--no-captum]

Without a model a ResNet-18 of random weights is written first. Each repeat runs, in turn: the plain session; the
compiled saliency file; the torch engine; Captum's Saliency on the imported module. Figures are medians in milliseconds,
the ratios are to ONNX Runtime's forward pass. The table is Markdown; the machine is named above it.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

Run = Callable[[], Any]

PAUSE = 0.2
"""Seconds between libraries: the threads of the one that ran before still wait actively for more work."""

CALLS = 2
"""How many calls are timed each time, after one that wakes the threads."""

COLUMNS = ("forward", "compiled", "torch engine", "captum")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a table."""
    warnings.simplefilter("ignore")
    options = _parser().parse_args(arguments)
    _set_threads(options.threads)
    print(f"{platform.processor() or platform.machine()}, {options.threads} thread(s), batch {options.batch}\n")
    print("| model | " + " | ".join(f"{name} (ms)" for name in COLUMNS) + " | compiling (s) |")
    print("| --- " * (len(COLUMNS) + 2) + "|")
    with tempfile.TemporaryDirectory() as folder:
        for path in options.models or [write_resnet(Path(folder))]:
            print(line(path, options), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--no-captum", action="store_true", help="leave the comparison with Captum out")
    return parser


def _set_threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)


def line(path: Path, options: argparse.Namespace) -> str:
    """Return a model's line of the table."""
    started = time.perf_counter()
    runs = dict(_runs(path, options))
    compiling = time.perf_counter() - started
    medians = interleaved(runs, options.repeats)
    cells = [
        f"{medians[name] * 1e3:.2f} ({medians[name] / medians['forward']:.2f}x)" if name in medians else "-"
        for name in COLUMNS
    ]
    return f"| {path.name} | {' | '.join(cells)} | {compiling:.1f} |"


def _runs(path: Path, options: argparse.Namespace) -> Iterator[tuple[str, Run]]:
    import torch

    import onnxsal
    from onnxsal.compiler.examples import open_rows, with_rows
    from onnxsal.engines.torch import TorchEngine
    from onnxsal.importer.values import as_tensor
    from onnxsal.parity import draw

    model = onnxsal.load(path)
    drawn = draw(model)
    feeds = with_rows(drawn, options.batch, open_rows(model)) if open_rows(model) else drawn
    compiled = onnxsal.compile(model, method="saliency", feeds=feeds)
    name = next(port.name for port in model.inputs if port.is_float)
    output = model.outputs[0].name
    plain, explained = (_session(source, options.threads) for source in (str(path), compiled.proto.SerializeToString()))
    yield "forward", lambda: plain.run(None, feeds)
    yield "compiled", lambda: explained.run(None, feeds)
    engine = TorchEngine(model, "cpu")
    tensors = {n: as_tensor(a) for n, a in feeds.items()}

    def highest(outputs: Any) -> torch.Tensor:
        return outputs[output].flatten(1).amax(1)  # type: ignore[no-any-return]

    yield "torch engine", lambda: engine.gradients(tensors, [name], highest)
    if not options.no_captum and len(feeds) == 1:
        from captum.attr import Saliency

        module = model.torch()
        saliency = Saliency(lambda x: module(x)[0].flatten(1).amax(1))
        yield "captum", lambda: saliency.attribute(tensors[name])


def _session(source: Any, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def interleaved(runs: dict[str, Run], repeats: int) -> dict[str, float]:
    """Return the median seconds of every run; each repeat runs all of them, so that a busy machine slows all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(repeats):
        for name, run in runs.items():
            time.sleep(PAUSE)
            run()
            for _ in range(CALLS):
                started = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(found) for name, found in seconds.items()}


def write_resnet(folder: Path) -> Path:
    """Write a ResNet-18 of random weights and return its path."""
    import torch
    from timm.models.resnet import BasicBlock, ResNet

    module = ResNet(BasicBlock, (2, 2, 2, 2), num_classes=1000).eval()
    path = folder / "resnet18.onnx"
    axes = {"x": {0: "batch"}}
    torch.onnx.export(
        module, (torch.randn(2, 3, 224, 224),), path, dynamo=False, opset_version=17, input_names=["x"],
        dynamic_axes=axes,
    )  # fmt: skip
    return path


if __name__ == "__main__":
    main()
