"""Text operators against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxsal.errors import ImportFault
from onnxsal.importer.ops.text import tokenizer
from tests.importer.ops.support import check

WORDS = np.array(["monday", "Tuesday", "WEDNESDAY", "tuesday", "the end"], object)


def text(*values: str) -> np.ndarray:
    return np.array(values, object)


def test_string_concat() -> None:
    check("StringConcat", [text("a", "b", ""), text("x")], opset=20)
    check("StringConcat", [np.array("a", object), np.array("x", object)], opset=20)


@pytest.mark.parametrize("maxsplit", [None, 0, 1, 5])
@pytest.mark.parametrize("delimiter", [None, "", ",", ", "])
def test_string_split(delimiter: str | None, maxsplit: int | None) -> None:
    given: dict[str, Any] = {"delimiter": delimiter, "maxsplit": maxsplit}
    given = {name: value for name, value in given.items() if value is not None}
    lines = text("a,b, c", " two  words ", ",,x,", "one")
    check("StringSplit", [lines.reshape(2, 2)], opset=20, n_outputs=2, **given)


@pytest.mark.parametrize("action", ["NONE", "LOWER", "UPPER"])
@pytest.mark.parametrize("sensitive", [0, 1])
def test_string_normalizer(sensitive: int, action: str) -> None:
    given = {"case_change_action": action, "is_case_sensitive": sensitive, "locale": "C"}
    check("StringNormalizer", [WORDS], opset=10, **given)
    (kept,) = check("StringNormalizer", [WORDS], opset=10, stopwords=["tuesday", "MONDAY"], **given)
    check("StringNormalizer", [WORDS[None]], opset=10, stopwords=["tuesday", "MONDAY"], expected=[kept[None]], **given)


def test_string_normalizer_leaves_one_empty_word() -> None:
    check("StringNormalizer", [WORDS[:1]], opset=10, stopwords=["monday"], is_case_sensitive=1, locale="C")
    expected = [text("").reshape(1, 1)]
    check("StringNormalizer", [WORDS[None, :1]], opset=10, stopwords=["MONDAY"], expected=expected)


MAILS = text("a@b.de", "a@b", "A1_@x.org\n", "٣@b.de", "ab]")


@pytest.mark.parametrize(
    "pattern", [r"\w+@\w+\.\w{2,3}", r"[[:alpha:]]@.*", r"(?i)a\d?_?@.*\.org\n\z", "[]ab]+", r"[^[:digit:]]+"]
)
def test_regex_full_match(pattern: str) -> None:
    check("RegexFullMatch", [MAILS], opset=20, pattern=pattern)


def test_an_expression_python_cannot_read_is_refused() -> None:
    with pytest.raises(ImportFault, match="cannot read the expression"):
        check("RegexFullMatch", [MAILS], opset=20, pattern=r"\p{Greek}+", expected=[np.zeros(5, bool)])


POOL = [2, 3, 5, 4, 5, 6, 7, 8, 6, 7]


@pytest.mark.parametrize("mode", ["TF", "IDF", "TFIDF"])
@pytest.mark.parametrize("skips", [0, 1, 5])
@pytest.mark.parametrize("lengths", [(1, 1), (2, 2), (1, 2)])
def test_tf_idf_vectorizer(lengths: tuple[int, int], skips: int, mode: str) -> None:
    check(
        "TfIdfVectorizer",
        [np.array([[1, 1, 3, 3, 3, 7, 5, 6], [8, 6, 7, 5, 6, 8, 2, 4]])],
        opset=9,
        mode=mode,
        min_gram_length=lengths[0],
        max_gram_length=lengths[1],
        max_skip_count=skips,
        ngram_counts=[0, 4],
        ngram_indexes=[0, 1, 2, 3, 4, 5, 6],
        pool_int64s=POOL,
        weights=[1.0, 0.5, 2.0, 3.0, 0.25, 4.0, 1.5],
    )


def test_tf_idf_vectorizer_of_words_in_another_order() -> None:
    check(
        "TfIdfVectorizer",
        [text("a", "b", "a", "c")],
        opset=9,
        mode="TF",
        min_gram_length=1,
        max_gram_length=2,
        max_skip_count=0,
        ngram_counts=[0, 2],
        ngram_indexes=[2, 0, 1],
        pool_strings=["a", "b", "b", "a"],
    )


PLAIN = {"mark": 0, "mincharnum": 1, "pad_value": "#"}


@pytest.mark.parametrize(("texts", "options"), [
    (["Hello World", "I love computer science !"], {"separators": [" "]}),
    (["a,b;c  d", ""], {"separators": ["[,;]", " "]}),
    (["abcd", "xy", "日本"], {"separators": [""]}),
    (["abcd", "xy"], {"tokenexp": ".", "mark": 1}),
    (["a bb ccc", "dd"], {"separators": [" "], "mark": 1, "mincharnum": 2}),
    (["ab12cd 3", "!!"], {"tokenexp": "[a-z]+|[0-9]+"}),
    (["aab", "ab"], {"tokenexp": "a|ab|aab"}),
    (["aab"], {"tokenexp": "a*"}),
    (["xxaaby"], {"separators": ["a", "aab"]}),
    (["xxaaby"], {"separators": ["a|aab"]}),
    (["a b c"], {"separators": ["( )"]}),
    (["", "   "], {"separators": [" "], "mark": 1}),
    (["", "   ", "a"], {"separators": [" "], "mark": 1}),
    ([["a b", "c"], ["d", "e f g"]], {"separators": [" "], "pad_value": ""}),
    (["über ñandú 日本"], {"separators": [" "], "mincharnum": 3}),
])  # fmt: skip
def test_tokenizer(texts: Any, options: dict[str, Any]) -> None:
    check("Tokenizer", [np.array(texts, object)], opset=1, domain="com.microsoft", **(PLAIN | options))


def test_a_separator_of_nothing_is_refused() -> None:
    with pytest.raises(ImportFault, match="matches nothing at all"):
        tokenizer(np.array(["ab"], object), separators=["a*"], **PLAIN)
