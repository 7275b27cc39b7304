"""Tree ensembles of ``ai.onnx.ml``. They are steps: right answers, no gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from onnxsal.errors import ImportFault
from onnxsal.importer.classes import Labels, check_transform, of_two, probit, transformed
from onnxsal.importer.forest import MODES, Forest, Trees, aggregated, places_of
from onnxsal.importer.operator import AsIs, layer, op

DOMAIN = "ai.onnx.ml"
AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")
TRANSFORMS = ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO", "PROBIT")
"""In ONNX Runtime's order, which decides what a deployed file answers; the specification has the second two swapped."""

Attributes = dict[str, Any]


@op("TreeEnsembleRegressor", domain=DOMAIN, gradient=False)
def tree_ensemble_regressor(
    x: Tensor,
    *,
    aggregate_function: str = "SUM",
    base_values: list[float] | None = None,
    base_values_as_tensor: np.ndarray | None = None,
    n_targets: int | None = None,
    nodes_falsenodeids: list[int] | None = None,
    nodes_featureids: list[int] | None = None,
    nodes_hitrates: list[float] | None = None,
    nodes_hitrates_as_tensor: np.ndarray | None = None,
    nodes_missing_value_tracks_true: list[int] | None = None,
    nodes_modes: list[str] | None = None,
    nodes_nodeids: list[int] | None = None,
    nodes_treeids: list[int] | None = None,
    nodes_truenodeids: list[int] | None = None,
    nodes_values: list[float] | None = None,
    nodes_values_as_tensor: np.ndarray | None = None,
    post_transform: str = "NONE",
    target_ids: list[int] | None = None,
    target_nodeids: list[int] | None = None,
    target_treeids: list[int] | None = None,
    target_weights: list[float] | None = None,
    target_weights_as_tensor: np.ndarray | None = None,
) -> Tensor:
    """Add up (or average, or pick from) what the leaves of many trees say."""
    return cast("Tensor", _run(Regressor, dict(locals())))


def _run(kind: type[nn.Module], given: Attributes) -> Any:
    """Make the trees from a function's arguments, and run them: the way where no layer could be made before."""
    x = given.pop("x")
    return kind(**given).to(x.device)(x)


@layer(tree_ensemble_regressor)
class Regressor(nn.Module):
    """Trees whose leaves hold numbers for one target or more."""

    def __init__(self, **given: Any) -> None:
        super().__init__()
        count = given.get("n_targets") or 1
        self.forest = Forest(_trees_of(given, "target"), count)
        self.how = given.get("aggregate_function") or "SUM"
        self.transform = check_transform(given.get("post_transform") or "NONE")
        base = _numbers(given, "base_values")
        self.base: Tensor
        self.register_buffer("base", torch.from_numpy(base if len(base) == count else np.zeros(count)))

    def forward(self, x: Tensor) -> Tensor:
        """Return one column for each target."""
        total, speaks = aggregated(self.forest, _as_rows(x), self.how)
        if total.shape[1] > 1:  # of several targets, one that no leaf speaks of stays zero
            return _finished(torch.where(speaks, total + self.base, 0.0), self.transform).float()
        return _finished(total + self.base, self.transform).float()

    def summed(self) -> tuple[Tensor, str | None]:
        """Return what each leaf adds to the output, and the transform of the sums."""
        return _summed(self.forest, self.how, self.transform)


def _summed(forest: Forest, how: str, transform: str) -> tuple[Tensor, str | None]:
    table = forest.table / (len(forest) if how == "AVERAGE" else 1)
    is_left = table.shape[1] == 1 and transform != "PROBIT"
    return table, None if how in {"MIN", "MAX"} else "NONE" if is_left else transform


def _finished(total: Tensor, transform: str) -> Tensor:
    """Transform scores; ONNX Runtime leaves a single one as it is, but for PROBIT."""
    if total.shape[1] > 1:
        return transformed(total, transform)
    return probit(total) if transform == "PROBIT" else total


def _as_rows(x: Tensor) -> Tensor:
    return x.reshape(1, -1) if x.dim() == 1 else x


