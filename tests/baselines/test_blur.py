from __future__ import annotations

import pytest
import scipy.ndimage
import torch

from onnxsal.baselines.blur import make


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((2, 3, 20, 16), (2, 3)), ((2, 20, 16, 3), (1, 2)), ((2, 3, 24), (2,)), ((2, 24, 3), (1,)), ((2, 9), (1,))],
)
def test_it_is_scipys_gaussian_along_the_places(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sigmas = [1.5 if axis in axes else 0 for axis in range(x.ndim)]
    radii = [round(3 * s) for s in sigmas]
    expected = scipy.ndimage.gaussian_filter(x.numpy(), sigmas, mode="nearest", radius=radii)
    torch.testing.assert_close(make({"x": x}, sigma=1.5)["x"], torch.from_numpy(expected))


def test_a_flat_input_stays_flat_whatever_the_width() -> None:
    flat = torch.full((1, 1, 5, 7), 3.0)
    torch.testing.assert_close(make({"x": flat}, sigma=40.0)["x"], flat)


def test_the_input_is_not_touched() -> None:
    x = torch.arange(12.0).reshape(1, 3, 4)
    make({"x": x})
    assert torch.equal(x, torch.arange(12.0).reshape(1, 3, 4))
