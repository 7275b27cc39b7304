"""Linear models and support vector machines of ``ai.onnx.ml`` against ONNX Runtime."""

import numpy as np
import pytest
import torch

from onnxsal.errors import ImportFault
from onnxsal.importer.build import build
from onnxsal.importer.classes import probit
from onnxsal.importer.normalise import normalise
from tests.importer.ops.support import check, node_model, run_onnxruntime

ML = {"opset": 1, "domain": "ai.onnx.ml"}
TRANSFORMS = ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"]
KERNELS = ["LINEAR", "POLY", "RBF", "SIGMOID"]
RANDOM = np.random.default_rng(7)
X = RANDOM.standard_normal((9, 4)).astype(np.float32)


def _numbers(*shape):
    return (RANDOM.standard_normal(shape) * 0.5).astype(np.float32).ravel().tolist()


LINEAR = {"coefficients": _numbers(3, 4), "intercepts": _numbers(3)}
LABELS = [{"classlabels_ints": [7, 3, 5]}, {"classlabels_strings": ["a", "b", "c"]}]
TWO_LABELS = [{"classlabels_ints": [7, 3]}, {"classlabels_strings": ["a", "b"]}]


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_linear_regressor(transform):
    check("LinearRegressor", [X], **ML, **LINEAR, targets=3, post_transform=transform)
    check("LinearRegressor", [X], **ML, coefficients=LINEAR["coefficients"], targets=3)
    check("LinearRegressor", [X], **ML, coefficients=_numbers(4), intercepts=[0.5], post_transform=transform)


def test_linear_regressor_of_probabilities():
    x = np.array([[0.01], [0.5], [0.7], [0.999]], np.float32)
    check("LinearRegressor", [x], **ML, coefficients=[1.0], post_transform="PROBIT", atol=1e-5)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, np.int32])
def test_linear_classifier(transform, labels, kind):
    check("LinearClassifier", [(X * 2).astype(kind)], n_outputs=2, **ML, **LINEAR, **labels, post_transform=transform)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("labels", TWO_LABELS)
def test_linear_classifier_of_two_classes(transform, labels):
    one = {"coefficients": _numbers(4), "intercepts": [0.1]}
    check("LinearClassifier", [X], n_outputs=2, **ML, **one, **labels, post_transform=transform)
    two = {"coefficients": _numbers(2, 4), "intercepts": [0.1, 0.2]}
    check("LinearClassifier", [X], n_outputs=2, **ML, **two, **labels, post_transform=transform)


def test_one_score_for_one_class_is_refused():
    one = {"coefficients": _numbers(4), "intercepts": [0.1], "classlabels_ints": [4]}
    with pytest.raises(ImportFault, match="parts two classes"):
        build(normalise(node_model("LinearClassifier", [X], n_outputs=2, **ML, **one)))


def test_linear_classifier_of_one_example():
    check("LinearClassifier", [X[0]], n_outputs=2, **ML, **LINEAR, **LABELS[0])


def test_coefficients_beyond_the_features_are_not_read():
    check("LinearClassifier", [X[:, :2]], n_outputs=2, **ML, **LINEAR, **LABELS[0])


def test_probit_of_two_classes_with_one_score_is_refused():
    with pytest.raises(ImportFault, match="PROBIT"):
        build(normalise(node_model("LinearClassifier", [X], n_outputs=2, **ML, coefficients=_numbers(4),
                                   intercepts=[0.1], classlabels_ints=[0, 1], post_transform="PROBIT")))  # fmt: skip


