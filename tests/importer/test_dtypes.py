from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import TensorProto

from onnxsal.errors import ImportFault
from onnxsal.importer.dtypes import TORCH_LACKS, element_type, numpy_dtype, torch_dtype


@pytest.mark.parametrize(
    ("element", "dtype"),
    [
        (TensorProto.FLOAT, torch.float32),
        (TensorProto.BFLOAT16, torch.bfloat16),
        (TensorProto.UINT64, torch.uint64),
        (TensorProto.FLOAT8E5M2, torch.float8_e5m2),
        (TensorProto.INT4, torch.int8),
        (TensorProto.FLOAT4E2M1, torch.float32),
    ],
)
def test_torch_type(element: int, dtype: torch.dtype) -> None:
    assert torch_dtype(element) == dtype


def test_text_is_an_object_and_no_tensor() -> None:
    assert numpy_dtype(TensorProto.STRING) == np.dtype(object)
    with pytest.raises(ImportFault, match="string"):
        torch_dtype(TensorProto.STRING)


def test_unknown_types_are_refused() -> None:
    with pytest.raises(ImportFault, match="99"):
        numpy_dtype(99)
    with pytest.raises(ImportFault, match="FLOTA"):
        element_type("FLOTA")


def test_types_were_named_in_either_case() -> None:
    assert element_type("float") == element_type("FLOAT") == TensorProto.FLOAT


def test_types_that_torch_lacks_have_their_number() -> None:
    assert TORCH_LACKS["int4"] == TensorProto.INT4
    assert "float32" not in TORCH_LACKS
