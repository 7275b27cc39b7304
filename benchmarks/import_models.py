"""Importing a model: how long it takes and what it holds in memory, beside onnx2torch.

    python -m benchmarks.import_models [MODEL.onnx ...] [--rounds N]

Without a model, a ResNet-50 of random weights (100 MB) is exported. Each import runs in a process of its own, the two
importers in turn; a figure is the median of the rounds. Memory is what the process holds more at the end than before
the import, as a part of the file's size; the libraries are loaded before.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

WORK = """
import gc, json, sys, time, warnings
warnings.simplefilter("ignore")
import onnx, torch
if sys.argv[1] == "onnxsal":
    import onnxsal, onnxsal.pipeline
    from onnxsal.importer.lookup import default_lookup
    default_lookup()
    load = lambda path: onnxsal.load(path).torch()
else:
    import onnx2torch
    load = onnx2torch.convert

def resident():
    gc.collect()
    fields = dict(line.split(":") for line in open("/proc/self/status") if ":" in line)
    return int(fields["VmRSS"].split()[0]) * 1024, int(fields["VmHWM"].split()[0]) * 1024

before, _ = resident()
start = time.perf_counter()
module = load(sys.argv[2])
seconds = time.perf_counter() - start
after, peak = resident()
print(json.dumps({"seconds": seconds, "held": after - before, "peak": peak - before}))
"""
IMPORTERS = ("onnxsal", "onnx2torch")


def measure(importer: str, path: Path) -> dict[str, float] | None:
    """Return one import's figures; None where the importer refuses the model."""
    run = subprocess.run([sys.executable, "-c", WORK, importer, str(path)], capture_output=True, text=True, check=False)
    return json.loads(run.stdout.splitlines()[-1]) if run.returncode == 0 else None


def resnet50(folder: Path) -> Path:
    """Export a ResNet-50 of random weights."""
    import torch
    import torchvision

    path = folder / "resnet50.onnx"
    module = torchvision.models.resnet50(weights=None).eval()
    for parameter in module.parameters():  # equal ones would be shared through Identity, where onnx2torch gives up
        torch.nn.init.normal_(parameter, std=0.05)
    torch.onnx.export(module, (torch.randn(1, 3, 224, 224),), path, dynamo=False, opset_version=13)
    return path


def report(path: Path, rounds: int) -> None:
    """Print the medians for one model, in the form of a Markdown table."""
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in IMPORTERS}
    for _ in range(rounds):
        for name in IMPORTERS:
            found = measure(name, path)
            figures[name] += [found] if found else []
    size = path.stat().st_size
    print(f"\n{path.name}, {size / 1e6:.0f} MB, {rounds} rounds\n")
    print("| importer | seconds | held at the end | held at most |\n| --- | --- | --- | --- |")
    for name, runs in figures.items():
        if not runs:
            print(f"| {name} | refuses | | |")
            continue
        seconds, held, peak = (statistics.median(run[key] for run in runs) for key in ("seconds", "held", "peak"))
        print(f"| {name} | {seconds:.2f} | {held / size:.2f} x the file | {peak / size:.2f} x the file |")


def main() -> None:
    """Measure the models that are named, or the ResNet-50."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for path in arguments.models or [resnet50(Path(folder))]:
            report(path, arguments.rounds)


if __name__ == "__main__":
    main()