@op("TreeEnsembleClassifier", domain=DOMAIN, gradient=False)
def tree_ensemble_classifier(
    x: Tensor,
    *,
    base_values: list[float] | None = None,
    base_values_as_tensor: np.ndarray | None = None,
    class_ids: list[int] | None = None,
    class_nodeids: list[int] | None = None,
    class_treeids: list[int] | None = None,
    class_weights: list[float] | None = None,
    class_weights_as_tensor: np.ndarray | None = None,
    classlabels_int64s: list[int] | None = None,
    classlabels_strings: list[str] | None = None,
    nodes_falsenodeids: list[int] | None = None,
    nodes_featureids: list[int] | None = None,
    nodes_hitrates: list[float] | None = None,
    nodes_hitrates_as_tensor: np.ndarray | None = None,
    nodes_missing_value_tracks_true: list[int] | None = None,
    nodes_modes: list[str] | None = None,
    nodes_nodeids: list[int] | None = None,
    nodes_treeids: list[int] | None = None,
    nodes_truenodeids: list[int] | None = None,
    nodes_values: list[float] | None = None,
    nodes_values_as_tensor: np.ndarray | None = None,
    post_transform: str = "NONE",
) -> tuple[AsIs, Tensor]:
    """Let the leaves of many trees vote for classes; give the winner and all scores."""
    return cast("tuple[Any, Tensor]", _run(Classifier, dict(locals())))


@layer(tree_ensemble_classifier, gives_all=True)
class Classifier(nn.Module):
    """Trees whose leaves vote for classes.

    Two classes follow ONNX Runtime's rules: where the trees speak of one class only, its score decides for both.
    """

    def __init__(self, **given: Any) -> None:
        super().__init__()
        self.labels = Labels(given.get("classlabels_int64s"), given.get("classlabels_strings"))
        trees = _trees_of(given, "class")
        self.forest = Forest(trees, len(self.labels))
        self.transform = check_transform(given.get("post_transform") or "NONE")
        self.one_sided = len(self.labels) == 2 and len(set(trees.targets.tolist())) == 1
        self.all_positive = bool((trees.weights >= 0).all())
        self.base: Tensor
        self.register_buffer("base", torch.from_numpy(_numbers(given, "base_values")))

    def forward(self, x: Tensor) -> tuple[Any, Tensor]:
        """Return a label and a row of scores for each example."""
        total, speaks = aggregated(self.forest, _as_rows(x), "SUM")
        answer = self._of_many if len(self.labels) > 2 else self._of_two if len(self.labels) == 2 else self._of_one
        label, scores = answer(total, speaks)
        return label, scores.float()

    def summed(self) -> tuple[Tensor, str | None]:
        """Return what each leaf adds to each class's score, and the transform of the sums."""
        table = self.forest.table
        if self.one_sided and len(self.base) != 2 and table[:, 0].any():  # of two classes, the first decides for both
            table = torch.cat([-table[:, :1], table[:, :1]], 1)
        return table, self.transform if len(self.labels) > 1 else _summed(self.forest, "SUM", self.transform)[1]

    def _of_many(self, total: Tensor, speaks: Tensor) -> tuple[Any, Tensor]:
        if len(self.base):
            total, speaks = total + self.base, torch.ones_like(speaks)
        best = torch.where(speaks, total, -torch.inf).argmax(1)
        return self.labels(best), transformed(total, self.transform)

    def _of_one(self, total: Tensor, speaks: Tensor) -> tuple[Any, Tensor]:
        del speaks
        total = total + self.base[:1].sum()
        label = Labels((0, 1), None)((total[:, 0] > 0).cpu().long())
        return label, _finished(total, self.transform)

    def _of_two(self, total: Tensor, speaks: Tensor) -> tuple[Any, Tensor]:
        second = speaks[:, 1:]
        both = torch.where(speaks, self._with_base(total, second), 0.0)
        decisive = torch.where(second, both[:, 1:], both[:, :1])
        if self.one_sided:
            label = self.labels((decisive[:, 0] > (0.5 if self.all_positive else 0.0)).long())
        else:
            label = self._by_sign(decisive[:, 0])
        scores = transformed(both, self.transform)
        if len(self.base) == 2:
            return label, scores
        return label, torch.where(second, scores, self._from_first(both[:, :1]))

    def _with_base(self, total: Tensor, second: Tensor) -> Tensor:
        """Add the base values; with two of them and scores for the second class, the first class is its opposite."""
        if len(self.base) == 2:
            score = self.base[1] + total[:, :1]
            return torch.where(second, torch.cat([-score, score], 1), total + self.base)
        return total + torch.nn.functional.pad(self.base[:1], (0, 2 - len(self.base[:1])))

    def _by_sign(self, decisive: Tensor) -> Any:
        """Return 1 or 0 (for text, the label there), whatever the classes are called: so does ONNX Runtime."""
        place = (decisive > 0).long()
        return place if self.labels.texts is None else self.labels(place)

    def _from_first(self, score: Tensor) -> Tensor:
        """Return both classes' scores where the trees spoke of the first column only."""
        if self.transform == "PROBIT":
            return torch.cat([probit(score), torch.zeros_like(score)], 1)
        opposite = not (self.one_sided and self.all_positive)
        return of_two(score, opposite=opposite, logistic=self.transform == "LOGISTIC")


