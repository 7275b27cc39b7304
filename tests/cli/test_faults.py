"""Everything bad a user can hand in: an exit code, where, what and what next, and nothing half-written."""

from __future__ import annotations

import errno
import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import helper

from onnxsal import pipeline
from tests import models_for_tests as tiny


@pytest.fixture
def bad(folder):
    """Put bad files beside the good ones."""
    whole = (folder / "model.onnx").read_bytes()
    (folder / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    (folder / "text.onnx").write_text("this is no model")
    (folder / "empty.onnx").write_bytes(b"")
    onnx.save(_unsupported(), folder / "unsupported.onnx")
    np.save(folder / "wide.npy", np.ones((1, 5), np.float32))
    np.save(folder / "texts.npy", np.array([["a", "b", "c", "d"]]))
    np.save(folder / "nan.npy", np.array([[1, np.nan, 3, 4]], np.float32))
    np.savez(folder / "other.npz", y=np.ones((1, 4), np.float32), z=np.ones((1, 4), np.float32))
    (folder / "cut.npy").write_bytes((folder / "x.npy").read_bytes()[:100])
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    (folder / "table.xyz").write_text("1 2 3 4")
    (folder / "bad.toml").write_text("[explain]\nmethods = 'saliency'\n")
    (folder / "broken.toml").write_text("[explain\n")
    return folder


def _unsupported():
    nodes = [
        helper.make_node("Relu", ["x"], ["y"], name="first"),
        helper.make_node("Whirl", ["y"], ["z"], name="second", domain="com.example"),
    ]
    proto = tiny.model(nodes, [("x", tiny.FLOAT, ["batch", 4])], [("z", tiny.FLOAT, ["batch", 4])])
    proto.opset_import.append(helper.make_opsetid("com.example", 1))
    return proto


CASES = {
    "missing model": (["nosuch.onnx", "x.npy"], 3, ["nosuch.onnx"]),
    "truncated model": (["cut.onnx", "x.npy"], 3, ["cut.onnx"]),
    "no ONNX at all": (["text.onnx", "x.npy"], 3, ["text.onnx"]),
    "empty model": (["empty.onnx", "x.npy"], 3, ["empty.onnx"]),
    "a folder as model": (["out", "x.npy"], 3, ["out"]),
    "unsupported operator": (["unsupported.onnx", "x.npy"], 3, ["Whirl", "second", "com.example", "opset 1", "plugin"]),
    "missing input file": (["model.onnx", "xx.npy"], 4, ["xx.npy", "no such file", "x.npy"]),
    "no input at all": (["model.onnx"], 4, ["'x'", "not fed"]),
    "wrong input name": (["model.onnx", "-i", "xs=x.npy"], 4, ["'xs'", "'x'"]),
    "wrong name in an archive": (["model.onnx", "other.npz"], 4, ["other.npz", "'x'"]),
    "wrong shape": (["model.onnx", "wide.npy"], 4, ["'x'", "[1, 5]", "[batch, 4]"]),
    "wrong element type": (["model.onnx", "texts.npy"], 4, ["'x'", "float32"]),
    "NaN": (["model.onnx", "nan.npy"], 4, ["'x'", "NaN", "[0, 1]"]),
    "truncated input": (["model.onnx", "cut.npy"], 4, ["cut.npy"]),
    "unreadable picture": (["model.onnx", "picture.png"], 4, ["picture.png"]),
    "input of no known kind": (["model.onnx", "table.xyz"], 4, ["table.xyz", "onnxsal list readers"]),
    "a folder as input": (["model.onnx", "out"], 4, ["out", "folder"]),
    "unknown method": (["model.onnx", "x.npy", "-m", "salience"], 2, ["'salience'", "saliency"]),
    "unknown option": (["model.onnx", "x.npy", "-s", "abbs=1"], 2, ["saliency", "'abbs'", "'abs'"]),
    "an option of the wrong type": (["model.onnx", "x.npy", "-s", "abs=maybe"], 2, ["abs", "'maybe'", "bool"]),
    "an option without a value": (["model.onnx", "x.npy", "-s", "abs"], 2, ["'abs'", "KEY=VALUE", "--help"]),
    "unknown format": (["model.onnx", "x.npy", "-f", "jsn"], 2, ["'jsn'", "json"]),
    "unknown suffix": (["model.onnx", "x.npy", "-o", "why.doc"], 2, ["why.doc", ".npz"]),
    "unknown target": (["model.onnx", "x.npy", "-t", "logit[1]"], 2, ["target", "'logits'"]),
    "target out of range": (["model.onnx", "x.npy", "-t", "3"], 2, ["target", "index 3", "0 to 2"]),
    "too few targets": (["model.onnx", "x.npy", "-t", "0,1,2"], 2, ["target", "3 targets for 2 examples"]),
    "unknown label": (["model.onnx", "x.npy", "-t", "label:dig"], 2, ["'dig'", "'dog'"]),
    "unknown device": (["model.onnx", "x.npy", "-d", "gpu"], 2, ["--device", "'gpu'", "cpu"]),
    "device that is not there": (["model.onnx", "x.npy", "-d", "xpu:7"], 2, ["--device", "xpu:7", "cpu"]),
    "unknown engine": (["model.onnx", "x.npy", "-e", "tourch"], 2, ["'tourch'", "'torch'"]),
    "engine without gradients": (
        ["model.onnx", "x.npy", "-e", "onnxruntime"],
        2,
        ["--engine", "gradients", "-e torch"],
    ),
    "unknown preset": (["model.onnx", "x.npy", "--preset", "imagnet"], 2, ["'imagnet'", "imagenet"]),
    "unknown setting": (["model.onnx", "x.npy", "--set-input", "mean=1"], 2, ["'mean'", "npy"]),
    "unknown explained input": (["model.onnx", "x.npy", "--explain-input", "z"], 4, ["'z'", "x"]),
    "output in a missing folder": (["model.onnx", "x.npy", "-o", "no/why.npz"], 2, ["no", "no such folder", "mkdir"]),
    "several formats on stdout": (
        ["model.onnx", "x.npy", "-o", "-", "-f", "npz", "-f", "json"],
        2,
        ["2 formats", "-f"],
    ),
    "two things on stdin": (["-", "-"], 2, ["stdin"]),
    "unknown flag": (["model.onnx", "x.npy", "--metod", "x"], 2, ["--metod", "--help"]),
    "a batch of nothing": (["model.onnx", "x.npy", "--batch-size", "0"], 2, ["0", "--help"]),
    "unknown key in the configuration": (
        ["model.onnx", "--config", "bad.toml"],
        2,
        ["bad.toml", "'methods'", "'method'"],
    ),
    "configuration that is no TOML": (["model.onnx", "--config", "broken.toml"], 2, ["broken.toml", "TOML"]),
    "missing configuration": (["model.onnx", "--config", "no.toml"], 2, ["no.toml", "--config"]),
}


@pytest.mark.parametrize(("args", "code", "words"), CASES.values(), ids=CASES.keys())
def test_bad_things_are_told_with_where_what_and_next(run, bad, args, code, words):
    (bad / "out").mkdir()
    before = set(bad.rglob("*"))
    wanted = ["-o", "out/why.npz"] if "-o" not in args and "-f" not in args else []
    result = run("explain", *args, *wanted)
    assert result.exit_code == code, result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    first, *rest = result.stderr.rstrip("\n").split("\n")
    assert first.startswith("error: ")
    assert rest, "no word on what to do next"
    assert all(line.startswith("  ") for line in rest)
    for word in words:
        assert word in result.stderr
    assert set(bad.rglob("*")) == before


@pytest.mark.parametrize("name", ["NaN", "unsupported operator", "unknown method", "unknown flag"])
def test_faults_are_json_where_json_is_wanted(run, bad, name):
    args, code, _ = CASES[name]
    result = run("explain", *args, "--json")
    assert result.exit_code == code
    assert result.stdout == ""
    fault = json.loads(result.stderr)["error"]
    assert set(fault) == {"kind", "where", "what", "hint", "exit_code"}
    assert fault["exit_code"] == code
    assert fault["hint"]


def test_facts_and_a_result_do_not_share_stdout(run):
    result = run("explain", "model.onnx", "one.npy", "-o", "-", "--json")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert json.loads(result.stderr)["error"]["where"] == "-o -"


def test_verbose_adds_the_traceback(run, bad):
    result = run("explain", "model.onnx", "nan.npy", "-v")
    assert result.exit_code == 4
    assert "Traceback" in result.stderr
    assert result.stderr.rstrip().split("\n")[-2].startswith("error: input 'x'")


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 7, "out of memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), 7, "out of memory"),
        (OSError(errno.ENOSPC, "No space left on device"), 7, "disk is full"),
    ],
)
def test_resources_and_interruptions_have_their_codes(run, monkeypatch, error, code, words):
    monkeypatch.setattr(pipeline, "run", _raising(error))
    result = run("explain", "model.onnx", "one.npy")
    assert result.exit_code == code
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_torch_s_own_shortage_counts_as_one(run, monkeypatch):
    import torch

    monkeypatch.setattr(pipeline, "run", _raising(torch.OutOfMemoryError("CUDA out of memory")))
    assert run("explain", "model.onnx", "one.npy").exit_code == 7


