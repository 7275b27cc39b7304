"""``onnxsal explain``: what is asked, and where the answer goes."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

import onnxsal
from onnxsal.cli import _output
from onnxsal.cli._options import sources, targets_of
from onnxsal.entries import Format
from onnxsal.errors import OutputError, UsageError
from onnxsal.plugins import Provider, registry
from tests.cli.conftest import WEIGHTS


def explain(run, *args, **more):
    result = run("explain", "model.onnx", *args, **more)
    assert result.exit_code == 0, result.stderr
    return result


def facts(run, *args, **more):
    return json.loads(explain(run, *args, "--json", **more).stdout)


# --- what is asked ----------------------------------------------------------------------------------------------------


def test_the_answer_is_the_library_s(run, folder):
    explain(run, "x.npy", "-m", "integrated_gradients", "-s", "steps=3", "-t", "1", "-o", "why.npz")
    expected = onnxsal.explain(
        folder / "model.onnx", {"x": np.load(folder / "x.npy")}, method="integrated_gradients", steps=3, target=1
    )
    with np.load(folder / "why.npz") as found:
        assert set(found) == {"x", "_meta"}
        np.testing.assert_array_equal(found["x"], expected.values["x"])
        meta = json.loads(str(found["_meta"]))
    assert meta["options"]["steps"] == 3
    assert meta["target"] == ["logits[1]", "logits[1]"]


def test_inputs_can_be_named(run):
    assert facts(run, "-i", "x=one.npy", "-t", "0")["score"] == [3.0]


def test_a_layer_and_a_neuron_are_named_as_in_the_file(run):
    inside = facts(run, "one.npy", "-m", "input_x_gradient", "--layer", "classify", "-t", "0")
    assert (inside["layer"], inside["neuron"], inside["score"]) == (["logits"], None, [3.0])
    neuron = facts(run, "one.npy", "--neuron", "classify[2]")
    assert (neuron["layer"], neuron["neuron"]) == (None, "classify[2]")
    assert run("explain", "model.onnx", "one.npy", "--layer", "clasify").exit_code == 2


def test_tokens_are_kept_by_their_ids(run, folder):
    from tests.test_inputs_of_ids import LOOKUP, model

    (folder / "words.onnx").write_bytes(model(LOOKUP).source)
    np.save(folder / "ids.npy", np.array([[6, 1, 5]]))
    kept = ("--keep-token", "6", "--keep-token", "5", "-t", "0", "-o", "why.npz")
    assert run("explain", "words.onnx", "ids.npy", *kept).exit_code == 0
    assert (np.load(folder / "why.npz")["ids"] != 0).tolist() == [[False, True, False]]


def test_an_archive_feeds_by_name(run, folder):
    np.savez(folder / "x.npz", x=np.ones((1, 4), np.float32))
    assert facts(run, "x.npz", "-t", "1")["score"] == [2.0]


def test_stdin_may_be_the_input(run, folder):
    data = (folder / "one.npy").read_bytes()
    assert facts(run, "-", "-t", "0", input=data)["score"] == [3.0]


def test_stdin_may_be_the_model(run, folder):
    data = (folder / "model.onnx").read_bytes()
    result = run("explain", "-", "one.npy", "-t", "0", "--json", input=data)
    assert json.loads(result.stdout)["score"] == [3.0]


def test_one_target_per_example(run):
    assert facts(run, "x.npy", "-t", "0,2")["target"] == ["logits[0]", "logits[2]"]


def test_a_label_with_a_comma_is_one_target(run):
    assert facts(run, "x.npy", "-t", "label:tabby cat, tom")["target"] == ["logits[2]", "logits[2]"]


def test_the_batch_size_does_not_change_the_answer(run):
    plain, single = facts(run, "x.npy", "-t", "0"), facts(run, "x.npy", "-t", "0", "--batch-size", "1")
    assert plain["score"] == single["score"]


def test_parity_is_left_out_where_it_is_not_wanted(run):
    assert facts(run, "x.npy", "--no-verify")["parity"] is None
    assert facts(run, "x.npy", "--tolerance", "0.5")["parity"]["tolerance"] == 0.5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("3", "3"),
        ("3,5", ["3", "5"]),
        (" 3 , argmax ", ["3", "argmax"]),
        ("boxes[0,5,4]", "boxes[0,5,4]"),
        ("boxes[0,5],boxes[1,5]", ["boxes[0,5]", "boxes[1,5]"]),
        ("(1,2)", (1, 2)),
        ("(1,2),(3,4)", [(1, 2), (3, 4)]),
        ("label:tabby, tabby cat", "label:tabby, tabby cat"),
        ("label:cat,label:dog", ["label:cat", "label:dog"]),
        ("mask[1,0:8].sum()", "mask[1,0:8].sum()"),
    ],
)
def test_targets_are_split_where_a_person_would(text, expected):
    assert targets_of(text) == expected


@pytest.mark.parametrize("text", ["3,", ",", "(a,b)"])
def test_a_target_that_says_nothing_is_refused(text):
    with pytest.raises(UsageError):
        targets_of(text)


def test_an_input_is_given_once():
    with pytest.raises(UsageError, match="twice"):
        sources(None, [("x", "a.npy"), ("x", "b.npy")])
    with pytest.raises(UsageError, match="stdin"):
        sources("-", [("x", "-")])


# --- where it goes ----------------------------------------------------------------------------------------------------


def test_a_summary_is_printed_where_nothing_is_said(run, folder):
    before = set(folder.iterdir())
    assert "logits" in explain(run, "one.npy").stdout
    assert set(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("args", "files"),
    [
        (["-o", "why.npz"], ["why.npz"]),
        (["-o", "why", "-f", "npz", "-f", "json"], ["why.json", "why.npz"]),
        (["-o", "why.npz", "-f", "npz", "-f", "json"], ["why.json", "why.npz"]),
        (["-o", "v1.2", "-f", "npz", "-f", "json"], ["v1.2.json", "v1.2.npz"]),
        (["-o", "why", "-f", "json"], ["why"]),
        (["-o", "out", "-f", "json"], ["out/model-saliency.json"]),
        (["-o", "out/"], ["out/model-saliency.npz"]),
        (["-f", "npz"], ["model-saliency.npz"]),
        (["-f", "json", "--json"], ["model-saliency.json"]),
        (["-t", "top2", "-o", "why.npz"], ["why-1.npz", "why-2.npz"]),
        (["-t", "top2", "-o", "why", "-f", "json"], ["why-1", "why-2"]),
    ],
)
def test_files_are_named_as_documented(run, folder, args, files):
    (folder / "out").mkdir()
    before = set(folder.rglob("*"))
    result = explain(run, "one.npy", *args)
    written = sorted(str(path.relative_to(folder)) for path in set(folder.rglob("*")) - before)
    assert written == files
    if "--json" in args:
        assert json.loads(result.stdout)["files"] == files
    else:
        assert sorted(result.stderr.split("\n")[:-1]) == [f"wrote {name}" for name in files]
        assert result.stdout == ""


def test_binary_goes_down_a_pipe(run):
    result = explain(run, "one.npy", "-t", "1", "-f", "npz", "-o", "-")
    with np.load(io.BytesIO(result.stdout_bytes)) as found:
        np.testing.assert_array_equal(found["x"], abs(WEIGHTS[None, :, 1]))


def test_several_targets_on_stdout_are_one_object(run):
    ranked = json.loads(explain(run, "one.npy", "-t", "top3", "-f", "json", "-o", "-").stdout)["ranked"]
    assert [entry["target"] for entry in ranked] == [["logits[2]"], ["logits[1]"], ["logits[0]"]]
    assert all("attributions" in entry for entry in ranked)


def test_json_gives_the_facts_of_every_target(run):
    found = facts(run, "one.npy", "-t", "top2", "-o", "why.npz")
    assert [entry["label"] for entry in found["ranked"]] == [["tabby cat, tom"], ["dog"]]
    assert found["files"] == ["why-1.npz", "why-2.npz"]


@pytest.fixture
def broken_format(monkeypatch):
    def render(attribution):
        raise OutputError("cannot draw this", where="broken")

    claims = [(Format("broken", render, ".broken"), Provider("stranger", "1", "broken"))]
    monkeypatch.setitem(registry().entries["formats"], "broken", claims)


@pytest.mark.usefixtures("broken_format")
def test_a_format_that_fails_leaves_nothing_behind(run, folder):
    before = set(folder.iterdir())
    result = run("explain", "model.onnx", "one.npy", "-f", "npz", "-f", "broken", "-o", "why")
    assert result.exit_code == 2
    assert "cannot draw this" in result.stderr
    assert set(folder.iterdir()) == before


def test_quiet_says_nothing_and_verbose_more(run):
    assert explain(run, "one.npy", "-o", "a.npz", "-q").stderr == ""
    told = explain(run, "one.npy", "-o", "a.npz", "-v").stderr
    assert "read x [1, 4]" in told
    assert "wrote a.npz" in told


def test_formats_take_settings(run, folder):
    explain(run, "one.npy", "-o", "why.json", "--set-format", "max_elements=1")
    assert json.loads((folder / "why.json").read_text())["attributions"]["x"]["omitted"] is True
    (folder / "onnxsal.toml").write_text("[explain.set-format]\nmax_elements = 1\n")
    explain(run, "one.npy", "-o", "why", "-f", "json", "-f", "npz")
    assert json.loads((folder / "why.json").read_text())["attributions"]["x"]["omitted"] is True


def test_a_setting_that_no_format_knows_is_refused(run):
    result = run("explain", "model.onnx", "one.npy", "-f", "npz", "-f", "json", "--set-format", "max_element=1")
    assert result.exit_code == 2
    assert "'max_elements'" in result.stderr


@pytest.fixture
def terminal(monkeypatch):
    """Let a person look at stdout."""
    monkeypatch.setattr(_output, "terminal_width", lambda: 60)
    monkeypatch.setattr(_output, "is_terminal", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.mark.usefixtures("terminal")
def test_a_terminal_is_given_its_width_and_colours(monkeypatch):
    text = registry().get("formats", "text")
    (shown,) = _output.configure([_output.Output(text, None)], {}, {})
    assert shown.options == {"width": 60, "colour": True}
    (filed,) = _output.configure([_output.Output(text, Path("why.txt"))], {}, {})
    assert filed.options == {}
    monkeypatch.setenv("NO_COLOR", "1")
    (plain,) = _output.configure([_output.Output(text, None)], {"width": "50"}, {})
    assert plain.options == {"width": "50", "colour": False}


@pytest.mark.usefixtures("terminal")
def test_binary_is_not_thrown_at_a_terminal():
    with pytest.raises(UsageError, match="not for a terminal"):
        _output.plan(["npz"], "-", "why")


# --- settings ---------------------------------------------------------------------------------------------------------


def test_flags_go_before_the_environment_before_the_file_before_defaults(run, folder):
    assert facts(run, "one.npy")["method"] == "saliency"
    (folder / "onnxsal.toml").write_text('[explain]\nmethod = "input_x_gradient"\ntarget = "1"\n')
    assert facts(run, "one.npy")["method"] == "input_x_gradient"
    assert facts(run, "one.npy", ONNXSAL_METHOD="integrated_gradients")["method"] == "integrated_gradients"
    found = facts(run, "one.npy", "-m", "saliency", ONNXSAL_METHOD="integrated_gradients")
    assert (found["method"], found["target"]) == ("saliency", ["logits[1]"])


def test_options_of_the_file_are_for_the_file_s_method(run, folder):
    (folder / "onnxsal.toml").write_text('[explain]\nmethod = "integrated_gradients"\n[explain.options]\nsteps = 7\n')
    assert facts(run, "one.npy")["options"]["steps"] == 7
    assert facts(run, "one.npy", "-s", "steps=4")["options"]["steps"] == 4
    assert facts(run, "one.npy", "-m", "saliency")["options"] == {"abs": True}


def test_a_configuration_elsewhere_replaces_the_folder_s(run, folder):
    (folder / "onnxsal.toml").write_text('[explain]\nmethod = "input_x_gradient"\n')
    (folder / "other.toml").write_text("[explain]\nseed = 9\ninput = ['x=one.npy']\nverify = false\nformat = 'npz'\n")
    found = facts(run, "--config", "other.toml")
    assert (found["method"], found["provenance"]["seed"], found["parity"]) == ("saliency", 9, None)
    assert found["files"] == ["model-saliency.npz"]


def test_the_environment_may_hold_several_values(run):
    found = facts(run, "one.npy", ONNXSAL_METHOD="integrated_gradients", ONNXSAL_SET="steps=3 baseline=1")
    assert found["options"]["steps"] == 3
    assert found["options"]["baseline"] == "1"
