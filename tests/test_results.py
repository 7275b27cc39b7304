"""Results go out whole, or not at all, and come back equal."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import onnxsal
from onnxsal import results
from onnxsal.entries import Format
from onnxsal.errors import InputError, OutputError, PluginError, ResourceError, UsageError
from onnxsal.plugins import Provider, Registry
from onnxsal.results import load_attribution, parse_target, render, save, write_whole
from onnxsal.types import Attribution, Target

from .attributions import attribution, provenance

BACK = ["npz", "json", "safetensors"]
AWKWARD = {
    "model/input:0": np.array([[1.5, np.nan], [np.inf, -np.inf]], np.float32),
    'quo"te\n': np.array([[0.1], [1e-30]], np.float64),
    "half": np.array([1, 65504], np.float16),
    "whole": np.array([2**62, -1]),
    "x": np.zeros((2, 0, 3), np.float32),
    "x.npy": np.asfortranarray(np.arange(4.0).reshape(2, 2)),
    "": np.float32([7, 8])[::-1],
}


@pytest.mark.parametrize("format", BACK)
def test_comes_back_equal(tmp_path: Path, format: str) -> None:
    original = attribution(AWKWARD)
    back = Attribution.load(original.save(tmp_path / f"out.{format}"))
    assert list(back.values) == list(AWKWARD) or set(back.values) == set(AWKWARD)
    for name, value in AWKWARD.items():
        np.testing.assert_array_equal(back.values[name], value)
        assert back.values[name].dtype == value.dtype
        assert back.values[name].shape == value.shape
    assert back.meta == original.meta
    assert render(back, format) == render(original, format)


@pytest.mark.parametrize("format", BACK)
def test_facts_in_awkward_shapes_come_back(tmp_path: Path, format: str) -> None:
    original = attribution(
        {"x": np.ones((2, 2), np.float32)},
        score=np.array([np.nan, 1e-8]),
        target=[Target("a[1]", (3, slice(0, 8), slice(None, None, 2)), "sum"), Target("out:0", ())],
        options={"sigma": (0.1, None), "mode": "ä"},
        completeness=None,
        parity=None,
        provenance=provenance(notes=[]),
    )
    assert load_attribution(original.save(tmp_path / f"out.{format}")).meta == original.meta


@pytest.mark.parametrize("format", BACK)
def test_bfloat16_comes_back_with_its_values(tmp_path: Path, format: str) -> None:
    value = np.array([1.5, -0.0078125], ml_dtypes.bfloat16)
    back = load_attribution(attribution({"x": value}).save(tmp_path / f"out.{format}")).values["x"]
    np.testing.assert_array_equal(back.astype(np.float32), value.astype(np.float32))


@pytest.mark.parametrize("format", BACK)
def test_bytes_are_the_same_every_time(format: str) -> None:
    assert render(attribution(), format) == render(attribution(), format)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("logits[3]", Target("logits", (3,))),
        ("boxes[0,-5,4]", Target("boxes", (0, -5, 4))),
        ("mask[1,0:8,::2].sum()", Target("mask", (1, slice(0, 8), slice(None, None, 2)), "sum")),
        ("y.mean()", Target("y", (), "mean")),
        ("y", Target("y", ())),
    ],
)
def test_targets(text: str, target: Target) -> None:
    assert parse_target(text) == target
    assert str(parse_target(text)) == text


def test_suffix_says_the_format(tmp_path: Path) -> None:
    assert save(attribution(), tmp_path / "A.NPZ").read_bytes()[:2] == b"PK"
    assert save(attribution(), tmp_path / "a.data", "json").read_bytes()[:1] == b"{"


def test_unknown_suffix_or_format(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no format has this suffix") as caught:
        save(attribution(), tmp_path / "out.jsn")
    assert "'.json'" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="no format 'nzp'"):
        render(attribution(), "nzp")
    with pytest.raises(UsageError, match="no option 'colour'"):
        render(attribution(), "npz", colour=1)
    assert list(tmp_path.iterdir()) == []


# --- written whole ---


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no such folder") as caught:
        write_whole(tmp_path / "a" / "b.npz", b"x")
    assert caught.value.hint == f"mkdir -p {tmp_path / 'a'}"


def test_folder_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="this is a folder"):
        write_whole(tmp_path, b"x")


def test_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be written"):
        write_whole(tmp_path / "file" / "b.npz", b"x")


@pytest.mark.parametrize(
    ("code", "kind"), [(errno.ENOSPC, ResourceError), (errno.EDQUOT, ResourceError), (errno.EIO, OutputError)]
)
def test_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: Any
) -> None:
    path = write_whole(tmp_path / "out.npz", b"old")

    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(kind) as caught:
        write_whole(path, b"new")
    assert caught.value.hint
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "out.npz", b"new")
    assert list(tmp_path.iterdir()) == []


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        path = write_whole(tmp_path / "out.npz", b"x")
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        path.chmod(0o600)
        assert stat.S_IMODE(write_whole(path, b"y").stat().st_mode) == 0o600
    finally:
        os.umask(mask)


def test_long_names(tmp_path: Path) -> None:
    assert write_whole(tmp_path / ("n" * 250), b"x").read_bytes() == b"x"


# --- read back ---


def test_unknown_kind_of_result(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="read back"):
        load_attribution(tmp_path / "a.png")


def test_missing_result(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_attribution(tmp_path / "a.npz")


@pytest.mark.parametrize("suffix", BACK)
@pytest.mark.parametrize("data", [b"", b"{}", b'{"attributions": 3}', b"\x93NUMPY", b"\x08" + b"\0" * 7 + b"{}      "])
def test_what_is_no_result(tmp_path: Path, suffix: str, data: bytes) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        load_attribution(path)
    assert str(path) in (caught.value.where or "")


def test_arrays_without_facts(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones(3))
    with pytest.raises(InputError, match="not a result"):
        load_attribution(tmp_path / "a.npz")


def test_newer_schema(tmp_path: Path) -> None:
    path = attribution().save(tmp_path / "a.json")
    path.write_bytes(path.read_bytes().replace(b'"schema": 1', b'"schema": 99'))
    with pytest.raises(InputError, match="schema 99"):
        load_attribution(path)


def test_omitted_values(tmp_path: Path) -> None:
    path = save(attribution(), tmp_path / "a.json", max_elements=3)
    with pytest.raises(InputError, match="left out"):
        load_attribution(path)


# --- a stranger's format ---


@pytest.mark.parametrize(("error", "kind"), [(ZeroDivisionError("oops"), PluginError), (MemoryError(), ResourceError)])
def test_faults_of_a_format(monkeypatch: pytest.MonkeyPatch, error: Exception, kind: Any) -> None:
    def broken(attribution: Attribution) -> bytes:
        raise error

    found = Registry()
    found.add("formats", Format("html", broken, ".html"), Provider("onnxsal-html", "1.0", "html"))
    monkeypatch.setattr(results, "registry", lambda: found)
    with pytest.raises(kind):
        render(attribution(), "html")


def test_public_names() -> None:
    assert onnxsal.save is save
    assert onnxsal.load_attribution is load_attribution
