"""Tables: whole in a pipe, wrapped to a terminal's width."""

from __future__ import annotations

from onnxsal.cli import _tables

ROWS = [("saliency", "a word " * 20), ("ig", "short")]


def test_a_pipe_gets_one_line_a_row(capsys):
    _tables.show(["name", "what"], ROWS)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", "saliency", "ig"]
    assert lines[1].index("a word") == lines[2].index("short")


def test_a_terminal_gets_lines_that_fit(capsys, monkeypatch):
    monkeypatch.setattr(_tables, "terminal_width", lambda: 60)
    _tables.show(["name", "what"], ROWS)
    _tables.facts([("name", "a word " * 20)])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 60
    assert len(lines) > 5


def test_columns_are_not_squeezed_to_nothing(capsys, monkeypatch):
    monkeypatch.setattr(_tables, "terminal_width", lambda: 10)
    _tables.show(["name", "what"], ROWS)
    assert max(map(len, capsys.readouterr().out.splitlines())) == len("saliency") + 2 + _tables.NARROWEST


def test_an_empty_cell_is_empty_and_so_may_a_column_be(capsys):
    _tables.show(["a", "", "b"], [("", "", "x")])
    assert capsys.readouterr().out.splitlines()[1] == "     x"


def test_a_word_stays_whole(capsys, monkeypatch):
    monkeypatch.setattr(_tables, "terminal_width", lambda: 40)
    _tables.facts([("sha256", "f" * 64), ("name", "a/name-with-hyphens/of_a_node " * 3)])
    words = capsys.readouterr().out.split()
    assert "f" * 64 in words
    assert words.count("a/name-with-hyphens/of_a_node") == 3
