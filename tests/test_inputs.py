"""Files to feeds: which reader, which port, which settings."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from onnxsal import inputs
from onnxsal.entries import Preset, Reader
from onnxsal.errors import InputError, PluginError, ResourceError, UsageError
from onnxsal.inputs import read_inputs
from onnxsal.plugins import Provider, Registry
from onnxsal.types import Port, Reading

from .readers.support import npy, npz

X, Y = Port("x", "float32", ("N", 2)), Port("model/y:0", "float32", ("N",))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "x.npy").write_bytes(npy(np.ones((1, 2), np.float32)))
    (tmp_path / "y.npy").write_bytes(npy(np.zeros(1, np.float32)))
    (tmp_path / "both.npz").write_bytes(npz(**{"x": np.ones((1, 2)), "model/y:0": np.zeros(1)}))
    (tmp_path / "no-suffix").write_bytes(npy(np.full((1, 2), 5.0)))
    (tmp_path / "notes.qqq").write_bytes(b"text")
    (tmp_path / "empty.npy").write_bytes(b"")
    return tmp_path


def test_unnamed_file_feeds_the_one_input(folder: Path) -> None:
    arrays, pictures = read_inputs([X], {None: folder / "x.npy"})
    assert arrays["x"].tolist() == [[1, 1]]
    assert pictures == {}


def test_named_files(folder: Path) -> None:
    arrays, _ = read_inputs([X, Y], {"model/y:0": folder / "y.npy", "x": folder / "x.npy"})
    assert {name: a.shape for name, a in arrays.items()} == {"x": (1, 2), "model/y:0": (1,)}


def test_one_archive_for_all(folder: Path) -> None:
    assert set(read_inputs([X, Y], {None: folder / "both.npz"})[0]) == {"x", "model/y:0"}


def test_named_goes_before_unnamed(folder: Path) -> None:
    arrays, _ = read_inputs([X, Y], {"x": folder / "no-suffix", None: folder / "both.npz"})
    assert arrays["x"].tolist() == [[5, 5]]
    assert arrays["model/y:0"].tolist() == [0]


def test_kind_is_known_by_the_first_bytes(folder: Path) -> None:
    assert read_inputs([X], {None: folder / "no-suffix"})[0]["x"].tolist() == [[5, 5]]


def test_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(npy(np.ones((1, 2))))))
    assert read_inputs([X], {None: "-"})[0]["x"].tolist() == [[1, 1]]


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("missing.npy", "no such file"),
        ("", "this is a folder"),
        ("empty.npy", "empty"),
        ("notes.qqq", "no reader knows"),
    ],
)
def test_files_that_cannot_be_read(folder: Path, name: str, what: str) -> None:
    with pytest.raises(InputError, match=what) as caught:
        read_inputs([X], {None: folder / name})
    assert caught.value.where == str(folder / name)
    assert caught.value.hint


def test_missing_file_offers_the_nearest(folder: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_inputs([X], {None: folder / "bothh.npz"})
    assert "'both.npz'" in (caught.value.hint or "")


def test_reader_faults_name_the_file(folder: Path) -> None:
    (folder / "x.npy").write_bytes(b"junk")
    with pytest.raises(InputError, match=r"not an \.npy") as caught:
        read_inputs([X], {None: folder / "x.npy"})
    assert caught.value.where == str(folder / "x.npy")


def test_unknown_input_name(folder: Path) -> None:
    with pytest.raises(InputError, match="no input 'y'"):
        read_inputs([X, Y], {"y": folder / "y.npy"})


def test_size_is_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "MAX_BYTES", 10)
    with pytest.raises(InputError, match="more than"):
        read_inputs([X], {None: folder / "x.npy"})


def test_unknown_setting(folder: Path) -> None:
    with pytest.raises(UsageError, match="no setting 'size' for inputs read as npy"):
        read_inputs([X], {None: folder / "x.npy"}, {"size": "3"})


def test_preset_that_says_nothing_about_the_file(folder: Path) -> None:
    with pytest.raises(UsageError, match="says nothing"):
        read_inputs([X], {None: folder / "x.npy"}, preset="imagenet")


def test_unknown_preset(folder: Path) -> None:
    with pytest.raises(UsageError, match="no preset 'imagnet'") as caught:
        read_inputs([X], {None: folder / "x.npy"}, preset="imagnet")
    assert "'imagenet'" in (caught.value.hint or "")


# --- a stranger's reader ---


def read_word(data: bytes, ports: Sequence[Port], *, times: int = 1, loud: bool = False) -> dict[str, Reading]:
    """Read a word as its length."""
    value = len(data) * times * (100 if loud else 1)
    return {ports[0].name: Reading(np.full((1, 2), value, np.float32), np.zeros((1, 1, 1, 3), np.uint8))}


def install(monkeypatch: pytest.MonkeyPatch, *readers: Reader) -> None:
    found = Registry()
    for reader in readers:
        found.add("readers", reader, Provider("onnxsal-words", "1.0", "words"))
    found.add("presets", Preset("twice", {"times": 2, "size": 224}), Provider("onnxsal-words", "1.0", "words"))
    monkeypatch.setattr(inputs, "registry", lambda: found)


def test_settings_go_before_the_preset(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Reader("words", read_word, suffixes=(".qqq",)))
    source = {None: folder / "notes.qqq"}
    assert read_inputs([X], source)[0]["x"][0, 0] == 4
    assert read_inputs([X], source, preset="twice")[0]["x"][0, 0] == 8
    assert read_inputs([X], source, {"times": "3", "loud": "yes"}, "twice")[0]["x"][0, 0] == 1200


def test_pictures_come_by_input_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Reader("words", read_word, suffixes=(".qqq",)))
    assert read_inputs([X], {"x": folder / "notes.qqq"})[1]["x"].shape == (1, 1, 1, 3)


def test_longest_suffix_wins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = Reader("short", lambda *_: pytest.fail("the wrong reader"), suffixes=(".gz",))
    install(monkeypatch, short, Reader("words", read_word, suffixes=(".qqq.gz",)))
    (folder / "notes.QQQ.gz").write_bytes(b"four")
    assert read_inputs([X], {None: folder / "notes.QQQ.gz"})[0]["x"][0, 0] == 4


def raising(error: BaseException) -> Any:
    def read(data: bytes, ports: Sequence[Port]) -> dict[str, Reading]:
        raise error

    return read


@pytest.mark.parametrize(
    ("read", "kind", "what"),
    [
        (raising(ZeroDivisionError("oops")), PluginError, "'words' of onnxsal-words 1.0 failed: oops"),
        (raising(MemoryError()), ResourceError, "out of memory"),
        (lambda *_: {"z": Reading(np.ones(1))}, PluginError, "nobody asked for"),
    ],
)
def test_faults_of_a_reader(folder: Path, monkeypatch: pytest.MonkeyPatch, read: Any, kind: Any, what: str) -> None:
    install(monkeypatch, Reader("words", read, suffixes=(".qqq",)))
    with pytest.raises(kind, match=what) as caught:
        read_inputs([X], {None: folder / "notes.qqq"})
    assert caught.value.where == str(folder / "notes.qqq")


def test_suffix_that_two_plugins_claim(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, *[Reader("words", read_word, suffixes=(".qqq",))] * 2)
    with pytest.raises(PluginError, match="both bring reader 'words'"):
        read_inputs([X], {None: folder / "notes.qqq"})


def test_question_marks_in_a_signature(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Reader("wrong", lambda *_: pytest.fail("the wrong reader"), signatures=(b"t??T", b"text and more"))
    install(monkeypatch, wrong, Reader("words", read_word, signatures=(b"t??t",)))
    assert read_inputs([X], {None: folder / "notes.qqq"})[0]["x"][0, 0] == 4
