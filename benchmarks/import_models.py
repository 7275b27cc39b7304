"""How long an import takes, and how much memory it holds in the end: onnxsal beside onnx2torch.

    python benchmarks/import_models.py [MODEL.onnx ...] [--repeats N]

Without a model a ResNet-50 of random weights (about 100 MB) is written first. Every import runs in a process of its
own, the libraries taking turns; each process imports a tiny model before, so that libraries are loaded and caches warm.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

LIBRARIES = ("onnxsal", "onnx2torch")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a table."""
    options = _parser().parse_args(arguments)
    if options.measure:
        print(json.dumps(measure(options.measure, options.models[0])))
        return
    with tempfile.TemporaryDirectory() as folder:
        print(f"{'model':24}{'library':12}{'seconds':>9}{'weights MB':>12}{'held MB':>9}{'held/weights':>14}")
        for model in options.models or [write_resnet50(Path(folder))]:
            report(model, options.repeats)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--measure", choices=LIBRARIES, help=argparse.SUPPRESS)
    return parser


def report(model: Path, repeats: int) -> None:
    """Print one line a library: medians over interleaved repeats, or why it fails."""
    runs: dict[str, list[dict[str, Any]]] = {library: [] for library in LIBRARIES}
    for _ in range(repeats):
        for library, results in runs.items():
            results.append(_in_a_process(library, model))
    weights = weight_bytes(model)
    for library, results in runs.items():
        failure = next((result["error"] for result in results if "error" in result), None)
        if failure:
            print(f"{model.name:24}{library:12}  fails: {failure}")
            continue
        seconds, held = (statistics.median(r[key] for r in results) for key in ("seconds", "held"))
        print(f"{model.name:24}{library:12}{seconds:9.3f}{weights / 1e6:12.1f}{held / 1e6:9.1f}{held / weights:14.2f}")


def _in_a_process(library: str, model: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--measure", library, str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (done.stderr if done.returncode else done.stdout).strip().splitlines() or ["no word"]
    return {"error": lines[-1][:100]} if done.returncode else json.loads(lines[-1])


def measure(library: str, model: Path) -> dict[str, float]:
    """Import a model here; return the seconds taken, and the bytes by which the process has grown in the end."""
    warnings.simplefilter("ignore")
    importer = _importer(library)
    with tempfile.TemporaryDirectory() as folder:
        importer(_write_tiny(Path(folder)))
    before = resident()
    started = time.perf_counter()
    imported = importer(model)
    seconds = time.perf_counter() - started
    held = resident() - before
    assert imported is not None  # it is held up to here
    return {"seconds": seconds, "held": held}


def _importer(library: str) -> Callable[[Path], Any]:
    if library == "onnx2torch":
        import onnx2torch

        return lambda path: onnx2torch.convert(str(path))
    import onnxsal

    def load(path: Path) -> Any:
        model = onnxsal.load(path)
        return model, model.torch()

    return load


def resident() -> int:
    """Return the process's resident bytes (Linux), after giving back what is free."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def weight_bytes(model: Path) -> int:
    """Return the bytes of all constants of a model."""
    import onnxsal

    return sum(array.nbytes for array in onnxsal.load(model).graph.constants.values())


def write_resnet50(folder: Path) -> Path:
    """Write a ResNet-50 of random weights, at an opset that onnx2torch reads."""
    import torch
    from torchvision.models import resnet50

    torch.manual_seed(0)
    path = folder / "resnet50.onnx"
    network = resnet50().eval()
    for value in network.state_dict().values():
        if value.is_floating_point():  # the exporter would merge equal constants, which onnx2torch cannot read
            value.add_(torch.rand_like(value), alpha=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (torch.zeros(1, 3, 224, 224),), path, dynamo=False, opset_version=13)
    return path


def _write_tiny(folder: Path) -> Path:
    """Write a convolution of one weight, a Relu and an Add, to warm the import up."""
    import onnx
    from onnx import TensorProto, helper

    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, 4, 4]) for name in ("x", "y")]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], kernel_shape=[1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Add", ["r", "x"], ["y"]),
    ]
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1, 1, 1, 1], [2.0])
    graph = helper.make_graph(nodes, "tiny", ports[:1], ports[1:], [weight])
    path = folder / "tiny.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


if __name__ == "__main__":
    main()
