"""``onnxsal evaluate`` and ``onnxsal compare``."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import onnxsal
from tests.cli.conftest import linear_model


def succeeded(result):
    assert result.exit_code == 0, result.stderr
    return result.stdout


def facts(run, *args):
    return json.loads(succeeded(run(*args, "--json")))


def test_evaluate_tells_what_the_library_measures(run):
    found = facts(run, "evaluate", "model.onnx", "x.npy", "-t", "0", "-m", "input_x_gradient", "-M", "deletion:steps=2")
    expected = onnxsal.evaluate(
        linear_model(),
        {"x": np.array([[1, 2, 3, 4], [4, 3, 2, 1]], np.float32)},
        target=0,
        method="input_x_gradient",
        metrics=["deletion:steps=2"],
    )
    assert found["metrics"]["deletion"]["values"] == expected.measurements["deletion"].values.tolist()
    assert found["metrics"]["deletion"]["options"] == {"baseline": "zero", "steps": 2}
    assert found["target"] == ["logits[0]", "logits[0]"]
    assert found["method"] == "input_x_gradient"


def test_evaluate_shows_a_table_and_what_was_left_out(run):
    lines = succeeded(run("evaluate", "model.onnx", "x.npy")).splitlines()
    assert lines[0].split() == ["METRIC", "BETTER", "MEAN", "DEVIATION"]
    rows = {line.split()[0]: line.split()[1:] for line in lines[1:]}
    assert rows["deletion"][0] == "lower"
    assert rows["insertion"][0] == "higher"
    assert float(rows["deletion"][2]) > 0
    assert "saliency, over 2 examples; deviation: of a sample" in lines
    assert "not measured: road: input 'x' of shape [2, 4] is no picture, whose holes could be filled" in lines


def test_one_example_deviates_from_nothing(run):
    lines = succeeded(run("evaluate", "model.onnx", "one.npy", "-M", "sparseness")).splitlines()
    assert lines[1].split()[3] == "-"
    assert lines[2].startswith("saliency, over 1 example;")


def test_options_of_the_method_come_with_s(run):
    found = facts(run, "evaluate", "model.onnx", "x.npy", "-s", "abs=no", "-M", "sparseness")
    assert found["options"] == {"abs": False}


def test_a_region_may_be_an_array(run, folder):
    np.save(folder / "region.npy", np.array([[0, 0, 0, 1]]))
    args = ("-t", "0", "-m", "input_x_gradient", "-M", "pointing_game", "--region", "x=region.npy")
    # x times the first column of the weights: 1 0 6 -4, and 4 0 4 -1
    assert facts(run, "evaluate", "model.onnx", "x.npy", *args)["metrics"]["pointing_game"]["values"] == [0, 0]
    np.save(folder / "region.npy", np.array([[0, 0, 1, 0]]))
    assert facts(run, "evaluate", "model.onnx", "x.npy", *args)["metrics"]["pointing_game"]["values"] == [1, 0]


def test_a_region_may_be_a_picture_that_is_prepared_as_the_input_is(run, folder):
    from onnx import helper

    from tests import models_for_tests as tiny

    weight = np.zeros((6 * 6 * 3, 1), np.float32)
    weight.reshape(3, 6, 6)[:, 3:, 3:] = 1
    nodes = [helper.make_node("Flatten", ["picture"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["y"])]
    proto = tiny.model(nodes, [("picture", tiny.FLOAT, ["N", 3, 6, 6])], [("y", tiny.FLOAT, ["N", 1])], {"w": weight})
    tiny.save(proto, folder, "sees.onnx")
    Image.new("RGB", (16, 8), "white").save(folder / "picture.png")
    marked = Image.new("RGB", (16, 8), "black")
    marked.paste("white", (8, 4, 16, 8))
    marked.save(folder / "marked.png")
    args = ("evaluate", "sees.onnx", "picture.png", "-M", "relevance_mass", "--region", "picture=marked.png")
    squashed = facts(run, *args, "--set-input", "fit=squash")["metrics"]["relevance_mass"]["values"]
    cropped = facts(run, *args, "--set-input", "fit=crop")["metrics"]["relevance_mass"]["values"]
    assert (squashed, cropped) == ([1.0], [1.0])
    marked.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "marked.png")
    assert facts(run, *args, "--set-input", "fit=squash")["metrics"]["relevance_mass"]["values"] == [0.0]


def test_compare_ranks_as_the_library_does(run):
    args = ("-t", "0", "-m", "saliency", "-m", "input_x_gradient", "-M", "completeness", "-M", "infidelity")
    found = facts(run, "compare", "model.onnx", "x.npy", *args)
    expected = onnxsal.compare(
        linear_model(),
        {"x": np.array([[1, 2, 3, 4], [4, 3, 2, 1]], np.float32)},
        target=0,
        methods=["saliency", "input_x_gradient"],
        metrics=["completeness", "infidelity"],
    )
    assert [row["method"] for row in found["ranking"]] == list(expected.mean_ranks) == ["input_x_gradient", "saliency"]
    assert found["ranking"][0]["ranks"] == expected.mean_ranks["input_x_gradient"].tolist()
    assert set(found["evaluations"]) == set(expected.evaluations)
    assert found["evaluations"]["saliency"]["metrics"]["completeness"]["higher_is_better"] is False


def test_compare_shows_the_ranking_and_each_metric(run):
    args = ("-t", "0", "-m", "saliency", "-m", "integrated_gradients:steps=5", "-M", "completeness", "-M", "sparseness")
    lines = succeeded(run("compare", "model.onnx", "x.npy", *args)).splitlines()
    assert lines[0].split() == ["METHOD", "MEAN", "RANK", "DEVIATION", "FIRST", "IN"]
    assert lines[1].split()[:2] == ["A", "integrated_gradients:steps=5"]
    assert lines[2].split()[:2] == ["B", "saliency"]
    assert lines[4].split() == ["METRIC", "BETTER", "A", "B"]
    assert lines[5].split()[:2] == ["completeness", "lower"]
    assert lines[5].split()[3] == "(1.0)"
    assert lines[-1].startswith("means over 2 examples")


def test_compare_tells_below_the_table_which_method_is_left_out(run):
    args = ("-m", "saliency", "-m", "grad_cam", "-m", "input_x_gradient", "-M", "sparseness")
    result = run("compare", "model.onnx", "x.npy", *args)
    lines = succeeded(result).splitlines()
    assert {line.split()[1] for line in lines[1:3]} == {"input_x_gradient", "saliency"}
    assert lines[-1].startswith("left out: grad_cam: ")
    assert result.stderr.startswith("warning: grad_cam is left out: ")
    assert list(facts(run, "compare", "model.onnx", "x.npy", *args)["left_out"]) == ["grad_cam"]
    refused = run("compare", "model.onnx", "x.npy", "-m", "saliency", "-m", "grad_cam", "-M", "sparseness")
    assert refused.exit_code == 2


def test_compare_explains_the_target_that_is_asked_for(run):
    args = ("-m", "saliency", "-m", "input_x_gradient", "-M", "sparseness", "-t", "1,2")
    found = facts(run, "compare", "model.onnx", "x.npy", *args)
    assert found["evaluations"]["saliency"]["target"] == ["logits[1]", "logits[2]"]


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (("evaluate", "model.onnx", "x.npy", "-M", "deletoin"), 2, "did you mean 'deletion'"),
        (("evaluate", "model.onnx", "x.npy", "-M", "deletion:stpes=1"), 2, "did you mean 'steps'"),
        (("evaluate", "model.onnx", "x.npy", "-M", "road"), 2, "is no picture"),
        (("evaluate", "model.onnx", "x.npy", "-M", "pointing_game"), 2, "--region NAME=PATH"),
        (("evaluate", "model.onnx", "x.npy", "--region", "x"), 2, "is not NAME=PATH"),
        (("evaluate", "model.onnx", "x.npy", "--region", "z=x.npy"), 4, "no input 'z'"),
        (("evaluate", "model.onnx", "x.npy", "--region", "x=none.npy"), 4, "no such file"),
        (("evaluate", "model.onnx", "x.npy", "--region", "x=-"), 2, "not read from stdin"),
        (("evaluate", "model.onnx", "one.npy", "--region", "x=x.npy"), 4, "does not fit"),
        (("evaluate", "model.onnx", "x.npy", "-t", "top2"), 2, "one target at a time"),
        (("evaluate", "model.onnx", "x.npy", "-m", "salience"), 2, "did you mean 'saliency'"),
        (("compare", "model.onnx", "x.npy"), 2, "Missing option"),
        (("compare", "model.onnx", "x.npy", "-m", "saliency"), 2, "give two or more"),
        (("compare", "model.onnx", "x.npy", "-m", "saliency", "-m", "saliency"), 2, "given twice"),
        (("compare", "model.onnx", "x.npy", "-m", "saliency", "-m", "occlusion:sizes=1"), 2, "no option 'sizes'"),
        (("compare", "none.onnx", "x.npy", "-m", "saliency", "-m", "input_x_gradient"), 3, "no such file"),
    ],
)
def test_mistakes_are_told_with_a_way_out(run, args, code, told):
    result = run(*args)
    assert result.exit_code == code, result.output
    assert told in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""


def test_settings_may_come_from_a_file(run, folder):
    (folder / "onnxsal.toml").write_text(
        '[compare]\nmethod = ["saliency", "input_x_gradient"]\nmetric = "sparseness"\n'
        '[evaluate]\nmetric = ["complexity"]\nmethod = "integrated_gradients"\n[evaluate.options]\nsteps = 3\n'
    )
    compared = facts(run, "compare", "model.onnx", "x.npy")
    assert set(compared["evaluations"]) == {"saliency", "input_x_gradient"}
    evaluated = facts(run, "evaluate", "model.onnx", "x.npy")
    assert (list(evaluated["metrics"]), evaluated["options"]["steps"]) == (["complexity"], 3)


def test_measuring_tells_what_it_does_only_when_asked(run):
    assert run("evaluate", "model.onnx", "x.npy", "-M", "sparseness").stderr == ""
    assert "measured sparseness" in run("evaluate", "model.onnx", "x.npy", "-M", "sparseness", "-v").stderr