@op("TreeEnsemble", since=5, domain=DOMAIN, gradient=False)
def tree_ensemble(
    x: Tensor,
    *,
    aggregate_function: int = 1,
    leaf_targetids: list[int],
    leaf_weights: np.ndarray,
    membership_values: np.ndarray | None = None,
    n_targets: int | None = None,
    nodes_falseleafs: list[int],
    nodes_falsenodeids: list[int],
    nodes_featureids: list[int],
    nodes_hitrates: np.ndarray | None = None,
    nodes_missing_value_tracks_true: list[int] | None = None,
    nodes_modes: np.ndarray,
    nodes_splits: np.ndarray,
    nodes_trueleafs: list[int],
    nodes_truenodeids: list[int],
    post_transform: int = 0,
    tree_roots: list[int],
) -> Tensor:
    """Add up (or average, or pick from) what the leaves of many trees say, each leaf for one target."""
    return cast("Tensor", _run(Ensemble, dict(locals())))


@layer(tree_ensemble)
class Ensemble(nn.Module):
    """Trees as opset 5 writes them: branches and leaves in lists of their own."""

    def __init__(self, **given: Any) -> None:
        super().__init__()
        self.forest = Forest(_compact_trees(given), given.get("n_targets") or 1)
        self.how = AGGREGATES[given.get("aggregate_function", 1)]
        self.transform = TRANSFORMS[given.get("post_transform", 0)]

    def forward(self, x: Tensor) -> Tensor:
        """Return one column for each target."""
        total, _ = aggregated(self.forest, _as_rows(x), self.how)
        return _finished(total, self.transform).to(x.dtype)

    def summed(self) -> tuple[Tensor, str | None]:
        """Return what each leaf adds to the output, and the transform of the sums."""
        return _summed(self.forest, self.how, self.transform)


def _numbers(given: Attributes, name: str) -> np.ndarray:
    """Return numbers given as a list or as a tensor; an empty array where they are not given."""
    tensor = given.get(f"{name}_as_tensor")
    values = np.asarray(given.get(name) or (), np.float32) if tensor is None or not np.size(tensor) else tensor
    return np.ravel(values).astype(np.float64)


def _trees_of(given: Attributes, role: str) -> Trees:
    """Return the trees of a node whose branches and leaves are numbered within their tree.

    Raises:
        ImportFault: the lists do not describe trees.
    """
    owners = given.get("nodes_treeids") or []
    modes: list[str] = given.get("nodes_modes") or []
    places = places_of(owners, given.get("nodes_nodeids") or [])
    own = np.arange(len(owners))
    leaf = np.array([mode == "LEAF" for mode in modes], dtype=bool)
    if unknown := set(modes) - {*MODES[:-1], "LEAF"}:
        raise ImportFault(
            f"nodes_modes {sorted(unknown)[0]!r} is unknown", hint=f"known: LEAF, {', '.join(MODES[:-1])}"
        )
    true = np.where(leaf, own, _children(owners, given.get("nodes_truenodeids") or [], places, leaf))
    false = np.where(leaf, own, _children(owners, given.get("nodes_falsenodeids") or [], places, leaf))
    speakers = zip(given.get(f"{role}_treeids") or [], given.get(f"{role}_nodeids") or [], strict=True)
    return Trees(
        features=np.where(leaf, 0, np.array(given.get("nodes_featureids") or [], dtype=np.int64)),
        thresholds=_numbers(given, "nodes_values"),
        modes=modes,
        true=true,
        false=false,
        roots=_roots(owners, true, false, leaf),
        leaves=np.array([places[key] for key in speakers], dtype=np.int64),
        targets=np.array(given.get(f"{role}_ids") or [], dtype=np.int64),
        weights=_numbers(given, f"{role}_weights"),
        missing_true=_optional(given.get("nodes_missing_value_tracks_true")),
    )


