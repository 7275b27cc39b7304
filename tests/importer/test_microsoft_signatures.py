"""The operators of ``com.microsoft`` against the schemas that ONNX Runtime itself carries."""

import inspect

import numpy as np
import onnx
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as PYBIND

from onnxsal.importer.graph import Node
from onnxsal.importer.lookup import default_lookup

DOMAIN = "com.microsoft"


def _schemas():
    return {schema.name: schema for schema in PYBIND.get_all_operator_schema() if schema.domain == DOMAIN}


SCHEMAS = _schemas()
OPERATORS = [operator for operator, _ in default_lookup() if operator.domain == DOMAIN]


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.name)
def test_signature_is_the_schema(operator):
    schema = SCHEMAS[operator.name]
    assert set(operator.attributes) == set(schema.attributes)
    for name, attribute in schema.attributes.items():
        assert _same_default(operator.attributes[name], attribute), f"{name}: {operator.attributes[name]}"
    variadic = any(str(i.option).endswith("Variadic") for i in schema.inputs)
    assert (operator.max_inputs is None) == variadic
    assert variadic or operator.max_inputs == schema.max_input
    assert operator.min_inputs <= schema.min_input
    assert operator.several == (schema.max_output > 1)


LEFT = {
    **dict.fromkeys(("BeamSearch", "GreedySearch", "Sampling", "WhisperBeamSearch"), "writes text, token by token"),
    "AttnLSTM": "an LSTM that attends, of which no exporter is known",
    "GatherPacked": "its partner MatMulPacked has no kernel for the CPU",
    "MatMulFpQ4": "MatMulNBits took its place",
    "SparseToDenseMatMul": "takes a sparse tensor, which is no tensor here",
}
"""Operators that ONNX Runtime runs on the CPU and the importer refuses by name, and why."""


def test_what_onnxruntime_runs_on_the_cpu_is_imported_or_named():
    kernels = {k.op_name for k in PYBIND.get_all_opkernel_def()
               if (k.domain, k.provider) == (DOMAIN, "CPUExecutionProvider")}  # fmt: skip
    assert kernels - {operator.name for operator in OPERATORS} == set(LEFT)


def _why(name):
    return default_lookup().explain(Node("n", name, DOMAIN, 1, (), ()))


def test_what_only_other_processors_run_is_refused_with_that_reason():
    assert "no kernel of it for the CPU" in _why("PagedAttention")
    assert "no kernel" not in _why("BeamSearch")
    assert "is unknown" in _why("NoSuchThing")


def _same_default(ours, attribute):
    if attribute.required:
        return ours is inspect.Parameter.empty
    proto = onnx.AttributeProto.FromString(attribute._default_value)
    if proto.type == onnx.AttributeProto.UNDEFINED:
        return ours is None
    theirs = onnx.helper.get_attribute_value(proto)
    if isinstance(theirs, float):
        return np.float32(ours) == np.float32(theirs)
    return ours == (theirs.decode() if isinstance(theirs, bytes) else theirs)
