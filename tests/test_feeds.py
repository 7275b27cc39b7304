"""What fits a port, and what is said about what does not."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

from onnxsal.errors import InputError
from onnxsal.feeds import check_feeds
from onnxsal.types import Port

IMAGE = Port("input", "float32", ("N", 3, 4, 4))
IDS = Port("ids", "int64", ("N", "S"))


def check(port: Port, value: Any, **options: Any) -> np.ndarray:
    return check_feeds([port], {port.name: value}, **options)[port.name]


def fault(port: Port, value: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        check(port, value)
    assert caught.value.where == f"input {port.name!r}"
    assert caught.value.exit_code == 4
    return caught.value


def test_fitting_array_passes_uncopied() -> None:
    array = np.ones((2, 3, 4, 4), np.float32)
    assert check(IMAGE, array) is array or np.shares_memory(check(IMAGE, array), array)


def test_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(InputError, match="no input 'inputs'") as caught:
        check_feeds([IMAGE], {"inputs": np.ones((1, 3, 4, 4), np.float32)})
    assert "'input'" in (caught.value.hint or "")


def test_missing_input_is_named() -> None:
    with pytest.raises(InputError, match="'ids' is not fed; given: input") as caught:
        check_feeds([IMAGE, IDS], {"input": np.ones((1, 3, 4, 4), np.float32)})
    assert "ids: int64[N, S]" in (caught.value.hint or "")


def test_optional_input_may_be_left_out() -> None:
    assert check_feeds([Port("state", "optional(float32)", None)], {}) == {}


@pytest.mark.parametrize(
    ("port", "value", "dtype"),
    [
        (IMAGE, np.ones((1, 3, 4, 4)), "float32"),
        (IMAGE, torch.ones(1, 3, 4, 4, dtype=torch.float64, requires_grad=True), "float32"),
        (IMAGE, torch.ones(1, 3, 4, 4, dtype=torch.bfloat16), "float32"),
        (IMAGE, np.ones((1, 3, 4, 4), ">f4"), "float32"),
        (Port("x", "float64", ("N",)), np.ones(2, np.float32), "float64"),
        (Port("x", "float16", ("N",)), np.ones(2), "float16"),
        (Port("x", "int32", ("N",)), np.array([1, -2]), "int32"),
        (Port("x", "uint8", ("N",)), np.array([0, 255]), "uint8"),
        (Port("x", "int64", ()), 16000, "int64"),
        (Port("x", "float32", ("N",)), [1, 2.5], "float32"),
        (Port("x", "float32", ("N",)), [1, 2], "float32"),
        (Port("x", "bool", ("N",)), [True, False], "bool"),
    ],
)
def test_same_kind_is_cast(port: Port, value: Any, dtype: str) -> None:
    result = check(port, value)
    assert result.dtype == np.dtype(dtype)
    assert result.dtype.isnative
    np.testing.assert_array_equal(result, np.asarray(value.detach().double() if torch.is_tensor(value) else value))


@pytest.mark.parametrize(
    ("port", "value", "seen"),
    [
        (IMAGE, np.ones((1, 3, 4, 4), np.uint8), "uint8"),
        (IMAGE, np.ones((1, 3, 4, 4), np.int64), "int64"),
        (IMAGE, np.ones((1, 3, 4, 4), bool), "bool"),
        (IMAGE, np.full((1, 3, 4, 4), "a"), "<U1"),
        (Port("x", "float32", ("N",)), np.array([1e300]), "float64"),
        (Port("x", "float16", ("N",)), np.array([7e4], np.float32), "float32"),
        (Port("x", "int32", ("N",)), np.array([2**31]), "int64 from 2147483648"),
        (Port("x", "uint8", ("N",)), np.array([-1]), "int64 from -1"),
        (Port("x", "int64", ("N",)), np.array([1.0]), "float64"),
        (Port("x", "int64", ("N",)), [1.5], "float64"),
        (Port("x", "bool", ("N",)), np.array([1]), "int64"),
    ],
)
def test_other_types_are_refused(port: Port, value: Any, seen: str) -> None:
    error = fault(port, value)
    assert seen in error.what
    assert port.dtype in error.what


def test_bytes_of_a_picture_get_their_own_hint() -> None:
    assert "scale" in (fault(IMAGE, np.ones((1, 3, 4, 4), np.uint8)).hint or "")


def test_bfloat16_survives_numpy() -> None:
    array = np.array([1.5, -2], ml_dtypes.bfloat16)
    port = Port("x", "bfloat16", ("N",))
    np.testing.assert_array_equal(check(port, array.view("V2")), array)
    np.testing.assert_array_equal(check(port, torch.tensor([1.5, -2], dtype=torch.bfloat16)), array)


def test_texts() -> None:
    port = Port("x", "string", ("N",))
    assert check(port, np.array(["ä", "b"])).tolist() == ["ä", "b"]
    assert check(port, np.array(["ä".encode()])).tolist() == ["ä"]
    assert check(port, ["a"]).dtype == object
    assert "float64" in fault(port, np.ones(1)).what


@pytest.mark.parametrize(
    ("shape", "hint"),
    [
        ((3, 4, 4), "x[None]"),
        ((1, 4, 4, 3), "x.transpose(0, 3, 1, 2)"),
        ((1, 3, 4, 5), "prepare"),
        ((1, 3, 4), "prepare"),
        ((), "prepare"),
    ],
)
def test_wrong_shape(shape: tuple[int, ...], hint: str) -> None:
    error = fault(IMAGE, np.ones(shape, np.float32))
    assert "the model takes [N, 3, 4, 4]" in error.what
    assert hint in (error.hint or "")


def test_fixed_batch() -> None:
    error = fault(Port("x", "float32", (1, 5)), np.ones((2, 5), np.float32))
    assert "exactly 1" in (error.hint or "")


def test_unknown_rank_takes_any_shape() -> None:
    assert check(Port("x", "float32", None), np.ones((2, 1, 3), np.float32)).shape == (2, 1, 3)


def test_empty_batch() -> None:
    assert "no examples" in fault(IMAGE, np.ones((0, 3, 4, 4), np.float32)).what


def test_empty_inner_axis_is_a_valid_state() -> None:
    assert check(Port("past", "float32", ("N", 2, "P", 4)), np.ones((1, 2, 0, 4), np.float32)).size == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_values_that_are_not_finite(bad: float, dtype: str) -> None:
    port = Port("x", dtype, ("N", 2))
    array = np.array([[0, 1], [2, bad]]).astype(getattr(ml_dtypes, dtype, dtype))
    assert "1 of 4 values" in fault(port, array).what
    assert "[1, 1]" in fault(port, array).what
    np.testing.assert_array_equal(check(port, array, allow_nan=True).astype(float), array.astype(float))


def test_one_name_means_one_size() -> None:
    mask = Port("mask", "int64", ("N", "S"))
    feeds = {"ids": np.zeros((2, 5), np.int64), "mask": np.zeros((2, 6), np.int64)}
    with pytest.raises(InputError, match=r"axis 1 \('S'\) is 6, but 5 in input 'ids'"):
        check_feeds([IDS, mask], feeds)


@pytest.mark.parametrize("word", ["?", "-1", "None", "", "unk"])
def test_words_for_any_size_are_no_names(word: str) -> None:
    ports = [Port("a", "float32", (word,)), Port("b", "float32", (word,))]
    check_feeds(ports, {"a": np.ones(2, np.float32), "b": np.ones(3, np.float32)})


def test_sequences_become_lists_of_arrays() -> None:
    (value,) = check_feeds([Port("x", "sequence(float32)", None)], {"x": [torch.ones(2), np.ones(3)]}).values()
    assert [v.shape for v in value] == [(2,), (3,)]


def test_feeds_are_left_as_they_were() -> None:
    feeds = {"input": np.ones((1, 3, 4, 4))}
    check_feeds([IMAGE], feeds)
    assert feeds["input"].dtype == np.float64
