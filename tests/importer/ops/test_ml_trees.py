"""Tree ensembles of ``ai.onnx.ml`` against ONNX Runtime, and whole scikit-learn pipelines."""

import numpy as np
import onnx
import pytest
import skl2onnx
import torch

from onnxsal.errors import ImportFault
from onnxsal.importer.build import build
from onnxsal.importer.normalise import normalise
from onnxsal.parity import distance
from tests.importer.ops.support import check, node_model, run_onnxruntime

DOMAIN = "ai.onnx.ml"
BRANCHES = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]
TRANSFORMS = ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"]
FEATURES = 5


def _x(kind=np.float32, rows=40):
    random = np.random.default_rng(3)
    x = random.integers(-3, 4, (rows, FEATURES)) / (1 if np.dtype(kind).kind == "i" else 2)
    return x.astype(kind)


def _trees(n_trees, targets, role, modes=("BRANCH_LEQ",), positive=False, depth=4, missing=False):
    """Return random trees of uneven depth; every leaf speaks of each target in ``targets``."""
    random = np.random.default_rng(5)
    nodes = {
        name: [] for name in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")
    }
    tracks, speakers = [], {"treeids": [], "nodeids": [], "ids": [], "weights": []}

    def grow(tree, level):
        place = len(nodes["nodeids"])
        number = place - starts[tree]
        is_leaf = level == depth or (level > 1 and random.random() < 0.3)
        row = (tree, number, int(random.integers(FEATURES)), float(random.integers(-4, 5)) / 2, "LEAF", 0, 0)
        for column, value in zip(nodes.values(), row, strict=True):
            column.append(value)
        tracks.append(int(missing and random.random() < 0.5))
        if is_leaf:
            for target in targets:
                weight = random.standard_normal()
                for column, value in zip(
                    speakers.values(),
                    (tree, number, target, float(np.float32(abs(weight) if positive else weight))),
                    strict=True,
                ):
                    column.append(value)
            return number
        nodes["modes"][place] = str(random.choice(modes))
        nodes["truenodeids"][place] = grow(tree, level + 1)
        nodes["falsenodeids"][place] = grow(tree, level + 1)
        return number

    starts = {}
    for tree in range(n_trees):
        starts[tree] = len(nodes["nodeids"])
        grow(tree, 0)
    attributes = {f"nodes_{name}": column for name, column in nodes.items()}
    attributes |= {f"{role}_{name}": column for name, column in speakers.items()}
    return attributes | ({"nodes_missing_value_tracks_true": tracks} if missing else {})


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("opset", [1, 3])
def test_regressor(kind, opset):
    trees = _trees(7, [0], "target", BRANCHES)
    check("TreeEnsembleRegressor", [_x(kind)], opset=opset, domain=DOMAIN, n_targets=1, **trees)


@pytest.mark.parametrize("how", ["SUM", "AVERAGE", "MIN", "MAX"])
@pytest.mark.parametrize("targets", [[0], [0, 1, 2], [0, 2]])
def test_regressor_aggregates(how, targets):
    trees = _trees(5, targets, "target")
    count = 1 if targets == [0] else 3
    for base in ({}, {"base_values": [0.25, -1.0, 0.5][:count]}):
        check("TreeEnsembleRegressor", [_x()], opset=1, domain=DOMAIN, n_targets=count, aggregate_function=how, **trees,
              **base)  # fmt: skip


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("targets", [1, 2])
def test_regressor_transforms(transform, targets):
    trees = _trees(5, list(range(targets)), "target")
    check("TreeEnsembleRegressor", [_x()], opset=1, domain=DOMAIN, n_targets=targets, post_transform=transform, **trees)


def test_regressor_with_tensors_of_doubles():
    trees = _trees(4, [0], "target")
    for name in ("nodes_values", "target_weights"):
        array = np.array(trees.pop(name), np.float64)
        trees[f"{name}_as_tensor"] = onnx.numpy_helper.from_array(array)
    base = onnx.numpy_helper.from_array(np.array([0.125]))
    check("TreeEnsembleRegressor", [_x(np.float64)], opset=3, domain=DOMAIN, n_targets=1, base_values_as_tensor=base,
          **trees)  # fmt: skip


@pytest.mark.parametrize("mode", BRANCHES)
@pytest.mark.parametrize("missing", [False, True])
def test_missing_values_take_the_way_the_file_says(mode, missing):
    x = _x()
    x[::3, ::2] = np.nan
    trees = _trees(5, [0], "target", [mode], missing=missing)
    check("TreeEnsembleRegressor", [x], opset=1, domain=DOMAIN, n_targets=1, **trees)


LABELS = {
    1: [{"classlabels_int64s": [4]}],
    2: [{"classlabels_int64s": [4, 9]}, {"classlabels_strings": ["a", "b"]}],
    3: [{"classlabels_int64s": [4, 9, 2]}, {"classlabels_strings": ["a", "b", "c"]}],
}


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("targets", [[0], [1], [0, 1]])
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("base", [[], [0.25], [0.25, -0.5]])
def test_classifier_of_two_classes(transform, targets, positive, base):
    trees = _trees(3, targets, "class", positive=positive)
    base = {"base_values": base} if base else {}
    for labels in LABELS[2]:
        check("TreeEnsembleClassifier", [_x()], opset=1, domain=DOMAIN, n_outputs=2, post_transform=transform, **trees,
              **labels, **base)  # fmt: skip


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, np.int32])
def test_classifier_of_three_classes(transform, kind):
    trees = _trees(4, [0, 1, 2], "class", BRANCHES)
    for labels in LABELS[3]:
        for base in ({}, {"base_values": [0.5, 0.0, -0.5]}):
            check("TreeEnsembleClassifier", [_x(kind)], opset=1, domain=DOMAIN, n_outputs=2, post_transform=transform,
                  **trees, **labels, **base)  # fmt: skip


