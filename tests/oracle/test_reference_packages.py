"""Methods beside the packages their authors or users know them from: shap, Captum, lime and pytorch-grad-cam."""

from __future__ import annotations

from itertools import product
from math import comb
from typing import Any

import captum.attr
import numpy as np
import pytest
import pytorch_grad_cam
import shap
import torch
from captum._utils.models.linear_model import SkLearnLinearRegression
from lime.lime_base import LimeBase
from pytorch_grad_cam import base_cam
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from sklearn.metrics import pairwise_distances
from torch import Tensor, nn

from tests.methods.models import inputs_of, network
from tests.methods.test_black_box import LABELS, by_feature, coalition_scores, lime_sample, ours
from tests.methods.test_cam import cam, exported, large

TARGETS = [2, 0, 1]
GAMES = [("mlp", 5), ("cnn", 4), ("two_inputs", 3)]
"""Networks, and how many features they are cut into."""


# --- KernelSHAP, where all coalitions are asked, so that chance has no part -------------------------------------------


@pytest.mark.parametrize(("kind", "count"), GAMES)
def test_kernel_shap_is_shaps(kind: str, count: int) -> None:
    features = LABELS.get(kind, "elements")
    explainer = shap.KernelExplainer(lambda kept: coalition_scores(kind, features, kept), np.zeros((1, count)))
    expected = explainer.shap_values(np.ones((1, count)), nsamples=2**count, l1_reg=False, silent=True)[0].T
    found = by_feature(ours(kind, "kernel_shap", features=features), kind, features, total=True)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9)


def test_kernel_shap_is_captums_where_it_is_handed_every_coalition() -> None:
    """Captum draws; here it is handed each coalition once, and weighs it by the kernel."""
    count = 5
    every = [torch.tensor([row], dtype=torch.float64) for row in product((0, 1), repeat=count)]

    def weight(_a: Any, _b: Any, row: Tensor, **_: Any) -> float:
        size = int(row.sum())
        return 1e9 if size in {0, count} else (count - 1) / (comb(count, size) * size * (count - size))

    found = ours("mlp", "kernel_shap")["x"]
    for example, x in enumerate(inputs_of("mlp")["x"]):
        rows = iter(every)
        explainer = captum.attr.Lime(
            network("mlp"), interpretable_model=SkLearnLinearRegression(), similarity_func=weight,
            perturb_func=lambda *_args, rows=rows, **_kwargs: next(rows),
        )  # fmt: skip
        expected = explainer.attribute(x[None], target=TARGETS[example], n_samples=len(every))
        np.testing.assert_allclose(found[example], expected[0].numpy(), rtol=1e-5, atol=1e-7)


# --- LIME, on the same sample -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "count"), GAMES)
def test_lime_is_limes(kind: str, count: int) -> None:
    features = LABELS.get(kind, "elements")
    kept = lime_sample(kind, count, 60).double().numpy()
    distances = pairwise_distances(kept, np.ones((1, count)), metric="cosine").ravel()
    base = LimeBase(lambda distance: np.sqrt(np.exp(-(distance**2) / 0.25**2)))
    values = coalition_scores(kind, features, kept)
    expected = [
        [weight for _, weight in sorted(fit[1])]
        for fit in (
            base.explain_instance_with_data(kept, values, distances, example, count, feature_selection="none")
            for example in range(3)
        )
    ]
    found = by_feature(ours(kind, "lime", features=features, samples=60), kind, features)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9)


# --- class activation maps --------------------------------------------------------------------------------------------


class Rectified(nn.Module):
    """Convolutions whose maps are rectified, as their ablation wants them, and far steeper than their stabilisers."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 5, 3, 2, 1), nn.Tanh(), nn.Conv2d(5, 12, 3, 2, 1), nn.ReLU())
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d((2, 1)), nn.Flatten(), nn.Linear(24, 4), nn.Tanh())
        self.last = nn.Linear(4, 3)

    def forward(self, picture: Tensor) -> Tensor:
        """Return three scores above zero: below, their ablation turns the sign of what a map adds."""
        return 1e3 * (3 + self.last(self.head(self.body(picture))))


MAPS = {
    "grad_cam": "GradCAM",
    "grad_cam_plus_plus": "GradCAMPlusPlus",
    "xgrad_cam": "XGradCAM",
    "hires_cam": "HiResCAM",
    "layer_cam": "LayerCAM",
    "ablation_cam": "AblationCAM",
}
"""Our names and theirs. Their EigenCAM centres the maps first, which the paper does not; ours is held to the paper."""


@pytest.mark.parametrize("method", MAPS)
def test_class_activation_maps_are_pytorch_grad_cams(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    module = Rectified().double().eval()
    pictures = torch.randn(3, 3, 16, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    model = exported(module, pictures)
    found = cam(model, method, pictures)
    monkeypatch.setattr(base_cam, "scale_cam_image", lambda maps, _size=None: maps)  # theirs are shown from 0 to 1
    explainer = getattr(pytorch_grad_cam, MAPS[method])(module, [module.body])
    theirs = explainer(pictures, [ClassifierOutputTarget(target) for target in TARGETS])
    expected = large(torch.from_numpy(np.asarray(theirs)).double())
    single = method == "ablation_cam"  # its scores are kept in single precision
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=(1e-4 if single else 1e-6) * float(expected.max()))
