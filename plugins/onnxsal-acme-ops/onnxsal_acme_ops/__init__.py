"""Tells onnxsal where Acme's operators are; they are imported, with torch, only when a model is."""

from onnxsal import hookimpl
from onnxsal.entries import Operators


@hookimpl
def onnxsal_operators():
    yield Operators("acme", "onnxsal_acme_ops.operators")
