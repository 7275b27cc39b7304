"""``onnxsal.toml``."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxsal import config
from onnxsal.errors import UsageError

COMMANDS = ["explain", "verify"]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(text: str) -> dict[str, object]:
    Path("onnxsal.toml").write_text(text)
    return config.load(None, "explain", ["method", "seed", "options"], COMMANDS)


def test_without_a_file_there_are_no_settings():
    assert config.load(None, "explain", ["method"], COMMANDS) == {}


def test_a_command_has_a_table_of_its_own():
    found = load('[explain]\nmethod = "x"\n[explain.options]\nsteps = 3\n[verify]\nwhatever = 1\n')
    assert found == {"method": "x", "options": {"steps": 3}}


def test_a_table_may_be_missing():
    assert load("[verify]\n") == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[explain]\nmetod = 1\n", ["[explain]", "'metod'", "'method'"]),
        ("[explane]\nmethod = 1\n", ["'explane'", "'explain'"]),
        ("explain = 3\n", ["'explain'", "no table", "[explain]"]),
        ("[explain]\nmethod = saliency\n", ["TOML", "line 2", "quoted"]),
    ],
)
def test_what_nobody_knows_is_refused(text, words):
    with pytest.raises(UsageError) as told:
        load(text)
    assert "onnxsal.toml" in str(told.value)
    for word in words:
        assert word in str(told.value)


def test_a_named_file_has_to_be_there():
    with pytest.raises(UsageError, match=r"other\.toml: cannot be read: No such file"):
        config.load("other.toml", "explain", ["method"], COMMANDS)


def test_a_file_that_is_no_text_is_refused():
    Path("onnxsal.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="UTF-8"):
        config.load(None, "explain", ["method"], COMMANDS)
