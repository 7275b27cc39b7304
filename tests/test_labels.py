from __future__ import annotations

import pytest

from onnxsal.labels import features_of, labels_of


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("labels", '["cat", "dog"]'),
        ("names", "{0: 'cat', 1: 'dog'}"),
        ("id2label", '{"1": "dog", "0": "cat"}'),
        ("classes", "('cat', 'dog')"),
        ("character", "cat\ndog"),
    ],
)
def test_names_in_all_the_ways_people_write_them(key: str, text: str) -> None:
    assert labels_of({key: text, "author": "somebody"}) == ["cat", "dog"]


def test_more_than_ten_classes_are_in_the_order_of_numbers() -> None:
    assert labels_of({"names": str({i: f"c{i}" for i in reversed(range(12))})}) == [f"c{i}" for i in range(12)]


def test_nothing_is_made_up() -> None:
    assert labels_of({}) is None
    assert labels_of({"labels": ""}) is None
    assert features_of({"labels": "[1]"}) == []


def test_code_in_the_metadata_is_text() -> None:
    assert labels_of({"names": "__import__('os').getcwd()"}) == ["__import__('os').getcwd()"]


def test_columns_have_names_of_their_own() -> None:
    assert features_of({"features": '["age", "height"]'}) == ["age", "height"]
