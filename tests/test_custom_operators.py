"""A model with private operators and the library that runs them: explained as it is, by methods without gradients."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime_extensions
import pytest
from click.testing import CliRunner
from onnx import helper

import onnxsal
from onnxsal.cli import group
from onnxsal.engines.onnxruntime import OnnxRuntimeEngine
from onnxsal.errors import ImportFault, ModelError, UsageError
from onnxsal.inspection import inspect
from onnxsal.model import LIBRARIES
from onnxsal.score import BoundScore
from onnxsal.types import Target
from tests import models_for_tests as tiny

LIBRARY = onnxruntime_extensions.get_library_path()
X = np.float32([[1, -2, 3]])


def negative_part() -> onnx.ModelProto:
    """``y = 2 · min(x, 0)`` by an operator that only the library knows."""
    nodes = [
        helper.make_node("NegPos", ["x"], ["neg", "pos"], name="private", domain="ai.onnx.contrib"),
        helper.make_node("Add", ["neg", "neg"], ["y"], name="twice"),
    ]
    proto = tiny.model(nodes, [("x", tiny.FLOAT, ["N", 3])], [("y", tiny.FLOAT, ["N", 3])])
    proto.opset_import.append(helper.make_opsetid("ai.onnx.contrib", 1))
    return proto


def test_the_original_file_runs_with_its_library() -> None:
    model = onnxsal.load(negative_part(), ort_libraries=[LIBRARY])
    assert model.session().run(None, {"x": X})[0].tolist() == [[0, -4, 0]]
    score = BoundScore(OnnxRuntimeEngine(model, "cpu"), onnxsal_feeds(), ["x"], [Target("y", (1,))], stacked=True)
    assert score(score.feeds).tolist() == [-4]
    with pytest.raises(ImportFault, match=r"'private' \(ai\.onnx\.contrib\.NegPos"):
        model.torch()


def onnxsal_feeds() -> dict:
    import torch

    return {"x": torch.from_numpy(X)}


def test_the_variable_names_libraries_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIBRARIES, os.pathsep.join([LIBRARY, ""]))
    assert onnxsal.load(negative_part()).libraries == (str(Path(LIBRARY).resolve()),)


def test_without_the_library_the_way_to_give_it_is_said() -> None:
    with pytest.raises(ModelError, match="--ort-library PATH"):
        onnxsal.load(negative_part()).session()
    with pytest.raises(UsageError, match="no such library"):
        onnxsal.load(negative_part(), ort_libraries=["nowhere.so"])


def test_inspection_says_whether_it_runs() -> None:
    assert inspect(onnxsal.load(negative_part(), ort_libraries=[LIBRARY])).runnable is True
    assert inspect(onnxsal.load(negative_part())).runnable is False
    assert inspect(onnxsal.load(tiny.linear())).runnable is None


def test_the_command_says_which_methods_apply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(negative_part(), "private.onnx")
    run = CliRunner().invoke
    known = run(group, ["inspect", "private.onnx", "--ort-library", LIBRARY])
    assert known.exit_code == 0, known.output
    assert "ONNX Runtime runs it as it is" in known.output
    unknown = run(group, ["inspect", "private.onnx"])
    assert "--ort-library PATH" in unknown.output
    facts = json.loads(run(group, ["inspect", "private.onnx", "--ort-library", LIBRARY, "--json"]).output)
    assert facts["runnable"] is True


def test_a_folders_configuration_names_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would run the code of whoever made the folder."""
    monkeypatch.chdir(tmp_path)
    onnx.save(tiny.linear(), "model.onnx")
    (tmp_path / "onnxsal.toml").write_text("[verify]\nort-library = ['evil.so']\n")
    result = CliRunner().invoke(group, ["verify", "model.onnx"])
    assert result.exit_code != 0
    assert "ort-library" in str(result.exception) + result.output
