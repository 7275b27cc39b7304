"""``onnxsal list``."""

from __future__ import annotations

import json

import pytest

from onnxsal.entries import Format
from onnxsal.plugins import Problem, Provider, kinds, registry


def listed(run, *args):
    result = run("list", *args, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_kinds_are_counted(run):
    counts = {row["kind"]: row["count"] for row in listed(run)}
    assert set(counts) == {*kinds(), "plugins"}
    assert counts["methods"] == len(registry().names("methods"))
    assert counts["operators"] > 100


@pytest.mark.parametrize("kind", [*kinds(), "plugins"])
def test_every_kind_can_be_listed_and_every_entry_told(run, kind):
    table = run("list", kind)
    assert table.exit_code == 0
    for row in listed(run, kind)[:3]:
        assert row["name"] in table.stdout
        if kind != "devices":  # counting them imports torch
            assert row["name"] in run("list", kind, row["name"]).stdout


def test_a_kind_may_be_said_in_the_singular(run):
    assert listed(run, "method") == listed(run, "methods")


def test_a_method_is_told_with_its_options(run):
    found = listed(run, "methods", "integrated_gradients")
    steps = next(option for option in found["options"] if option["name"] == "steps")
    assert (steps["type"], steps["default"]) == ("int", 50)
    assert steps["help"]
    text = run("list", "methods", "integrated_gradients").stdout
    assert "Args:" not in text
    assert "options (-s NAME=VALUE)" in text
    assert "gausslegendre | adaptive" in text  # spaced, so that a terminal can break it


def test_an_operator_is_one_row_with_all_its_opsets(run):
    row = next(row for row in listed(run, "operators") if row["name"] == "Softmax")
    assert (row["since"], row["family"]) == ([1, 13], "activations")
    assert [version["since"] for version in listed(run, "operators", "Softmax")["versions"]] == [1, 13]


def test_a_pipe_is_given_whole_lines_without_colour(run):
    lines = run("list", "methods").stdout.splitlines()
    assert len(lines) == len(registry().names("methods")) + 1
    assert "\x1b" not in "".join(lines)


def test_plugins_tell_what_they_bring(run):
    ours = next(row for row in listed(run, "plugins") if row["name"] == "onnxsal")
    assert "saliency" in ours["brings"]["methods"]
    assert ours["problems"] == []


@pytest.fixture
def rival(monkeypatch):
    """Let a second distribution bring json, and fail at something else."""
    provider = Provider("rival", "2.0", "rival.plugin")
    ours = registry().entries["formats"]["json"]
    claims = [*ours, (Format("json", lambda _: b"", ".json"), provider)]
    monkeypatch.setitem(registry().entries["formats"], "json", claims)
    problem = Problem(provider, "cannot be imported: ImportError: no", "Traceback of the plugin")
    monkeypatch.setattr(registry(), "problems", [problem])


@pytest.mark.usefixtures("rival")
def test_a_clash_lists_each_by_its_distribution(run):
    names = [row["name"] for row in listed(run, "formats")]
    assert "onnxsal:json" in names
    assert "rival:json" in names
    assert run("list", "formats", "json").exit_code == 5
    assert listed(run, "formats", "rival:json")["from"] == "rival 2.0"


@pytest.mark.usefixtures("rival")
def test_a_broken_plugin_is_a_warning_with_its_traceback_where_asked(run):
    told = run("list", "methods")
    assert told.exit_code == 0
    assert told.stderr == "warning: plugin rival.plugin (rival 2.0) skipped: cannot be imported: ImportError: no\n"
    assert "Traceback of the plugin" in run("list", "methods", "-v").stderr
    assert run("list", "methods", "-q").stderr == ""
    assert json.loads(run("list", "methods", "--json").stderr)["warning"].startswith("plugin rival.plugin")
    rival = next(row for row in listed(run, "plugins") if row["name"] == "rival")
    assert rival["problems"] == ["cannot be imported: ImportError: no"]


@pytest.mark.parametrize("args", ["methodes", "methods salience", "operators Sofmax", "plugins onnxsl"])
def test_an_unknown_name_offers_the_nearest(run, args):
    result = run("list", *args.split())
    assert result.exit_code == 2
    assert "did you mean" in result.stderr


@pytest.mark.parametrize(
    ("kind", "name", "how"),
    [
        ("baselines", "blur", "-s baseline=blur:NAME=VALUE"),
        ("masks", "grid", "-s features=grid:NAME=VALUE"),
        ("metrics", "deletion", "-M deletion:NAME=VALUE"),
    ],
)
def test_it_says_how_options_are_given(run, kind, name, how):
    assert f"options ({how})" in run("list", kind, name).stdout
