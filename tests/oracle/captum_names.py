"""Captum's methods by their names there, and what to say here: one table for the documents and the comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class Ours:
    """What to say in place of one of Captum's methods.

    Args:
        method: The method here.
        options: Options that differ from the defaults, as texts.
        remark: What is named otherwise or is not the same, as Markdown.
    """

    method: str
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    remark: str = ""


STEPS = "`n_steps` is `steps`, `method` is `quadrature`"
ROWS = "`baselines` takes a file of examples"
MASK = "`feature_mask` is `features`"
STARTS = "baselines are said of the inputs, and become what the layer is for them"
ABS = {"abs": "false"}

INPUT = {
    "Saliency": Ours("saliency"),
    "InputXGradient": Ours("input_x_gradient"),
    "IntegratedGradients": Ours("integrated_gradients", remark=STEPS),
    "GradientShap": Ours("gradient_shap", remark=f"{ROWS}; `n_samples` is `samples`, `stdevs` is `noise`"),
    "NoiseTunnel": Ours("smoothgrad", {"of": "saliency"}, "`of` is any method; `nt_type` is `kind`"),
    "GuidedBackprop": Ours("guided_backprop"),
    "Deconvolution": Ours("deconvolution"),
    "GuidedGradCam": Ours("guided_grad_cam", remark="`-s layer=LAYER`, or the last feature maps"),
    "DeepLift": Ours("deep_lift", remark="every operator has its rule; reused and functional layers too"),
    "DeepLiftShap": Ours("deep_lift_shap", remark=ROWS),
    "LRP": Ours("lrp", {"composite": "epsilon"}, "rules are said by `composite`, not set on modules"),
    "FeatureAblation": Ours("feature_ablation", remark=MASK),
    "FeaturePermutation": Ours(
        "feature_permutation", remark="the mean over the other examples, where Captum draws one permutation"
    ),
    "Occlusion": Ours("occlusion", remark="`sliding_window_shapes` is `window`, `strides` is `stride`"),
    "ShapleyValues": Ours("shapley", remark=MASK),
    "ShapleyValueSampling": Ours("shapley_sampling", remark=MASK),
    "Lime": Ours("lime", remark=MASK),
    "KernelShap": Ours("kernel_shap", remark=MASK),
}
LAYER = {
    "LayerActivation": Ours("activation"),
    "LayerGradientXActivation": Ours("input_x_gradient"),
    "LayerIntegratedGradients": Ours("integrated_gradients", remark=f"{STARTS}; {STEPS}"),
    "LayerGradientShap": Ours(
        "gradient_shap", remark=f"{STARTS}; the ways lie in the layer, so that the difference is shared out in full"
    ),
    "LayerConductance": Ours("conductance", remark="gradients at both ends of each part, where Captum takes one"),
    "InternalInfluence": Ours("internal_influence", remark=STEPS),
    "LayerGradCam": Ours("grad_cam", {"relu": "false"}, "laid over the input, as by `LayerAttribution.interpolate`"),
    "LayerDeepLift": Ours("deep_lift", remark=STARTS),
    "LayerDeepLiftShap": Ours("deep_lift_shap", remark=f"{ROWS}; {STARTS}"),
    "LayerLRP": Ours("lrp", {"composite": "epsilon"}),
    "LayerFeatureAblation": Ours("feature_ablation", remark=f"{STARTS}; `layer_mask` is `features`"),
    "LayerFeaturePermutation": Ours("feature_permutation", remark="the mean over the other examples"),
}
NEURON = {
    "NeuronGradient": Ours("saliency", ABS),
    "NeuronIntegratedGradients": Ours("integrated_gradients", remark=STEPS),
    "NeuronConductance": Ours("neuron_conductance", remark=STEPS),
    "NeuronGradientShap": Ours("gradient_shap", remark=ROWS),
    "NeuronGuidedBackprop": Ours("guided_backprop"),
    "NeuronDeconvolution": Ours("deconvolution"),
    "NeuronDeepLift": Ours("deep_lift"),
    "NeuronDeepLiftShap": Ours("deep_lift_shap", remark=ROWS),
    "NeuronFeatureAblation": Ours("feature_ablation", remark=f"{MASK}"),
}
KINDS = {"input": INPUT, "layer": LAYER, "neuron": NEURON}
EVERY = INPUT | LAYER | NEURON


def command(captum: str, target: str = "TARGET", layer: str = "LAYER", index: str = "INDEX") -> str:
    """Return the words behind ``onnxsal explain MODEL INPUT`` that stand for a method of Captum's."""
    ours = EVERY[captum]
    words = ["-m", ours.method]
    words += [word for name, value in ours.options.items() for word in ("-s", f"{name}={value}")]
    words += ["--layer", layer] if captum in LAYER else []
    words += ["--neuron", f"{layer}[{index}]"] if captum in NEURON else []
    of_target = captum not in NEURON or captum == "NeuronConductance"
    return " ".join([*words, "-t", target] if of_target else words)
