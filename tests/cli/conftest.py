"""A folder with a tiny model and inputs for it, and a way to run command lines there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import helper

from onnxsal.cli import group
from tests import models_for_tests as tiny

WEIGHTS = np.array([[1, -2, 0.5], [0, 3, -1], [2, 1, 1], [-1, 0, 4]], np.float32)
"""The logits are x times these: the gradient of logit k is column k."""

Run = Callable[..., Result]


def linear_model() -> onnx.ModelProto:
    """Return a model ``logits = x @ WEIGHTS`` that names its classes."""
    return tiny.model(
        [helper.make_node("MatMul", ["x", "weights"], ["logits"], name="classify")],
        [("x", tiny.FLOAT, ["batch", 4])],
        [("logits", tiny.FLOAT, ["batch", 3])],
        {"weights": WEIGHTS},
        labels=json.dumps(["cat", "dog", "tabby cat, tom"]),
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder: ``model.onnx``, ``x.npy`` of two examples, ``one.npy`` of one."""
    monkeypatch.chdir(tmp_path)
    onnx.save(linear_model(), tmp_path / "model.onnx")
    np.save(tmp_path / "x.npy", np.array([[1, 2, 3, 4], [4, 3, 2, 1]], np.float32))
    np.save(tmp_path / "one.npy", np.array([[1, 2, 3, 4]], np.float32))
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Run:
    """Return a function that runs a command line in the folder."""

    def invoke(*args: str, input: bytes | None = None, **environment: str) -> Result:
        return CliRunner(env=environment).invoke(group, [str(a) for a in args], input=input)

    return invoke