def test_classifier_of_one_class():
    check(
        "TreeEnsembleClassifier", [_x()], opset=1, domain=DOMAIN, n_outputs=2, **_trees(3, [0], "class"), **LABELS[1][0]
    )


def test_a_vector_is_one_example():
    trees = _trees(3, [0, 1, 2], "class")
    trees["nodes_featureids"] = [0] * len(trees["nodes_featureids"])
    check("TreeEnsembleClassifier", [_x()[0]], opset=1, domain=DOMAIN, n_outputs=2, **trees, **LABELS[3][0])


def _compact(kind, members=False):
    """Return two trees as opset 5 writes them: one of depth two, one of depth one."""
    tensor = onnx.numpy_helper.from_array
    modes = [0, 6 if members else 3, 1] if members else [0, 3, 1]
    attributes = {
        "nodes_splits": tensor(np.array([0.5, 0.0, 1.0], kind)),
        "nodes_featureids": [0, 2, 1],
        "nodes_modes": tensor(np.array(modes, np.uint8)),
        "nodes_truenodeids": [1, 0, 3],
        "nodes_trueleafs": [0, 1, 1],
        "nodes_falsenodeids": [2, 1, 4],
        "nodes_falseleafs": [1, 1, 1],
        "leaf_targetids": [0, 1, 0, 1, 0],
        "leaf_weights": tensor(np.array([1.5, -2.0, 0.25, 3.0, -1.0], kind)),
        "tree_roots": [0, 2],
    }
    if members:
        attributes["membership_values"] = tensor(np.array([1, 2, 3, np.nan], kind))
    return attributes


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("how", [0, 1, 2, 3])
@pytest.mark.parametrize("members", [False, True])
def test_ensemble(kind, how, members):
    check("TreeEnsemble", [_x(kind)], opset=5, domain=DOMAIN, n_targets=2, aggregate_function=how,
          **_compact(kind, members))  # fmt: skip


@pytest.mark.parametrize("transform", [0, 1, 2, 3])
def test_ensemble_transforms(transform):
    check("TreeEnsemble", [_x()], opset=5, domain=DOMAIN, n_targets=2, post_transform=transform, **_compact(np.float32))


def test_trees_trace_with_a_symbolic_batch():
    check("TreeEnsembleRegressor", [_x()], opset=1, domain=DOMAIN, n_targets=2, trace=True,
          **_trees(5, [0, 1], "target", BRANCHES))  # fmt: skip


def test_trees_take_a_leaf_that_requires_a_gradient():
    model = node_model("TreeEnsembleRegressor", [_x()], opset=1, domain=DOMAIN, n_targets=1, **_trees(2, [0], "target"))
    (y,) = build(normalise(model))(torch.from_numpy(_x()).requires_grad_())
    assert not y.requires_grad


def test_a_circle_of_branches_is_refused():
    trees = _trees(1, [0], "target")
    inner = next(i for i, mode in enumerate(trees["nodes_modes"]) if i and mode != "LEAF")
    trees["nodes_truenodeids"][inner] = inner
    model = node_model("TreeEnsembleRegressor", [_x()], opset=1, domain=DOMAIN, n_targets=1, **trees)
    with pytest.raises(ImportFault):
        build(normalise(model))


def _fitted(kind):
    from sklearn import datasets, ensemble, linear_model, neural_network, pipeline, preprocessing, svm, tree

    x, y = datasets.load_iris(return_X_y=True)
    models = {
        "forest": ensemble.RandomForestClassifier(8, random_state=0),
        "boosting": ensemble.GradientBoostingClassifier(n_estimators=5, random_state=0),
        "isolation": ensemble.IsolationForest(n_estimators=10, random_state=0),
        "tree": tree.DecisionTreeRegressor(max_depth=4, random_state=0),
        "logistic": pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()),
        "svc": svm.SVC(probability=False, random_state=0),
        "svr": svm.SVR(),
        "mlp": neural_network.MLPClassifier((6,), max_iter=300, random_state=0),
        "scaled": pipeline.make_pipeline(
            preprocessing.Normalizer(), preprocessing.MinMaxScaler(), svm.SVC(kernel="poly")
        ),
    }
    return models[kind].fit(x, y), x.astype(np.float32)


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "kind",
    ["forest", "boosting", "isolation", "tree", "logistic", "svc", "svr", "mlp", "scaled"],
)
def test_scikit_learn(kind):
    fitted, x = _fitted(kind)
    options = {"zipmap": False} if hasattr(fitted, "predict_proba") else None
    model = skl2onnx.to_onnx(fitted, x[:1], options=options, target_opset={"": 17, DOMAIN: 3})
    expected = run_onnxruntime(model, [x])
    got = build(normalise(model))(torch.from_numpy(x))
    for ours, theirs in zip(got, expected, strict=True):
        assert distance(ours, theirs)[0] < 5e-5  # a cubed kernel multiplies rounding