def _optional(values: Sequence[int] | None) -> np.ndarray | None:
    return np.array(values, dtype=bool) if values else None


def _children(
    owners: Sequence[int], children: Sequence[int], places: dict[tuple[int, int], int], leaf: np.ndarray
) -> np.ndarray:
    keys = zip(owners, children, strict=True)
    return np.array([0 if is_leaf else places[key] for key, is_leaf in zip(keys, leaf, strict=True)], dtype=np.int64)


def _roots(owners: Sequence[int], true: np.ndarray, false: np.ndarray, leaf: np.ndarray) -> np.ndarray:
    """Return the places no branch leads to, one for each tree, in the trees' order."""
    led_to = np.zeros(len(owners), dtype=bool)
    led_to[true[~leaf]] = led_to[false[~leaf]] = True
    first: dict[int, int] = {}
    for place in np.flatnonzero(~led_to).tolist():
        first.setdefault(owners[place], place)
    if len(first) != len(set(owners)):
        raise ImportFault("a tree has no root", hint="its branches form a circle")
    return np.array(list(first.values()), dtype=np.int64)


def _compact_trees(given: Attributes) -> Trees:
    """Return the trees of a node that lists branches and leaves apart; leaves are placed after the branches."""
    branches = len(given["nodes_featureids"])
    weights = np.ravel(given["leaf_weights"]).astype(np.float64)
    leaves = branches + np.arange(len(weights))
    numbers = np.ravel(given["nodes_modes"]).astype(int).tolist()
    modes = [MODES[n] for n in numbers]
    missing = given.get("nodes_missing_value_tracks_true") or [0] * branches
    blank = np.zeros(len(weights))
    return Trees(
        features=np.concatenate([given["nodes_featureids"], blank]),
        thresholds=np.concatenate([np.ravel(given["nodes_splits"]).astype(np.float64), blank]),
        modes=modes + ["LEAF"] * len(weights),
        true=_led_to(given["nodes_truenodeids"], given["nodes_trueleafs"], leaves),
        false=_led_to(given["nodes_falsenodeids"], given["nodes_falseleafs"], leaves),
        roots=np.array(given["tree_roots"], dtype=np.int64),
        leaves=leaves,
        targets=np.array(given["leaf_targetids"], dtype=np.int64),
        weights=weights,
        missing_true=np.concatenate([missing, blank]),
        members=_members(modes, given.get("membership_values")),
    )


def _led_to(children: Sequence[int], is_leaf: Sequence[int], leaves: np.ndarray) -> np.ndarray:
    """Return where each branch leads, and behind that each leaf to itself."""
    numbers, to_leaf = np.array(children, dtype=np.int64), np.array(is_leaf, dtype=bool)
    return np.concatenate([np.where(to_leaf, numbers + leaves[0], numbers), leaves])


def _members(modes: Sequence[str], values: np.ndarray | None) -> dict[int, Sequence[float]]:
    """Return the sets of the branches that ask for membership: runs of values, each ended by a no-number."""
    flat = np.ravel(values if values is not None else ()).astype(np.float64)
    sets = [run[~np.isnan(run)].tolist() for run in np.split(flat, np.flatnonzero(np.isnan(flat)) + 1)]
    asking = [place for place, mode in enumerate(modes) if mode == "BRANCH_MEMBER"]
    return dict(zip(asking, sets, strict=False))