def _vectors(classes):
    counts = [3, 2, 4][:classes]
    return {
        "vectors_per_class": counts,
        "support_vectors": _numbers(sum(counts), 4),
        "coefficients": _numbers(classes - 1, sum(counts)),
        "rho": _numbers(classes * (classes - 1) // 2),
        "kernel_params": [0.3, 0.2, 3.0],
    }


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("classes", [2, 3])
def test_svm_classifier(kernel, transform, classes):
    for labels in LABELS if classes == 3 else TWO_LABELS:
        check("SVMClassifier", [X], n_outputs=2, **ML, **_vectors(classes), **labels, kernel_type=kernel,
              post_transform=transform)  # fmt: skip


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("classes", [2, 3])
def test_svm_classifier_with_probabilities(kernel, classes):
    pairs = classes * (classes - 1) // 2
    calibration = {"prob_a": (-np.abs(_numbers(pairs)) - 1).tolist(), "prob_b": _numbers(pairs)}
    labels = LABELS[0] if classes == 3 else TWO_LABELS[1]
    check("SVMClassifier", [X], n_outputs=2, **ML, **_vectors(classes), **labels, **calibration, kernel_type=kernel,
          rtol=1e-4, atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("sign", [1, -1])
def test_svm_classifier_without_vectors(transform, sign):
    common = {"kernel_params": [0.3, 0.2, 3.0], "rho": [0.25], "post_transform": transform}
    for labels in LABELS:
        check("SVMClassifier", [X], n_outputs=2, **ML, **common, **labels, coefficients=_numbers(3, 4))
    positive = (sign * np.abs(_numbers(2, 4))).tolist()
    check("SVMClassifier", [X], n_outputs=2, **ML, **common, **TWO_LABELS[0], coefficients=positive)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("one_class", [0, 1])
def test_svm_regressor(kernel, one_class):
    common = {"kernel_type": kernel, "kernel_params": [0.3, 0.2, 2.0], "rho": [0.1], "one_class": one_class}
    vectors = {"n_supports": 5, "support_vectors": _numbers(5, 4), "coefficients": _numbers(5)}
    check("SVMRegressor", [X], **ML, **common, **vectors)
    check("SVMRegressor", [X], **ML, **common, n_supports=0, coefficients=_numbers(4))


def _slopes(model, x, output, column):
    """Return ONNX Runtime's finite differences of one score of one example."""
    step = 1e-2
    answers = [run_onnxruntime(model, [x + step * sign * row]) for sign in (1, -1) for row in np.eye(4, dtype="f4")]
    scores = np.array([answer[output][0, column] for answer in answers], np.float64)
    return (scores[:4] - scores[4:]) / (2 * step)


@pytest.mark.parametrize(
    ("op_type", "attributes", "outputs"),
    [
        ("LinearClassifier", {**LINEAR, **LABELS[0], "post_transform": "SOFTMAX"}, 2),
        ("LinearRegressor", {**LINEAR, "targets": 3}, 1),
        ("SVMClassifier", {**_vectors(3), **LABELS[0], "kernel_type": "RBF"}, 2),
        ("SVMRegressor", {"n_supports": 5, "support_vectors": _numbers(5, 4), "coefficients": _numbers(5),
                          "rho": [0.1], "kernel_type": "POLY", "kernel_params": [0.3, 0.2, 3.0]}, 1),
    ],
)  # fmt: skip
def test_gradient(op_type, attributes, outputs):
    x = X[:1]
    model = node_model(op_type, [x], n_outputs=outputs, **ML, **attributes)
    leaf = torch.from_numpy(x).requires_grad_()
    build(normalise(model))(leaf)[outputs - 1][0, 0].backward()
    expected = _slopes(model, x, outputs - 1, 0)
    assert np.allclose(leaf.grad.numpy()[0], expected, rtol=1e-2, atol=1e-3), (leaf.grad, expected)


def test_gradient_of_svm_probabilities():
    """The gradient is that of the exact coupling, which ONNX Runtime's iteration comes near to."""
    calibration = {"prob_a": [-1.5, -1.2, -1.1], "prob_b": [0.1, -0.1, 0.2]}
    model = node_model("SVMClassifier", [X[:1]], n_outputs=2, **ML, **_vectors(3), **LABELS[0], **calibration)
    leaf = torch.from_numpy(X[:1]).requires_grad_()
    build(normalise(model))(leaf)[1][0, 0].backward()
    expected = _slopes(model, X[:1], 1, 0)
    assert np.allclose(leaf.grad.numpy()[0], expected, rtol=1e-2, atol=5e-4), (leaf.grad, expected)


def test_the_middle_of_probit_has_a_gradient():
    x = torch.tensor([0.5, 0.9], requires_grad=True)
    probit(x).sum().backward()
    assert torch.allclose(x.grad, torch.tensor([2.5066, 5.6980]), rtol=1e-3)
