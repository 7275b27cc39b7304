"""Count ONNX's node cases that pass, here and elsewhere, and write ``docs/conformance.md``.

python -m docs.conformance
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from docs.generate import table
from onnxsal.model import session_options
from tests.oracle.node_cases import cases, differs, fault, is_ordinary, to_value
from tests.oracle.test_conformance import known_gaps

PAGE = Path(__file__).with_suffix(".md")
TEXT = """# Conformance

ONNX brings cases for its operators: models of a node or a few, with inputs and outputs. They are run through the public
importer and compared in number, shape, type and value at each case's own tolerance. "Ordinary" cases are those of
tensors whose types numpy knows, without the random ones. Written by `python -m docs.conformance`; the counts of the
importer are held by `tests/oracle/test_conformance.py`.

{table}
What the importer does not pass:

{gaps}
## Gradients

The gradient of every operator that has one is compared with central differences in double precision, in every version
whose meaning differs and every mode, over generated shapes and attributes, input by input, with the weights as inputs
and as constants. Operators declared to have none are shown not to move between their jumps. What cannot be tried so, as
rounding whose gradient goes straight through, is listed with its reason in `tests/oracle/gradients/`
(`tests/oracle/test_gradients.py`).

Imported graphs trace with a symbolic batch, by `make_fx` and by `torch.export`, forwards and with their gradient; the
models of the corpus that cannot are listed with their reason in `tests/oracle/untraceable.txt`.
"""


def onnx_runtime(case: Any) -> str | None:
    """Return why ONNX Runtime fails a case; None where it passes."""

    def run(inputs: list[Any]) -> list[Any]:
        session = onnxruntime.InferenceSession(case.model.SerializeToString(), session_options(optimised=True))
        return session.run(None, {port.name: _array(v) for port, v in zip(session.get_inputs(), inputs, strict=True)})

    return _fault(case, run)


def onnx2torch(case: Any) -> str | None:
    """Return why onnx2torch fails a case; None where it passes."""
    import onnx2torch as library

    def run(inputs: list[Any]) -> list[Any]:
        answer = library.convert(case.model)(*map(to_value, inputs))
        return list(answer) if isinstance(answer, (list, tuple)) else [answer]

    return _fault(case, run)


def _array(value: Any) -> Any:
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return [_array(v) for v in value] if isinstance(value, (list, tuple)) else np.asarray(value)


def _fault(case: Any, run: Callable[[list[Any]], list[Any]]) -> str | None:
    try:
        for inputs, expected in case.data_sets:
            reason = differs(run(inputs), expected, case.rtol, case.atol)
            if reason:
                return reason
    except Exception as error:  # every way to fail is the result here
        return f"{type(error).__name__}: {error}"
    return None


def main() -> None:
    """Run every case three times and write the page."""
    warnings.simplefilter("ignore")
    runners = {"onnxsal": fault, "onnxruntime": onnx_runtime, "onnx2torch": onnx2torch}
    passed = {name: {n for n, case in cases().items() if runner(case) is None} for name, runner in runners.items()}
    ordinary = {name for name, case in cases().items() if is_ordinary(case)}
    rows = [
        [f"{name} {version(name)}", str(len(p)), str(len(p & ordinary)), str(len(p - passed["onnxsal"]))]
        for name, p in passed.items()
    ]
    head = ("", f"all {len(cases())}", f"ordinary {len(ordinary)}", "passed by it and not by onnxsal")
    gaps = table(("cases", "why"), [[f"`{pattern}`", reason] for pattern, reason in known_gaps().items()])
    PAGE.write_text(TEXT.format(table=table(head, rows), gaps=gaps))
    for name in sorted((passed["onnxruntime"] | passed["onnx2torch"]) - passed["onnxsal"]):
        print(f"passed elsewhere: {name}", file=sys.stderr)


if __name__ == "__main__":
    main()
