"""Text: strings live on the host as arrays of objects."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from onnxsal.errors import ImportFault
from onnxsal.importer.operator import Host, op


@op("StringConcat", since=20, gradient=False)
def string_concat(x: Host, y: Host) -> Host:
    """Write the second text behind the first."""
    return np.asarray(x.astype(object) + y.astype(object), object)


@op("StringSplit", since=20, gradient=False)
def string_split(x: Host, *, delimiter: str | None = None, maxsplit: int | None = None) -> tuple[Host, Host]:
    """Cut each text at a delimiter, or at white space, and count the parts."""
    limit = -1 if maxsplit is None else maxsplit
    texts = [str(text) if delimiter else str(text).strip() for text in x.flat]
    parts = [text.split(delimiter or None, limit) for text in texts]
    counts = np.array([len(p) for p in parts], np.int64)
    words = np.full((len(parts), max(counts, default=0)), "", object)
    for row, found in zip(words, parts, strict=True):
        row[: len(found)] = found
    return words.reshape(*x.shape, words.shape[1]), counts.reshape(x.shape)


CASES: dict[str, Callable[[str], str]] = {"NONE": str, "LOWER": str.lower, "UPPER": str.upper}


@op("StringNormalizer", since=10, gradient=False)
def string_normalizer(
    x: Host,
    *,
    case_change_action: str = "NONE",
    is_case_sensitive: int = 0,
    locale: str | None = None,
    stopwords: list[str] | None = None,
) -> Host:
    """Drop stop words, and write the rest in upper or lower case."""
    del locale  # Python's letters are Unicode's, in every locale
    compared = CASES["NONE" if is_case_sensitive else "LOWER"]
    dropped = {compared(word) for word in stopwords or ()}
    kept = [str(word) for word in x.flat if compared(str(word)) not in dropped]
    words = np.array([CASES[case_change_action](word) for word in kept] or [""], object)
    return words.reshape(*x.shape[:-1], -1)


@op("RegexFullMatch", since=20, gradient=False)
def regex_full_match(x: Host, *, pattern: str | None = None) -> Host:
    """Tell which texts a regular expression matches from beginning to end."""
    matcher = _compile(pattern or "")
    return np.array([matcher.fullmatch(str(text)) is not None for text in x.flat], bool).reshape(x.shape)


CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7f",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": r"0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
"""The named character classes of RE2, which Python's expressions lack."""


def _compile(pattern: str) -> re.Pattern[str]:
    """Return an expression written for RE2 as Python understands it."""
    try:
        return re.compile(re.sub(r"\\z|\\.|\[:(\w+):\]", _translated, pattern, flags=re.DOTALL), re.ASCII)
    except (re.error, KeyError) as error:
        hint = "Python's expressions lack some of RE2's, such as Unicode classes"
        raise ImportFault(
            f"cannot read the expression {pattern!r}: {error}", where="RegexFullMatch", hint=hint
        ) from error


def _translated(found: re.Match[str]) -> str:
    if found[0] == r"\z":
        return r"\Z"
    return CLASSES[found[1]] if found[1] else found[0]


@op("Tokenizer", domain="com.microsoft", gradient=False)
def tokenizer(
    x: Host,
    *,
    mark: int,
    mincharnum: int,
    pad_value: str,
    separators: list[str] | None = None,
    tokenexp: str | None = None,
) -> Host:
    """Cut each text into words: at separators, or into what an expression matches."""
    words = [[w for w in _words(str(text), separators, tokenexp) if len(w) >= mincharnum] for text in x.flat]
    longest = max(map(len, words), default=0)
    if not longest:
        return np.full((*x.shape, 0) if x.size else x.shape, "", object)
    framed = [["\x02", *w, "\x03"] for w in words] if mark else words
    table = np.full((len(framed), longest + 2 * bool(mark)), pad_value, object)
    for row, found in zip(table, framed, strict=True):
        row[: len(found)] = found
    return table.reshape(*x.shape, -1)


def _words(text: str, separators: Sequence[str] | None, expression: str | None) -> list[str]:
    if expression:
        return [text[start:end] for start, end in _matches(_compile(expression), text)]
    if list(separators or ()) == [""]:
        return list(text)
    pieces = [text]
    for separator in separators or ():  # one after the other, not whichever comes first
        pieces = [piece for whole in pieces for piece in _pieces(_compile(separator), whole)]
    return pieces


def _pieces(separator: re.Pattern[str], text: str) -> Iterator[str]:
    """Yield what lies between the matches, where that is anything."""
    if separator.fullmatch(""):
        hint = "ONNX Runtime takes all of the text for separators then"
        raise ImportFault(f"separator {separator.pattern!r} matches nothing at all", where="Tokenizer", hint=hint)
    ends = [(0, 0), *_matches(separator, text), (len(text), len(text))]
    yield from (text[a:b] for (_, a), (b, _) in pairwise(ends) if a < b)


def _matches(pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, int]]:
    """Yield where an expression matches; of the matches that begin at one place the longest, where that is anything."""
    place = 0
    while place < len(text) and (found := pattern.search(text, place)):
        start, known = found.span()
        end = next((e for e in range(len(text), known, -1) if pattern.fullmatch(text, start, e)), known)
        if end > start:
            yield start, end
        place = max(end, start + 1)


@op("TfIdfVectorizer", since=9, gradient=False)
def tf_idf_vectorizer(
    x: Host,
    *,
    max_gram_length: int,
    max_skip_count: int,
    min_gram_length: int,
    mode: str,
    ngram_counts: list[int],
    ngram_indexes: list[int],
    pool_int64s: list[int] | None = None,
    pool_strings: list[str] | None = None,
    weights: list[float] | None = None,
) -> Host:
    """Count known runs of words or numbers, with gaps where allowed, and weigh the counts."""
    pool: list[str | int] = [*(pool_strings or ()), *(pool_int64s or ())]
    places = dict(zip(_pooled(pool, ngram_counts), ngram_indexes, strict=False))
    counts = np.zeros((*x.shape[:-1], max(ngram_indexes, default=-1) + 1), np.float32)
    for row, words in zip(counts.reshape(-1, counts.shape[-1]), x.reshape(-1, x.shape[-1]).tolist(), strict=True):
        for gram, count in Counter(_grams(words, min_gram_length, max_gram_length, max_skip_count)).items():
            if gram in places:
                row[places[gram]] += count
    if mode == "TF":
        return counts
    counted = counts if mode == "TFIDF" else (counts > 0).astype(np.float32)
    return counted if weights is None else counted * np.array(weights, np.float32)[: counts.shape[-1]]


Gram = tuple[str | int, ...]


def _pooled(pool: Sequence[str | int], starts: Sequence[int]) -> Iterator[Gram]:
    """Yield the known runs: those of one word stand first, then those of two, and so on."""
    for length, (start, end) in enumerate(zip(starts, [*starts[1:], len(pool)], strict=True), 1):
        for place in range(start, end, length):
            yield tuple(pool[place : place + length])


def _grams(words: Sequence[str | int], shortest: int, longest: int, gap: int) -> Iterator[Gram]:
    """Yield all runs of words with up to ``gap`` words left out between each two; single words once."""
    for length in range(shortest, longest + 1):
        for step in range(1, gap + 2 if length > 1 else 2):
            for start in range(len(words) - step * (length - 1)):
                yield tuple(words[start : start + step * (length - 1) + 1 : step])
