"""The compiled engine says what the torch engine says; its cache trusts nothing it did not write."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import onnxsal
from onnxsal import cache
from onnxsal.compiler import gradient
from onnxsal.errors import CompileFault, UsageError
from tests import models_for_tests as tiny

MODELS = Path(__file__).parents[2] / "models"
DIGITS = MODELS / "digits_cnn.onnx"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ONNXSAL_CACHE_DIR", str(tmp_path / "cache"))


def digits(count: int = 4) -> dict[str, np.ndarray]:
    return {"image": np.load(MODELS / "samples" / "digits.npz")["image"][:count]}


def both(method: str, target=None, **options) -> tuple[onnxsal.Attribution, onnxsal.Attribution]:
    found = [
        onnxsal.explain(DIGITS, digits(), method=method, target=target, engine=engine, **options)
        for engine in ("torch", "compiled")
    ]
    return found[0], found[1]


@pytest.mark.parametrize("target", [None, 3, "logits.max()", "argmax - runnerup", [1, 2, 3, 4]])
def test_gradients_of_every_target(target):
    expected, got = both("saliency", target, abs=False)
    np.testing.assert_allclose(got.values["image"], expected.values["image"], atol=1e-6 * np.abs(expected.score).max())
    assert got.provenance.engine == "compiled"


@pytest.mark.parametrize("method", ["integrated_gradients", "smoothgrad", "guided_backprop", "grad_cam", "occlusion"])
def test_methods_run_unchanged(method):
    expected, got = both(method)
    scale = np.abs(expected.values["image"]).max()
    np.testing.assert_allclose(got.values["image"], expected.values["image"], atol=1e-5 * scale)


def test_a_score_that_bends_is_run_again_at_the_real_outputs():
    model = onnxsal.load(tiny.linear())
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    expected = onnxsal.explain(model, {"x": x}, target="logits.prod()", abs=False, engine="torch")
    got = onnxsal.explain(model, {"x": x}, target="logits.prod()", abs=False, engine="compiled")
    np.testing.assert_allclose(got.values["x"], expected.values["x"], rtol=1e-5, atol=1e-6)


def entries() -> list[Path]:
    return sorted((cache.folder() / "compiled").glob("*.onnx"))


def test_one_file_serves_every_target_and_batch():
    for count, target in ((2, 3), (5, 7), (1, None)):
        onnxsal.explain(onnxsal.load(DIGITS), digits(count), target=target, engine="compiled")
    assert len(entries()) == 1


def test_a_damaged_file_is_made_again():
    onnxsal.explain(onnxsal.load(DIGITS), digits(), engine="compiled")
    (path,) = entries()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    found = onnxsal.explain(onnxsal.load(DIGITS), digits(), engine="compiled")
    assert path.read_bytes() == whole
    expected = onnxsal.explain(DIGITS, digits(), engine="torch")
    np.testing.assert_allclose(found.values["image"], expected.values["image"], atol=1e-5)


@pytest.mark.parametrize("left", [("sha256", "fixed"), ("sha256",), ()], ids=len)
def test_an_entry_that_says_too_little_counts_as_none(left):
    onnxsal.explain(onnxsal.load(DIGITS), digits(), engine="compiled")
    (about,) = (cache.folder() / "compiled").glob("*.json")
    whole = json.loads(about.read_text())
    about.write_text(json.dumps(whole | {"value": {key: whole["value"][key] for key in left}}))
    onnxsal.explain(onnxsal.load(DIGITS), digits(), engine="compiled")
    assert set(json.loads(about.read_text())["value"]) == {"sha256", "fixed", "speedup"}


def test_a_file_somebody_else_put_there_is_not_run():
    onnxsal.explain(onnxsal.load(DIGITS), digits(), engine="compiled")
    (path,) = entries()
    whole = path.read_bytes()
    path.write_bytes(DIGITS.read_bytes())
    onnxsal.explain(onnxsal.load(DIGITS), digits(), engine="compiled")
    assert path.read_bytes() == whole


@pytest.mark.slow
def test_two_processes_at_once():
    code = (
        "import numpy as np, onnxsal\n"
        f"x = np.load({str(MODELS / 'samples' / 'digits.npz')!r})['image']\n"
        f"a = onnxsal.explain({str(DIGITS)!r}, {{'image': x}}, engine='compiled')\n"
        "assert np.isfinite(a.values['image']).all()\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    assert len(entries()) == 1


def pretend(monkeypatch, imported: float, compiled: float) -> None:
    """Let the two seem to take so many seconds when they are timed."""
    taken = iter((imported, compiled))
    monkeypatch.setattr(gradient, "_seconds", lambda _: next(taken))


@pytest.mark.parametrize(("speedup", "engine"), [(2.0, "compiled"), (1.05, "torch"), (0.5, "torch")])
def test_auto_takes_what_was_seen_to_be_faster(monkeypatch, speedup, engine):
    assert onnxsal.explain(DIGITS, digits()).provenance.engine == "torch"
    pretend(monkeypatch, speedup, 1.0)
    expected = onnxsal.explain(DIGITS, digits(), engine="compiled")
    got = onnxsal.explain(DIGITS, digits())
    assert got.provenance.engine == engine
    np.testing.assert_allclose(got.values["image"], expected.values["image"], atol=1e-6)


def test_auto_compiles_nothing(monkeypatch, tmp_path):
    path = tiny.save(tiny.two_inputs(), tmp_path)
    pretend(monkeypatch, 2.0, 1.0)
    names = ["a", "gate"]
    feeds = {name: np.ones((2, 2), np.float32) for name in names} | {"ids": np.array([1, 2])}
    onnxsal.explain(path, feeds, inputs=["a"], engine="compiled")
    files = len(entries())
    expected = onnxsal.explain(path, feeds, inputs=names, engine="torch")
    got = onnxsal.explain(path, feeds, inputs=names)
    assert len(entries()) == files
    for name in names:
        np.testing.assert_array_equal(got.values[name], expected.values[name])


def test_a_model_too_large_for_a_file_is_refused(monkeypatch):
    monkeypatch.setattr(gradient, "LARGEST_FILE", 1000)
    with pytest.raises(CompileFault, match="more than a file in the cache can hold"):
        onnxsal.explain(DIGITS, digits(), engine="compiled")
    assert not entries()


def test_only_where_onnx_runtime_computes():
    with pytest.raises(UsageError, match="has no CUDAExecutionProvider"):
        onnxsal.explain(DIGITS, digits(1), engine="compiled", device="cuda:0")
