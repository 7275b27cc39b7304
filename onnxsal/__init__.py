"""Explain exported ONNX models: why did the deployed model answer what it answered?

    model = onnxsal.load("model.onnx")
    attribution = onnxsal.explain(model, {"input": x}, method="saliency", target=3)
    attribution.values["input"]

Names are resolved on first use, so that ``import onnxsal`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from onnxsal.compiler.compile import CompiledModel as CompiledModel
    from onnxsal.compiler.compile import compile as compile
    from onnxsal.evaluation import compare as compare
    from onnxsal.evaluation import evaluate as evaluate
    from onnxsal.hookspecs import hookimpl as hookimpl
    from onnxsal.importer.operator import Host as Host
    from onnxsal.importer.operator import layer as layer
    from onnxsal.importer.operator import on_host as on_host
    from onnxsal.importer.operator import op as op
    from onnxsal.model import Model as Model
    from onnxsal.model import load as load
    from onnxsal.parity import verify as verify
    from onnxsal.pipeline import explain as explain
    from onnxsal.results import load_attribution as load_attribution
    from onnxsal.results import plot as plot
    from onnxsal.results import render as render
    from onnxsal.results import save as save
    from onnxsal.types import Attribution as Attribution

_HOMES = {
    "Attribution": "types",
    "CompiledModel": "compiler.compile",
    "Host": "importer.operator",
    "Model": "model",
    "compile": "compiler.compile",
    "compare": "evaluation",
    "evaluate": "evaluation",
    "explain": "pipeline",
    "hookimpl": "hookspecs",
    "layer": "importer.operator",
    "load": "model",
    "load_attribution": "results",
    "on_host": "importer.operator",
    "op": "importer.operator",
    "plot": "results",
    "render": "results",
    "save": "results",
    "verify": "parity",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'onnxsal' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"onnxsal.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
