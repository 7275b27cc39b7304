"""The names of classes and columns that a model's metadata carry, in any of the usual ways of writing them."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Any

FEATURE_KEYS = ("features", "feature_names", "columns")
KEYS = ("labels", "names", "classes", "class_names", "id2label", "character")


def labels_of(metadata: Mapping[str, str]) -> list[str] | None:
    """Return the names in order of class index; None where there are none."""
    texts = (metadata[key] for key in KEYS if metadata.get(key))
    return next((_names(text) for text in texts), None)


def features_of(metadata: Mapping[str, str]) -> list[str]:
    """Return the names of a table's columns in order; none where the metadata name none."""
    texts = (metadata[key] for key in FEATURE_KEYS if metadata.get(key))
    return next((_names(text) for text in texts), [])


def _names(text: str) -> list[str]:
    for parse in (json.loads, ast.literal_eval):
        try:
            found: Any = parse(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(found, dict):
            return [str(name) for _, name in sorted(found.items(), key=lambda item: _order(item[0]))]
        if isinstance(found, (list, tuple)):
            return [str(name) for name in found]
    return text.splitlines()


def _order(key: Any) -> tuple[int, str]:
    return (int(key), "") if str(key).isdigit() else (0, str(key))
