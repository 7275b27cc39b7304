from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from onnxsal.errors import ResourceError, UsageError
from onnxsal.score import BoundScore
from onnxsal.types import Feeds, Target

X = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])


class Fake:
    """An engine over a plain function that counts its calls."""

    device = "cpu"

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.function = function
        self.rows: list[int] = []

    def run(self, feeds: Feeds, _wanted: object = None) -> Feeds:
        self.rows.append(feeds["x"].shape[0])
        return {"y": self.function(**feeds)}

    def gradients(
        self, feeds: Feeds, explained: list[str], score: Callable[[Feeds], Tensor], *_: object, **__: object
    ) -> Feeds:
        leaves = {name: feeds[name].clone().requires_grad_() for name in explained}
        total = score(self.run(feeds | leaves)).sum()
        return dict(zip(explained, torch.autograd.grad(total, list(leaves.values())), strict=True))


def bound(function: Callable[..., Tensor], feeds: Feeds | None = None, **options: object) -> BoundScore:
    feeds = {"x": X} if feeds is None else feeds
    targets = [Target("y", ())] * feeds["x"].shape[0]
    return BoundScore(Fake(function), feeds, ["x"], targets, **{"stacked": True} | options)  # type: ignore[arg-type]


def copies(times: int) -> Feeds:
    return {"x": torch.cat([X * k for k in range(1, times + 1)])}


@pytest.mark.parametrize("rows", [1, 2, 4, 5, 100])
def test_chunks_do_not_show(rows: int) -> None:
    score = bound(lambda x: (x**2).sum(1), rows=rows)
    feeds = copies(4)
    torch.testing.assert_close(score(feeds), (feeds["x"] ** 2).sum(1))
    torch.testing.assert_close(score.gradients(feeds)["x"], 2 * feeds["x"])
    assert max(score.engine.rows) <= max(rows, 3)  # type: ignore[attr-defined]


def test_fixed_inputs_follow_their_example() -> None:
    gate = torch.tensor([10.0, 100.0, 1000.0])
    score = bound(lambda x, gate: x.sum(1) * gate, {"x": X, "gate": gate}, batched=frozenset({"gate"}), rows=2)
    torch.testing.assert_close(score(copies(2)), torch.cat([X.sum(1) * gate, 2 * X.sum(1) * gate]))


def test_a_shared_input_is_left_alone() -> None:
    score = bound(lambda x, rate: x.sum(1) * rate, {"x": X, "rate": torch.tensor(2.0)}, rows=2)
    torch.testing.assert_close(score(copies(2)), torch.cat([2 * X.sum(1), 4 * X.sum(1)]))


def test_a_model_of_fixed_batch_is_given_that_batch() -> None:
    def three(x: Tensor) -> Tensor:
        return x.reshape(3, 2).sum(1)

    score = bound(three)
    torch.testing.assert_close(score(copies(4)), copies(4)["x"].sum(1))
    assert score.engine.rows.count(3) >= 4  # type: ignore[attr-defined]


def test_rows_that_change_each_other_are_run_alone() -> None:
    score = bound(lambda x: x.sum(1) * x.max())
    torch.testing.assert_close(score({"x": X}), X.sum(1) * X.amax(1))


def test_without_a_batch_axis_each_row_is_a_call() -> None:
    target = [Target("y", ())]
    score = BoundScore(Fake(lambda x: x.sum()), {"x": X}, ["x"], target, stacked=False)
    assert score.feeds["x"].shape == (1, 3, 2)
    torch.testing.assert_close(score({"x": torch.stack([X, 2 * X])}), torch.tensor([21.0, 42.0]))
    assert score.gradients({"x": torch.stack([X, 2 * X])})["x"].shape == (2, 3, 2)


def test_out_of_memory_halves_the_rows_and_goes_on() -> None:
    def hungry(x: Tensor) -> Tensor:
        if x.shape[0] > 3:
            raise torch.OutOfMemoryError("no room")
        return x.sum(1)

    score = bound(hungry, rows=12)
    torch.testing.assert_close(score(copies(4)), copies(4)["x"].sum(1))
    assert score.rows == 3


def test_out_of_memory_with_one_row_is_the_end() -> None:
    def starving(x: Tensor) -> Tensor:
        if x.requires_grad:
            raise torch.OutOfMemoryError("no room")
        return x.sum(1)

    with pytest.raises(ResourceError, match=r"1 row\(s\)") as fault:
        bound(starving).gradients({"x": X})
    assert fault.value.exit_code == 7


def test_noise_depends_on_seed_example_and_draw_alone() -> None:
    score = bound(lambda x: x.sum(1), seed=3)
    whole = score.normal({"x": X})["x"]
    alone = score.normal({"x": X[1:2]})["x"]
    torch.testing.assert_close(alone[0], whole[1])
    assert not torch.equal(score.normal({"x": X}, draw=1)["x"], whole)
    assert not torch.equal(bound(lambda x: x.sum(1), seed=4).normal({"x": X})["x"], whole)
    assert whole.dtype == X.dtype


def test_noise_is_the_same_for_stacked_copies_and_for_large_inputs() -> None:
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    score = bound(lambda x: x.flatten(1).sum(1), {"x": x})
    whole = score.normal({"x": x})["x"]
    torch.testing.assert_close(score.normal({"x": torch.cat([x, x])})["x"], whole.repeat(2, 1, 1, 1), rtol=0, atol=0)
    torch.testing.assert_close(score.normal({"x": x.clone()})["x"], whole, rtol=0, atol=0)
    assert 0.97 < float(whole.std()) < 1.03
    assert abs(float(whole.mean())) < 0.03


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool])
def test_rows_of_every_type_have_generators(dtype: torch.dtype) -> None:
    x = torch.tensor([[0, 1], [1, 1]]).to(dtype)
    first, second = bound(lambda x: x.sum(1), {"x": x}).generators({"x": x})
    assert first.initial_seed() != second.initial_seed()
    assert first.initial_seed() == bound(lambda x: x.sum(1), {"x": x[:1]}).generators({"x": x[:1]})[0].initial_seed()


def test_an_engine_without_gradients_says_so() -> None:
    class ForwardOnly:
        device = "cpu"

        def run(self, feeds: Feeds, _wanted: object = None) -> Feeds:
            return {"y": feeds["x"].sum(1)}

    score = BoundScore(ForwardOnly(), {"x": X}, ["x"], [Target("y", ())] * 3, stacked=True)
    with pytest.raises(UsageError, match="no gradients"):
        score.gradients({"x": X})
