"""Hashes of tokens, words of letters, repetitions and copies, against ONNX Runtime."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.importer.ops.support import check as check_node

RANDOM = np.random.default_rng(5)
check = partial(check_node, opset=1, domain="com.microsoft")
HEADS = {"max_ngram_size": 3, "n_head_per_ngram": 2, "pad_id": 9}


def _hashed(kind: type) -> list[np.ndarray]:
    """Return ids, multipliers that overflow, and the sizes of four heads."""
    large = 2**62 if kind is np.int64 else 2**30
    return [RANDOM.integers(0, 6, (2, 7)).astype(kind), (RANDOM.integers(0, large, 3) | 1).astype(kind),
            np.array([101, 103, 107, 109], kind)]  # fmt: skip


@pytest.mark.parametrize("kind", [np.int32, np.int64])
@pytest.mark.parametrize("past", [False, True])
@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("resets", [0, 1])
@pytest.mark.parametrize("segmented", [False, True])
def test_hashes_of_runs(kind: type, past: bool, ends: bool, resets: int, segmented: bool) -> None:
    segments = np.array([[0, 0, 1, 1, 1, 2, 2], [0, 0, 0, 0, 0, 0, 1]], np.int32)
    inputs = [*_hashed(kind), RANDOM.integers(0, 6, (2, 2)).astype(kind) if past else None,
              np.array([0, 1000, 2000, 3000], kind) if past else None, np.array(3, kind) if ends else None,
              segments if segmented else None]  # fmt: skip
    check("NGramHashMapping", inputs, n_outputs=2, reset_on_eos=resets, trace=True, **HEADS)


@pytest.mark.parametrize("kind", [np.int32, np.int64])
@pytest.mark.parametrize("past", [False, True])
@pytest.mark.parametrize("resets", [0, 1])
@pytest.mark.parametrize("segments", [None, "new", "old"])
@pytest.mark.parametrize("capture", [0, 3])
def test_hashes_of_packed_runs(kind: type, past: bool, resets: int, segments: str | None, capture: int) -> None:
    ids, multipliers, sizes = _hashed(kind)
    named = None if segments is None else np.sort(RANDOM.integers(0, 3, 14)).astype(np.int32)
    inputs = [ids.reshape(-1), multipliers, sizes, np.array([0, 1, 8, 14], np.int32),
              RANDOM.integers(0, 6, (3, 2)).astype(kind) if past else None, None, np.array(3, kind) if past else None,
              named, RANDOM.integers(0, 2, (3, 2)).astype(np.int32) if segments == "old" else None,
              np.array([1, 2, 5], np.int32) if capture else None]  # fmt: skip
    outputs = 2 if segments is None else 4 if capture else 3
    check("VarlenNGramHashMapping", inputs, n_outputs=outputs, reset_on_eos=resets, state_update_capacity=capture,
          **HEADS)  # fmt: skip


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7])
def test_runs_that_would_repeat(size: int) -> None:
    inputs = [RANDOM.integers(0, 3, (3, 6)), RANDOM.standard_normal((3, 4)).astype(np.float32)]
    check("NGramRepeatBlock", inputs, ngram_size=size, trace=True)


@pytest.mark.parametrize("seed", range(12))
def test_copies_of_the_source(seed: int) -> None:
    random = np.random.default_rng(seed)
    source, current, start = random.integers(0, 4, 8), random.integers(0, 4, 1 + seed % 5), random.integers(0, 7)
    guessed = np.where(random.random(8 - start) < 0.8, source[start:], 0)
    sizes = {"min_ngram_size": 1 + seed % 2, "max_ngram_size": 3}
    check("BifurcationDetector", [source, current, np.array(start), np.append(guessed, 2)], n_outputs=2, **sizes)
    check("BifurcationDetector", [source, current, np.array(0)], n_outputs=2, **sizes)


@pytest.mark.parametrize("seed", range(12))
def test_time_warping(seed: int) -> None:
    random = np.random.default_rng(seed)
    check("DynamicTimeWarping", [random.integers(0, 3, (1 + seed % 4, 1 + seed % 5)).astype(np.float32)])
    check("DynamicTimeWarping", [random.standard_normal((1, 4, 5)).astype(np.float32)])


@pytest.mark.parametrize("values", [
    np.array([[1, -2], [3, 2**31 - 1]], np.int32), np.array([1, 2**32 - 1], np.uint32), np.array([1, -2], np.int64),
    np.array([2**64 - 1], np.uint64), np.array([1.5, -0.0], np.float32), np.array([1.5, -2.0], np.float64),
    np.array(["", "a", "ab", "abc", "abcd", "a longer text", "héllo 日本"], object),
], ids=lambda values: str(values.dtype))  # fmt: skip
@pytest.mark.parametrize("options", [{}, {"positive": 0}, {"seed": 7}])
def test_murmur_hash(values: np.ndarray, options: dict[str, Any]) -> None:
    check("MurmurHash3", [values], **options)


@pytest.mark.parametrize("width", [2, 3])
def test_words_of_letters(width: int) -> None:
    words = np.array([[1, 2, 3, 0], [4, 5, 0, 0], [6, 0, 0, 0], [1, 2, 3, 4]], np.int32)
    weights = [RANDOM.standard_normal(s).astype(np.float32) for s in ((6, 1, width, 3), (6,), (8, 3))]
    got = check("WordConvEmbedding", [words, *weights], trace=True)
    longer = np.concatenate([words, np.zeros((1, 4), np.int32)])  # ONNX Runtime leaves the row of no letters as it was
    expected = np.concatenate([got[0], np.zeros((1, 6), np.float32)])
    check("WordConvEmbedding", [longer, *weights], expected=[expected], embedding_size=6)


def test_the_example() -> None:
    check("SampleOp", [RANDOM.standard_normal(3).astype(np.float32)], trace=True)