def test_what_nobody_foresaw_is_our_fault(run, monkeypatch):
    monkeypatch.setattr(pipeline, "run", _raising(ZeroDivisionError("division by zero")))
    result = run("explain", "model.onnx", "one.npy")
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert "please report" in result.stderr
    told = json.loads(run("explain", "model.onnx", "one.npy", "--json").stderr)["error"]
    assert told["exit_code"] == 1
    assert "Traceback" in told["traceback"]


def _raising(error):
    def raise_(*args, **more):
        raise error

    return raise_


def test_libraries_do_not_talk_on_stderr(run, monkeypatch):
    import logging
    import warnings

    real = pipeline.run

    def noisy(*args, **more):
        warnings.warn("a library's own", UserWarning, stacklevel=1)
        logging.getLogger("stranger").warning("a library's own")
        return real(*args, **more)

    monkeypatch.setattr(pipeline, "run", noisy)
    assert run("explain", "model.onnx", "one.npy", "-o", "a.npz").stderr == "wrote a.npz\n"


def test_an_unknown_command_offers_the_nearest(run):
    result = run("explian")
    assert result.exit_code == 2
    assert "'explain'" in result.stderr


def test_a_reader_that_goes_away_is_no_fault():
    command = [sys.executable, "-m", "onnxsal", "list", "operators"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/dev/full is Linux's")
def test_a_full_disk_under_stdout_is_told():
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "onnxsal", "list"], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 7
    assert b"disk is full" in done.stderr
