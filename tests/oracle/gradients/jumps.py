"""Operators that are declared to have no gradient: they jump, and between their jumps nothing moves."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from onnxsal.importer.operator import Operator
from tests.oracle.gradients import Case, Draw, flag, numbers, options, shape, steps, takes_no_floats

HALVES = tuple(np.arange(-2, 2.5, 0.5))
TABLES = "ai.onnx.ml"


@steps("Ceil", "Floor", "IsInf", "IsNaN", "NonZero", "Round", "Shape", "Sign", "Size", "EyeLike")
def unary(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw, (2, 2)) if op.name == "EyeLike" else shape(draw)
    return Case([numbers(draw, sizes, away=HALVES)])


@steps("ArgMax", "ArgMin", "Hardmax")
def largest(draw: Draw, op: Operator) -> Case:
    sizes = shape(draw, (2, 3))
    return Case([numbers(draw, sizes)], options(draw, op, axis=st.integers(0, len(sizes) - 1), keepdims=flag))


@steps("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
def comparison(draw: Draw, op: Operator) -> Case:
    return Case(list(numbers(draw, [2, *shape(draw)])))


@steps("NonMaxSuppression")
def suppression(draw: Draw, op: Operator) -> Case:
    boxes = np.array([[[0, 0, 1, 1], [0.1, 0.1, 1.1, 1.1], [2, 2, 3, 3]]]) + numbers(draw, [1, 3, 4], -0.04, 0.04, ())
    return Case([boxes, numbers(draw, [1, 2, 3], 0, 1), np.array([3]), np.array([0.5]), np.array([0.2])], held=[3, 4])


@steps("Binarizer", domain=TABLES)
def binarizer(draw: Draw, op: Operator) -> Case:
    return Case([numbers(draw, [2, 3], away=(0.5,))], {"threshold": 0.5}, single=True)


@steps("TreeEnsembleRegressor", "TreeEnsembleClassifier", domain=TABLES)
def trees(draw: Draw, op: Operator) -> Case:
    role = "target" if op.name == "TreeEnsembleRegressor" else "class"
    tree = {
        "nodes_treeids": [0] * 3, "nodes_nodeids": [0, 1, 2], "nodes_featureids": [1, 0, 0],
        "nodes_values": [0.25, 0.0, 0.0], "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
        "nodes_truenodeids": [1, 0, 0], "nodes_falsenodeids": [2, 0, 0], f"{role}_treeids": [0, 0],
        f"{role}_nodeids": [1, 2], f"{role}_ids": [0, 1], f"{role}_weights": [1.0, 2.0],
    }  # fmt: skip
    tree |= {"n_targets": 2} if role == "target" else {"classlabels_int64s": [0, 1]}
    return Case([numbers(draw, [3, 2], away=(0.25,))], tree, 1 if role == "target" else 2, single=True)


takes_no_floats(
    "takes bits or truth values",
    *("And", "Or", "Xor", "Not", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "BitCast"),
)
takes_no_floats(
    "draws numbers at random",
    *("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
)
takes_no_floats(
    "makes numbers of shapes, bounds or files",
    *("BlackmanWindow", "ConstantOfShape", "HammingWindow", "HannWindow", "ImageDecoder", "MelWeightMatrix", "Range"),
)
takes_no_floats("asks about a sequence or an optional", "OptionalHasElement", "SequenceEmpty", "SequenceLength")
takes_no_floats("is about text", "RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer")
takes_no_floats(
    "takes categories or maps",
    *("CastMap", "CategoryMapper", "DictVectorizer", "LabelEncoder", "OneHotEncoder"),
    domain=TABLES,
)
takes_no_floats(
    "is the standard one's trees in other lists, which test_ml_trees.py tries", "TreeEnsemble", domain=TABLES
)
takes_no_floats(
    "takes integers, bounds or whole tensors' truth", "IsAllFinite", "MatMulInteger16", "Range", domain="com.microsoft"
)
takes_no_floats(
    "takes tokens, or gives hashes, places or words",
    *("BifurcationDetector", "DynamicTimeWarping", "MurmurHash3", "NGramHashMapping", "Tokenizer"),
    "VarlenNGramHashMapping",
    domain="com.microsoft",
)
