"""Feature preparation of ``ai.onnx.ml`` against ONNX Runtime."""

import numpy as np
import pytest
import torch

from onnxsal.errors import ImportFault
from onnxsal.importer.ops.ml_features import imputer, normalizer, one_hot_encoder, scaler
from tests.importer.ops.support import check

ML = {"opset": 1, "domain": "ai.onnx.ml"}
X = np.array([[1.5, -2.0, 0.0], [0.25, 3.0, -7.5], [0.0, 0.0, 0.0]], np.float32)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, np.int32])
@pytest.mark.parametrize(
    "attributes", [{"offset": [1.0, 0.5, -2.0], "scale": [2.0, 0.1, 3.0]}, {"offset": [0.5], "scale": [3.0]}]
)
def test_scaler(kind, attributes):
    check("Scaler", [X.astype(kind)], **ML, **attributes)


@pytest.mark.parametrize("norm", ["MAX", "L1", "L2"])
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, np.int32])
def test_normalizer(norm, kind):
    check("Normalizer", [X.astype(kind)], **ML, norm=norm)


def test_normalizer_of_one_example():
    check("Normalizer", [X[1]], **ML, norm="L2")


@pytest.mark.parametrize("norm", ["MAX", "L1", "L2"])
def test_an_example_of_zeros_has_a_gradient(norm):
    x = torch.from_numpy(X).requires_grad_()
    normalizer(x, norm=norm).sum().backward()
    assert x.grad.isfinite().all()


def test_scaler_gradient_is_the_scale():
    x = torch.from_numpy(X).requires_grad_()
    scaler(x, offset=[1.0], scale=[2.0, 3.0, 4.0]).sum().backward()
    assert x.grad.tolist() == [[2.0, 3.0, 4.0]] * 3


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, np.int32])
def test_binarizer(kind):
    x = X.astype(kind)
    expected = None if kind is np.float32 else [(x > 0.2).astype(kind)]  # ONNX Runtime has the one kernel
    check("Binarizer", [x], **ML, threshold=0.2, expected=expected)


def test_imputer():
    floats = {"imputed_value_floats": [9.0, 8.0, 7.0], "replaced_value_float": 0.0}
    check("Imputer", [X], **ML, **floats)
    missing = np.where(X == 0, np.nan, X).astype(np.float32)
    check("Imputer", [missing], **ML, imputed_value_floats=[4.0], replaced_value_float=float("nan"))
    check("Imputer", [X.astype(np.int64)], **ML, imputed_value_int64s=[9, 8, 7], replaced_value_int64=-2)


def test_imputer_without_a_value_for_its_type():
    with pytest.raises(ImportFault, match="imputed_value_floats is missing"):
        imputer(torch.zeros(2), imputed_value_int64s=[1])


@pytest.mark.parametrize("kind", [np.float32, np.int64, np.float64])
def test_one_hot_encoder(kind):
    check("OneHotEncoder", [np.array([[1, 3], [2, 9]], kind)], **ML, cats_int64s=[1, 2, 3])
    check("OneHotEncoder", [np.array([1, 3], kind)], **ML, cats_int64s=[1, 2, 3], zeros=0)


def test_one_hot_encoder_of_text():
    text = np.array([["b"], ["a"], ["?"]], dtype=object)
    check("OneHotEncoder", [text], **ML, cats_strings=["a", "b", "c"])


def test_one_hot_encoder_refuses_the_unknown():
    with pytest.raises(ImportFault, match="unknown"):
        one_hot_encoder(torch.tensor([7]), cats_int64s=[1], zeros=0)


def test_feature_vectorizer():
    expected = np.concatenate([X, X[:, :2]], 1)
    check("FeatureVectorizer", [X, X[:, :2]], **ML, inputdimensions=[3, 2], expected=[expected])
    whole = X.astype(np.int64)
    check("FeatureVectorizer", [whole, whole[:, :1]], **ML, inputdimensions=[3, 1])


def test_feature_vectorizer_fills_and_cuts():
    check("FeatureVectorizer", [X, X], **ML, inputdimensions=[4, 2])


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, np.int32, object])
def test_array_feature_extractor(kind):
    x = X.astype(str).astype(object) if kind is object else X.astype(kind)
    check("ArrayFeatureExtractor", [x, np.array([2, 0])], **ML)
    check("ArrayFeatureExtractor", [x[0], np.array([[1]])], **ML)
