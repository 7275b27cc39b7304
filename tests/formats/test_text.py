"""The summary for the terminal."""

from __future__ import annotations

import numpy as np
import pytest

from onnxsal.errors import UsageError
from onnxsal.results import render
from onnxsal.types import Attribution, Target
from tests.attributions import attribution, provenance

RANDOM = np.random.default_rng(0)


def text(given: Attribution, **options: object) -> str:
    return render(given, "text", **options).decode()


def one(values: np.ndarray, **changes: object) -> Attribution:
    return attribution({"x": values.astype(np.float32)}, score=np.array([1.25]), target=[Target("y", (0,))], **changes)


def test_answer_comes_first_and_its_origin_last() -> None:
    lines = text(attribution({"x": np.ones((2, 3), np.float32)})).splitlines()
    assert lines[0] == "tabby cat · logits[3] = 0.5   (example 1 of 2)"
    assert lines[-4] == "integrated-gradients (steps=50, abs=False) · model.onnx"
    assert lines[-3:] == [
        "engine torch on cpu",
        "the attributions miss the score's difference by 1e-06",
        "note: a note",
    ]


def test_features_by_size() -> None:
    given = one(np.array([[0.5, -2, 1, 0]]), inputs={"x": np.array([[1, 2.5, 3, 4]], np.float32)})
    lines = [line.split() for line in text(given, top=2, names=("age", "dose")).splitlines()]
    assert lines[3] == ["dose", "=", "2.5", "-2", "≡" * 26]
    assert lines[4] == ["x[2]", "=", "3", "+1", "█" * 13]
    assert lines[5] == ["the", "other", "2,", "summed", "+0.5", "█" * 6]


def test_place_in_a_picture() -> None:
    values = np.zeros((1, 3, 30, 30))
    values[0, 0, 22:28, 2:8] = 1
    lines = text(one(values)).splitlines()
    assert "bottom left  100% of it  sum +36" in [line.strip() for line in lines]
    picture = [line[4:] for line in lines[3:17]]
    assert "█" in picture[11][:8]
    assert "".join(picture[:9]).strip() == ""
    assert "for" not in "".join(lines[17:19])


def test_signs_differ_without_colour() -> None:
    values = np.zeros((1, 3, 30, 30))
    values[..., :10, :], values[..., 20:, :] = 1, -1
    lines = text(one(values)).splitlines()
    assert set(lines[3].strip()) == {"█"}
    assert set(lines[16].strip()) == {"≡"}
    assert "    █ for   ≡ against" in lines


def test_proportions_of_a_picture() -> None:
    grid = [line for line in text(one(np.ones((1, 1, 10, 100)))).splitlines() if "█" in line]
    assert (len(grid), len(grid[0].strip())) == (4, 72)


def test_time_in_a_signal() -> None:
    values = np.zeros((1, 1000))
    values[0, 410:420] = -2
    found = text(one(values))
    assert "400 to 499  100% of it  sum -20" in found
    spark = next(line.strip() for line in found.splitlines() if "▁" in line)
    assert spark.index("█") == pytest.approx(0.415 * len(spark), abs=1)


def test_channels_of_a_signal() -> None:
    values = np.abs(RANDOM.normal(size=(1, 11, 300)))
    found = text(one(values))
    assert sum("▅" in line for line in found.splitlines()) == 8
    assert "… and 3 more channels" in found


def test_examples_and_inputs_are_bounded() -> None:
    found = text(attribution({f"x{i}": np.ones((9, 2), np.float32) for i in range(7)}))
    assert found.count("(example") == 3
    assert "… and 6 more examples" in found
    assert "… and 3 more inputs" in found
    assert "more examples" not in text(attribution({"x": np.ones((9, 2), np.float32)}), examples=9)


@pytest.mark.parametrize("shape", [(1, 3, 40, 50), (1, 400), (1, 9, 400), (1, 40), (1,), (), (1, 0), (1, 80, 1, 500)])
@pytest.mark.parametrize("width", [40, 80])
def test_lines_fit_and_hold_no_escapes(shape: tuple[int, ...], width: int) -> None:
    values = np.asarray(RANDOM.normal(size=shape))
    given = attribution(
        {"long/" * 30: values}, score=np.ones(1), target=[Target("y", (0,), None, "label " * 30)], pictures={}
    )
    for line in text(given, width=width).splitlines():
        assert len(line) <= width
        assert line.isprintable()
        assert line == line.rstrip()


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_degenerate_values(value: float) -> None:
    for shape in ((1, 3, 8, 8), (1, 200), (1, 5)):
        found = text(one(np.full(shape, value)))
        assert ("all zero" in found) == (value == 0)


def test_a_model_cannot_command_the_terminal() -> None:
    evil = "\x1b]0;owned\x07\r[bold]x[/bold]"
    given = attribution(
        {evil: np.ones((1, 2), np.float32)},
        score=np.ones(1),
        target=[Target(evil, (0,), None, evil)],
        provenance=provenance(model=evil, notes=(evil,)),
    )
    found = text(given, names=evil)
    assert "\x1b" not in found
    assert "\r" not in found
    assert r"\x1b]0;owned" in found
    assert "[bold]x[/bold]" in found


def test_colour_is_asked_for() -> None:
    values = np.array([[1.0, -1]])
    assert "\x1b" not in text(one(values))
    assert "\x1b[31m" in text(one(values), colour=True)
    assert "\x1b[34m" in text(one(values), colour="yes")


def test_environment_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = text(attribution())
    for name, value in {"FORCE_COLOR": "1", "COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
        assert text(attribution()) == before


def test_distance_from_onnx_runtime() -> None:
    parity = {"ok": True, "outputs": [{"name": "y", "max_rel": 2e-7}, {"name": "z", "max_rel": 3e-6}]}
    assert "the import differs from ONNX Runtime by 3e-06" in text(attribution(parity=parity))


def test_too_narrow() -> None:
    with pytest.raises(UsageError, match="too few"):
        text(attribution(), width=10)
