"""What a gradient costs as a compiled file, beside ONNX Runtime's forward pass, the torch engine and Captum.

    python -m benchmarks.compiled [NAME|MODEL.onnx ...] [--batch N ...] [--threads N] [--repeats N] [--write FILE]

Names are those of `benchmarks.networks`, of random weights; without any, all of them. Everything runs in one process,
in turn: the plain session; the compiled gradient; the torch engine; Captum's Saliency on the imported module, where it
takes one input. Figures are medians; the ratios are to ONNX Runtime's forward pass. ``to compile`` is what the gradient
costs once a model, and ``from cache`` what a later process spends to have it: reading and opening the file.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.networks import NETWORKS, write
from benchmarks.timing import Run, interleaved, machine

COLUMNS = ("forward", "compiled", "torch engine", "captum")

CALLS = 2
"""How many calls are timed each time."""

MARK = "<!-- measured: compiled -->\n"
"""Where the table stands in a document, up to ``<!-- end -->``."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a table; put it into a document where asked."""
    warnings.simplefilter("ignore")
    options = _parser().parse_args(arguments)
    _set_threads(options.threads)
    lines = [f"{machine()}.", ""]
    lines += [f"| model | batch | forward | {' | '.join(COLUMNS[1:])} | to compile | from cache |"]
    lines += ["| --- " * (len(COLUMNS) + 4) + "|"]
    print("\n".join(lines), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ONNXSAL_CACHE_DIR"] = folder
        for name in options.models or NETWORKS:
            path = Path(name) if name.endswith(".onnx") else write(name, options.folder or Path(folder))
            for batch in options.batch:
                lines.append(line(path, batch, options))
                print(lines[-1], flush=True)
    if options.write:
        _put(options.write, "\n".join(lines))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"a file, or one of {', '.join(NETWORKS)}")
    parser.add_argument("--folder", type=Path, help="where the networks are written, and found again")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--no-captum", action="store_true", help="leave the comparison with Captum out")
    parser.add_argument("--write", type=Path, metavar="FILE", help="a Markdown file that has a place for the table")
    return parser


def _set_threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)


def line(path: Path, batch: int, options: argparse.Namespace) -> str:
    """Return a model's line of the table."""
    started: dict[str, float] = {}
    medians = interleaved(dict(_runs(path, batch, options, started)), options.repeats, CALLS)
    ratios = [f"{medians[name] / medians['forward']:.2f}" if name in medians else "-" for name in COLUMNS[1:]]
    start = f"{started['compile']:.1f} s | {started['cached']:.2f} s"
    return f"| {path.stem} | {batch} | {medians['forward'] * 1e3:.1f} ms | {' | '.join(ratios)} | {start} |"


def _runs(path: Path, batch: int, options: argparse.Namespace, started: dict[str, float]) -> Iterator[tuple[str, Run]]:
    import torch

    import onnxsal
    from onnxsal.compiler.examples import open_rows, with_rows
    from onnxsal.compiler.gradient import compiled_gradient, open_session, run_session
    from onnxsal.engines.torch import TorchEngine
    from onnxsal.importer.values import as_tensor
    from onnxsal.parity import draw

    model = onnxsal.load(path)
    feeds = with_rows(draw(model), batch, open_rows(model))
    tensors = {name: as_tensor(array) for name, array in feeds.items()}
    name = next(port.name for port in model.inputs if port.is_float)
    output = model.outputs[0].name
    began = time.perf_counter()
    compiled_gradient(model, [name], [output], tensors)
    started["compile"] = time.perf_counter() - began
    began = time.perf_counter()
    kept = compiled_gradient(model, [name], [output], tensors)
    explained = open_session(str(kept.path))
    started["cached"] = time.perf_counter() - began
    plain, engine = model.session(), TorchEngine(model, "cpu")
    back = {output: torch.zeros(plain.run([output], feeds)[0].shape).index_fill_(1, torch.tensor([0]), 1.0)}
    yield "forward", lambda: plain.run(None, feeds)
    yield "compiled", lambda: run_session(explained, tensors, back)
    yield "torch engine", lambda: engine.gradients(tensors, [name], lambda found: found[output][:, 0])
    if not options.no_captum and len(feeds) == 1:
        from captum.attr import Saliency

        module = model.torch()
        saliency = Saliency(lambda x: module(x)[0])
        yield "captum", lambda: saliency.attribute(tensors[name], target=0)


def _put(path: Path, table: str) -> None:
    """Put a table where the document has a place for it."""
    before, mark, rest = path.read_text(encoding="utf-8").partition(MARK)
    if not mark:
        raise SystemExit(f"{path}: no line {MARK.strip()}")
    path.write_text(f"{before}{mark}{table}\n<!-- end -->{rest.partition('<!-- end -->')[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
