"""Every operator's signature says what its ONNX schema says, at every opset it serves."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, defs

from onnxsal.importer.build import MEANINGLESS
from onnxsal.importer.lookup import default_lookup
from onnxsal.importer.operator import Operator

OLDER_IN_ONNX_RUNTIME = {"LayerNormalization"}
"""Operators that ONNX Runtime writes into the standard domain of opsets that do not know them yet."""

VARIADIC = defs.OpSchema.FormalParameterOption.Variadic


def _schema_versions() -> dict[tuple[str, str], list[int]]:
    versions: dict[tuple[str, str], list[int]] = {}
    for schema in defs.get_all_schemas_with_history():
        versions.setdefault((schema.domain, schema.name), []).append(schema.since_version)
    return versions


@cache
def _served() -> list[tuple[Operator, defs.OpSchema]]:
    return list(_schemas_served())


def _schemas_served() -> Iterator[tuple[Operator, defs.OpSchema]]:
    """Yield every operator with every schema it serves; operators of domains without schemas are left out."""
    versions = _schema_versions()
    operators = [operator for operator, _ in default_lookup()]
    for operator in operators:
        key = operator.domain, operator.name
        later = [o.since for o in operators if (o.domain, o.name) == key and o.since > operator.since]
        before = min(later, default=10**6)
        known = sorted(versions.get(key, ()))
        # the schema in force at ``since`` may be older, those that begin before the next function are served too
        in_force = [v for v in known if v <= operator.since][-1:]
        for version in in_force + [v for v in known if operator.since < v < before]:
            schema = defs.get_schema(operator.name, version, operator.domain)
            if not schema.deprecated:
                yield operator, schema


def _cases() -> list[Any]:
    return [pytest.param(o, s, id=f"{o.domain or 'onnx'}.{o.name}-{s.since_version}") for o, s in _served()]


@pytest.mark.parametrize(("operator", "schema"), _cases())
def test_signature_is_the_schema(operator: Operator, schema: defs.OpSchema) -> None:
    wanted = {name: a for name, a in schema.attributes.items() if name not in MEANINGLESS}
    assert set(operator.attributes) >= set(wanted), "an attribute of the schema is not a parameter"
    for name, attribute in wanted.items():
        assert _same_default(operator.attributes[name], attribute), f"{name}: {operator.attributes[name]}"
    _check_inputs(operator, schema)
    assert operator.several == (schema.max_output > 1), "several outputs are returned as a tuple"


@pytest.mark.parametrize(("operator", "schema"), _cases())
def test_no_parameter_is_unknown_to_the_schema(operator: Operator, schema: defs.OpSchema) -> None:
    served = [s for o, s in _served() if o is operator]
    known = set().union(*(s.attributes for s in served))
    assert set(operator.attributes) <= known
    if set(operator.attributes) != set(schema.attributes) - MEANINGLESS:  # a later schema of the same function adds it
        added = set(operator.attributes) - set(schema.attributes)
        assert all(operator.attributes[name] is not inspect.Parameter.empty for name in added)


def _check_inputs(operator: Operator, schema: defs.OpSchema) -> None:
    variadic = any(i.option == VARIADIC for i in schema.inputs)
    assert (operator.max_inputs is None) == variadic
    if variadic:
        return
    assert operator.max_inputs is not None
    assert operator.max_inputs >= schema.max_input, "an input of the schema is not a parameter"
    assert operator.min_inputs <= schema.min_input, "an optional input has no default"


def _same_default(ours: Any, attribute: defs.OpSchema.Attribute) -> bool:
    if attribute.required:
        return ours is inspect.Parameter.empty
    if attribute.default_value.type == AttributeProto.UNDEFINED:
        return ours is None
    theirs = onnx.helper.get_attribute_value(attribute.default_value)
    if isinstance(theirs, bytes):
        return bool(ours == theirs.decode().replace("foward", "forward"))  # the schema of GRU-1 has a typing error
    if isinstance(theirs, float):
        return bool(np.float32(ours) == np.float32(theirs))
    if isinstance(ours, tuple):
        return list(ours) == [v.decode() if isinstance(v, bytes) else v for v in theirs]
    return bool(ours == (list(theirs) if isinstance(theirs, (list, tuple)) else theirs)) or _is_unset(theirs, ours)


def _is_unset(theirs: Any, ours: Any) -> bool:
    """A list that is empty by default may be None here: a mutable default is a trap."""
    return ours is None and theirs is not None and np.size(theirs) == 0


def test_operators_begin_at_an_opset_that_exists() -> None:
    versions = _schema_versions()
    for operator, _ in default_lookup():
        known = versions.get((operator.domain, operator.name))
        older = operator.domain == "" and operator.name in OLDER_IN_ONNX_RUNTIME
        assert known is None or older or operator.since >= min(known), f"{operator} begins before ONNX knew it"


def test_standard_operators_are_all_served() -> None:
    served = {(o.domain, o.name): 0 for o, _ in default_lookup()}
    standard = {s.name for s in defs.get_all_schemas() if s.domain == "" and not s.deprecated}
    missing = {name for name in standard if ("", name) not in served}
    assert missing == {"Constant"}  # a Constant node becomes a constant when the file is read
