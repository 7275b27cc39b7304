"""How long an import takes, and how much memory it holds: onnxsal beside onnx2torch and onnx2pytorch.

    python benchmarks/import_models.py [MODEL.onnx ...] [--repeats N]

Without a model two of random weights are written first: a ResNet-50 (about 100 MB) and a VGG-11 (about 400 MB). Every
import runs in a process of its own, the libraries taking turns; each process imports a tiny model before, so that
libraries are loaded and caches warm. "peak" counts what is held for a moment too: a file's bytes while they are parsed.
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

LIBRARIES = ("onnxsal", "onnx2torch", "onnx2pytorch")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a table."""
    options = _parser().parse_args(arguments)
    if options.measure:
        print(json.dumps(measure(options.measure, options.models[0])))
        return
    with tempfile.TemporaryDirectory() as folder:
        print(f"{'model':18}{'library':14}{'seconds':>8}{'weights MB':>12}{'held/weights':>14}{'peak/weights':>14}")
        for model in options.models or [write_resnet50(Path(folder)), write_vgg11(Path(folder))]:
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
            print(f"{model.name:18}{library:14}  fails: {failure}")
            continue
        seconds, held, peak = (statistics.median(r[key] for r in results) for key in ("seconds", "held", "peak"))
        figures = f"{seconds:8.3f}{weights / 1e6:12.1f}{held / weights:14.2f}{peak / weights:14.2f}"
        print(f"{model.name:18}{library:14}{figures}")


def _in_a_process(library: str, model: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--measure", library, str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (done.stderr if done.returncode else done.stdout).strip().splitlines() or ["no word"]
    return {"error": lines[-1][:100]} if done.returncode else json.loads(lines[-1])


def measure(library: str, model: Path) -> dict[str, float]:
    """Import a model here; return the seconds taken, and by how many bytes the process grew in the end, and at most."""
    warnings.simplefilter("ignore")
    importer = _importer(library)
    with tempfile.TemporaryDirectory() as folder:
        importer(_write_tiny(Path(folder)))
    before = resident()
    forget_peak()
    started = time.perf_counter()
    imported = importer(model)
    seconds = time.perf_counter() - started
    peak = peak_resident() - before
    held = resident() - before
    assert imported is not None  # it is held up to here
    return {"seconds": seconds, "held": held, "peak": peak}


def _importer(library: str) -> Callable[[Path], Any]:
    if library == "onnx2torch":
        import onnx2torch

        return lambda path: onnx2torch.convert(str(path))
    if library == "onnx2pytorch":
        import onnx
        import onnx2pytorch

        return lambda path: onnx2pytorch.ConvertModel(onnx.load(path))
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


def forget_peak() -> None:
    """Let the kernel start again with the process's highest resident memory (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_resident() -> int:
    """Return the process's highest resident bytes since `forget_peak`."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def weight_bytes(model: Path) -> int:
    """Return the bytes of all constants of a model."""
    import onnxsal

    return sum(array.nbytes for array in onnxsal.load(model).graph.constants.values())


def write_resnet50(folder: Path) -> Path:
    """Write a ResNet-50 of random weights, at an opset that onnx2torch reads."""
    from torchvision.models import resnet50

    return _export(resnet50(), folder / "resnet50.onnx")


def write_vgg11(folder: Path) -> Path:
    """Write a VGG-11 of random weights with a smaller classifier: about 400 MB, most of them in one matrix."""
    from torch import nn
    from torchvision.models import vgg11

    network = vgg11()
    network.classifier = nn.Sequential(nn.Linear(25088, 3600), nn.ReLU(), nn.Linear(3600, 1000))
    return _export(network, folder / "vgg11.onnx")


def _export(network: Any, path: Path) -> Path:
    import torch

    torch.manual_seed(0)
    with torch.no_grad():
        for value in network.state_dict().values():
            if value.is_floating_point():  # the exporter would merge equal constants, which onnx2torch cannot read
                value.add_(torch.rand_like(value), alpha=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network.eval(), (torch.zeros(1, 3, 224, 224),), path, dynamo=False, opset_version=13)
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
