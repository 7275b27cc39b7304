"""npz, json and safetensors as other programs see them."""

from __future__ import annotations

import io
import json
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load

from onnxsal.errors import OutputError
from onnxsal.results import render
from tests.attributions import attribution


def test_numpy_reads_it_without_pickles() -> None:
    original = attribution()
    with np.load(io.BytesIO(render(original, "npz")), allow_pickle=False) as archive:
        assert archive.files == ["input", "_meta"]
        np.testing.assert_array_equal(archive["input"], original.values["input"])
        assert archive["input"].dtype == np.float32
        assert archive["_meta"].shape == ()
        assert json.loads(str(archive["_meta"])) == original.meta


NAMES = st.lists(
    st.sampled_from(["a", "a.npy", "a/b:0", "/a", "ä::b", "", " ", ".npy", "b\\c", "x.", "CON", "_meta.npy"])
)


@given(NAMES.map(set))
def test_numpy_gives_every_name_back(names: set[str]) -> None:
    values = {name: np.array([i], np.float32) for i, name in enumerate(sorted(names))}
    with np.load(io.BytesIO(render(attribution(values), "npz"))) as archive:
        assert set(archive.files) == {*names, "_meta"}
        assert {name: archive[name].tolist() for name in names} == {name: v.tolist() for name, v in values.items()}


@pytest.mark.parametrize("names", [["_meta"], ["a\0b"], ["a", "a.npy", "a.npy.npy"]])
def test_names_that_an_archive_cannot_hold(names: list[str]) -> None:
    with pytest.raises(OutputError, match="cannot hold"):
        render(attribution({name: np.ones(1, np.float32) for name in names}), "npz")


def test_compression_changes_no_value() -> None:
    original = attribution({"x": np.zeros((4, 1000), np.float32)})
    small = render(original, "npz", compress="yes")
    assert len(small) < len(render(original, "npz")) / 4
    with np.load(io.BytesIO(small)) as archive:
        np.testing.assert_array_equal(archive["x"], 0)


def test_archive_carries_no_date() -> None:
    with zipfile.ZipFile(io.BytesIO(render(attribution(), "npz"))) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_json_is_strict() -> None:
    def refuse(word: str) -> None:
        pytest.fail(f"{word} is not JSON")

    original = attribution({"x": np.array([[np.nan, 1.5], [np.inf, -np.inf]], np.float32)}, score=np.array([np.inf, 1]))
    facts = json.loads(render(original, "json"), parse_constant=refuse)
    assert facts["attributions"]["x"] == {
        "shape": [2, 2],
        "dtype": "float32",
        "values": [["nan", 1.5], ["inf", "-inf"]],
    }
    assert {key: facts[key] for key in original.meta} == original.meta


def test_json_leaves_large_arrays_out() -> None:
    facts = json.loads(render(attribution(), "json", max_elements="119"))
    assert facts["attributions"] == {"input": {"shape": [2, 3, 4, 5], "dtype": "float32", "omitted": True}}
    assert "values" in json.loads(render(attribution(), "json", max_elements=120))["attributions"]["input"]


def test_json_of_an_input_called_like_a_fact() -> None:
    facts = json.loads(render(attribution({"score": np.ones(2, np.float32)}), "json"))
    assert facts["score"] == [0.5, 2.5]
    assert facts["attributions"]["score"]["values"] == [1, 1]


def test_safetensors_reads_it() -> None:
    original = attribution()
    data = render(original, "safetensors")
    np.testing.assert_array_equal(load(data)["input"], original.values["input"])
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    assert json.loads(header["__metadata__"]["_meta"]) == original.meta


def test_safetensors_reserved_name() -> None:
    with pytest.raises(OutputError, match="cannot hold"):
        render(attribution({"__metadata__": np.ones(1, np.float32)}), "safetensors")
