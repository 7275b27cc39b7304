"""The sample models: sound files, right answers, and recipes that make them again."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from models import digits, language, tumours
from models.exporting import accuracy

FOLDER = Path(__file__).parents[2] / "models"
MODELS = sorted(path.stem for path in FOLDER.glob("*.onnx"))


def run(name, feeds, folder=FOLDER):
    session = onnxruntime.InferenceSession(folder / f"{name}.onnx", providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def sample(name):
    with np.load(FOLDER / "samples" / f"{name}.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("name", MODELS)
def test_file_is_sound_small_and_described(name):
    path = FOLDER / f"{name}.onnx"
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    assert path.stat().st_size < 300_000
    assert f"`{path.name}`" in (FOLDER / "README.md").read_text("utf-8")
    facts = {entry.key: json.loads(entry.value) for entry in proto.metadata_props}
    assert len(facts["labels"]) == proto.graph.output[-1].type.tensor_type.shape.dim[1].dim_value


@pytest.mark.parametrize("name", ["digits_cnn", "digits_cnn_int8"])
def test_digits_are_recognised(name):
    _, _, held_out, classes = digits.data()
    assert accuracy(run(name, {"image": held_out})[0].argmax(1), classes) > 0.97
    assert run(name, sample("digits"))[0].argmax(1).tolist() == list(range(10))


def test_a_digit_as_a_picture_is_the_same_digit():
    from PIL import Image

    picture = np.asarray(Image.open(FOLDER / "samples" / "digit-3.png"), dtype=np.float32)[None, None] / 255
    np.testing.assert_allclose(picture[0], sample("digits")["image"][3], atol=0.5 / 255 + 1e-6)


def test_tumours_are_told_apart():
    _, _, held_out, classes = tumours.data()
    label, probabilities = run("tumours_mlp", {"X": held_out})
    assert accuracy(label, classes) > 0.95
    assert accuracy(probabilities.argmax(1), label) == 1
    assert run("tumours_mlp", sample("tumours"))[0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_sentences_are_told_apart():
    logits = run("language_lstm", sample("language"))[0]
    answers = [list(language.LANGUAGES.values())[i] for i in logits.argmax(1)]
    assert answers == list(language.SENTENCES)
    np.testing.assert_array_equal(sample("language")["tokens"], language.encode(list(language.SENTENCES.values())))


def test_ids_and_one_hot_characters_are_one_network():
    by_id = run("language_lstm", sample("language"))[0]
    one_hot = run("language_lstm_onehot", sample("language_onehot"))[0]
    np.testing.assert_allclose(one_hot, by_id, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_held_out_messages_are_told_apart():
    _, _, held_out, classes = language.data()
    assert accuracy(run("language_lstm", {"tokens": held_out})[0].argmax(1), classes) > 0.96


@pytest.mark.slow
def test_recipes_make_the_same_models_again(tmp_path):
    (tmp_path / "samples").mkdir()
    digits.make(tmp_path)
    tumours.make(tmp_path)
    for name, feeds in ("digits_cnn", {"image": digits.data()[2]}), ("tumours_mlp", {"X": tumours.data()[2]}):
        ours, again = run(name, feeds)[-1], run(name, feeds, tmp_path)[-1]
        assert accuracy(again.argmax(1), ours.argmax(1)) > 0.99
    assert sample("digits")["image"].tobytes() == np.load(tmp_path / "samples" / "digits.npz")["image"].tobytes()
