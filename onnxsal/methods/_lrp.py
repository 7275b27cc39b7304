"""Layer-wise relevance propagation: what each node does with the relevance that comes back to it.

Relevance is a share of the score, handed on such that nothing is lost but what biases and stabilisers keep. Weighted
sums (Conv, ConvTranspose, Gemm, MatMul with constants) share it by the rule that a composite gives them:

- epsilon: by what each input added; ``gamma``: the same, positive summands counted more
- alpha_beta: positive and negative summands by themselves, ``alpha`` and ``beta`` times; z_plus: the positive alone
- flat: evenly; w_square: by the squares of the weights; z_box: by what lies within the bounds of the input

A batch normalisation or an added constant right behind a weighted sum is folded into it. All other nodes have one rule:
activations and normalisations pass relevance on, sums and means share it by what was added, maxima give it to the
largest, products of two values that both move share it evenly, a gate leaves all to what it gates (Arras et al. 2017,
Explaining Recurrent Neural Network Predictions in Sentiment Analysis, arXiv 1706.07206), and a Softmax takes its
first-order term (Achtibat et al. 2024, AttnLRP). Recurrent layers and fused attention are taken apart in such steps;
quantised operators are those on real numbers that they stand for (`_quantised`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from onnxsal.methods._quantised import Handed
from onnxsal.methods._rules import OF_STEPS, Missing, Rule, Way, summed_to
from onnxsal.types import Call, Feeds, Score

if TYPE_CHECKING:
    from torch import Tensor

FAMILY = "lrp"
Kind = Literal["epsilon", "gamma", "alpha_beta", "z_plus", "flat", "w_square", "z_box"]
CONVOLUTIONS = ("Conv", "ConvTranspose")
DENSE = ("Gemm", "MatMul")
QUANTISED_CONVOLUTIONS = ("ConvInteger", "QLinearConv", "com.microsoft.QLinearConv")
QUANTISED_DENSE = (
    *("MatMulInteger", "QLinearMatMul", "com.microsoft.DynamicQuantizeMatMul"),
    *("com.microsoft.MatMulIntegerToFloat", "com.microsoft.QGemm"),
)


@dataclass(frozen=True)
class Settings:
    """Which rule the weighted sums have, and the rules' numbers."""

    first: Kind
    convolution: Kind
    dense: Kind
    epsilon: float = 1e-6
    gamma: float = 0.25
    alpha: float = 2.0
    beta: float = 1.0
    low: float | None = None
    high: float | None = None


def relevance(score: Score, feeds: Feeds, settings: Settings, missing: Missing, method: str) -> Feeds:
    """Return the relevance of the inputs: what the rules hand back of the score."""
    way = Way(score, FAMILY)
    way.check(method, missing)
    return score.gradients(feeds, rules=_chooser(way, settings), relevance=True)


def meets_convolutions(score: Score) -> bool:
    """Say whether a convolution is the first weighted sum that the explained inputs meet."""
    sums = _weighted_sums(Way(score, FAMILY))
    return any(first and node.operator in (*CONVOLUTIONS, *QUANTISED_CONVOLUTIONS) for node, first in sums)


def _chooser(way: Way, settings: Settings) -> Callable[[Any], Rule | None]:
    """Return the rule for each node: weighted sums by their place, others by their operator and what stands around."""
    special: dict[str, Rule] = {}
    for node, first in _weighted_sums(way):
        convolves = node.operator in (*CONVOLUTIONS, *QUANTISED_CONVOLUTIONS)
        kind = settings.first if first else settings.convolution if convolves else settings.dense
        rule, own = way.rules[node.operator], partial(weighted_sum, kind=kind, settings=settings)
        if rule in {bilinear, Handed(bilinear)}:  # and no plugin's
            special[node.name] = own if rule is bilinear else Handed(own)
    for node in way.nodes:
        moving = [node.inputs[i] for i in way.varies(node)]
        rule = way.rules.get(node.operator)
        if rule in {added, batch_norm} and not _is_behind_a_sum(way, node):
            special[node.name] = partial(shared, epsilon=settings.epsilon)
        if rule is multiplied and len(moving) == 2 and (gate := _gate(way, node)) is not None:
            special[node.name] = partial(gated, gate=gate)
        if node.op_type == "Sub" and len(moving) == 2 and _is_statistic_of(way, *moving):
            special[node.name] = partial(gated, gate=1)

    def choose(node: Any) -> Rule | None:
        rule = special.get(node.name) or way.rules.get(node.operator)
        if isinstance(rule, Handed) and rule.rule in STABILISED:
            return Handed(partial(rule.rule, epsilon=settings.epsilon))
        return partial(rule, epsilon=settings.epsilon) if rule in STABILISED else rule

    return choose


def _weighted_sums(way: Way) -> Iterator[tuple[Any, bool]]:
    """Yield the weighted sums, and whether they are the first that the inputs meet."""
    summed: set[str] = set()
    for node in way.nodes:
        behind = any(name in summed for name in node.inputs)
        sums = node.operator in (*CONVOLUTIONS, *DENSE, *QUANTISED_CONVOLUTIONS, *QUANTISED_DENSE)
        if sums:
            yield node, not behind
        if sums or behind or node.operator in OF_STEPS:
            summed.update(node.outputs)


def _is_behind_a_sum(way: Way, node: Any) -> bool:
    """Say whether a node reads one moving value, which a weighted sum (and a constant) made for it alone."""
    moving = way.varies(node)
    if len(moving) != 1 or (moving == [1] and node.op_type == "Sub"):
        return False
    before = way.makers.get(node.inputs[moving[0]])
    if before is None or before.domain or not way.alone(before) or len(way.varies(before)) != 1:
        return False
    if before.op_type in {"Add", "Sub"}:
        return node.op_type == "BatchNormalization" and _is_behind_a_sum(way, before)
    return before.op_type in (*CONVOLUTIONS, *DENSE)


def _gate(way: Way, node: Any) -> int | None:
    """Return which factor of a product is a gate or a divisor in disguise, where it is one of the two."""
    gates = [i for i, name in enumerate(node.inputs) if _is_gate(way, name)]
    return gates[0] if len(gates) == 1 else None


def _is_gate(way: Way, name: str) -> bool:
    """Say whether a value comes from a squashing function or a reciprocal, constants and shapes aside."""
    while (maker := way.makers.get(name)) is not None and not maker.domain:
        moving = way.varies(maker)
        if maker.op_type in {"Sigmoid", "HardSigmoid", "Erf", "Reciprocal", "Softmax"}:
            return True
        if maker.op_type == "DynamicQuantizeLinear":
            return bool(name == maker.outputs[1])  # a scale
        if maker.op_type == "Div" and moving == [1]:
            return True
        shifted = maker.op_type == "Add" and len(moving) == 1 and way.makers.get(maker.inputs[moving[0]])
        if shifted and shifted.op_type == "Tanh":  # GELU's approximation: 1 + tanh(…)
            return True
        if maker.op_type not in _AROUND_GATES or len(moving) != 1:
            return False
        name = maker.inputs[moving[0]]
    return False


_AROUND_STATISTICS = {"Cast", "Div", "Expand", "Identity", "Max", "Mul", "Reshape", "Squeeze", "Unsqueeze"}
_AROUND_GATES = {"Add", "Cast", "Div", "Expand", "Identity", "Mul", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}


def _is_statistic_of(way: Way, value: str, other: str) -> bool:
    """Say whether a value is the mean or the maximum of another, constants and shapes aside."""
    maker = way.makers.get(other)
    while maker is not None and not maker.domain:
        if maker.op_type in {"ReduceMean", "ReduceMax", "ReduceSum"}:
            return bool(maker.inputs[0] == value)
        moving = way.varies(maker)
        if maker.op_type not in _AROUND_STATISTICS or not moving:
            return False
        maker = way.makers.get(maker.inputs[moving[0]])
    return False


# --- weighted sums ----------------------------------------------------------------------------------------------------


def weighted_sum(call: Call, relevance: Tensor, *, kind: Kind, settings: Settings) -> Sequence[Tensor | None]:
    """A sum of inputs times constants: the rule of the kind; two factors that move are a product after all."""
    moving = [i for i, fixed in enumerate(call.constant) if not fixed]
    if len(moving) != 1:
        return bilinear(call, relevance, epsilon=settings.epsilon)
    found = _KINDS[kind](_Sum(call, moving[0]), relevance, settings)
    return [found if i == moving[0] else None for i in range(len(call.inputs))]


class _Sum:
    """A weighted sum with what stands right behind it folded in: a scale for each output, and a shift."""

    def __init__(self, call: Call, place: int) -> None:
        self.call, self.place = call, place
        self.x = call.inputs[place]
        self.scale: Tensor | None = call.memo.get("scale")
        self.bias = self._bias() + call.memo.get("shift", 0)
        self.weighted = self.by(lambda w: w)
        self.output = self.run(self.weighted, self.x) + self.bias

    def _bias(self) -> Tensor | int:
        if 2 not in self.call.weights and 2 not in self.call.places:
            return 0
        alone = self.run(self.call, self.x * 0)
        return alone if self.scale is None else alone * _on_channels(self.scale, alone)

    def by(self, change: Callable[[Tensor], Tensor]) -> Call:
        """Return the sum with other weights and without its bias."""
        return self.call.with_constants(lambda place, w: change(self._scaled(w)) if place < 2 else w * 0)

    def _scaled(self, weight: Tensor) -> Tensor:
        if self.scale is None:
            return weight
        axis = output_axis(self.call)
        return weight * self.scale.reshape([-1 if i == axis else 1 for i in range(weight.ndim)])

    def run(self, call: Call, x: Tensor) -> Tensor:
        """Compute a sum for other inputs."""
        import torch

        with torch.no_grad():
            output: Tensor = call.function(*call.inputs[: self.place], x, *call.inputs[self.place + 1 :])
        return output

    def back(self, call: Call, shares: Tensor) -> Tensor:
        """Return what goes back to each input of what comes back to each output."""
        return call.vjp(shares)[self.place]

    def signed(self) -> _Signed:
        """Return the summands by their sign."""
        return _Signed(self)


class _Signed:
    """The summands of a weighted sum by their sign."""

    def __init__(self, total: _Sum) -> None:
        self.total = total
        self.up, self.down = total.by(lambda w: w.clamp_min(0)), total.by(lambda w: w.clamp_max(0))
        self.above, self.below = total.x.clamp_min(0), total.x.clamp_max(0)
        bias = total.output * 0 + total.bias
        self.positive = total.run(self.up, self.above) + total.run(self.down, self.below) + bias.clamp_min(0)
        self.negative = total.run(self.up, self.below) + total.run(self.down, self.above) + bias.clamp_max(0)

    def back(self, shares: Tensor, sign: int) -> Tensor:
        """Hand shares back to the summands of one sign."""
        first, second = (self.up, self.down) if sign > 0 else (self.down, self.up)
        return self.above * self.total.back(first, shares) + self.below * self.total.back(second, shares)


def _epsilon(total: _Sum, relevance: Tensor, settings: Settings) -> Tensor:
    return total.x * total.back(total.weighted, divided(relevance, total.output, settings.epsilon))


def _gamma(total: _Sum, relevance: Tensor, settings: Settings) -> Tensor:
    """Count summands of the sum's own sign more; for inputs and a sum above zero this is the original rule."""
    parts = total.signed()
    for_it = total.output >= 0
    boosted = total.output + settings.gamma * parts.positive.where(for_it, parts.negative)
    shares = divided(relevance, boosted, settings.epsilon)
    more = parts.back(shares.where(for_it, 0), 1) + parts.back(shares.where(~for_it, 0), -1)
    return total.x * total.back(total.weighted, shares) + settings.gamma * more


def _alpha_beta(total: _Sum, relevance: Tensor, settings: Settings) -> Tensor:
    parts = total.signed()
    found = parts.back(settings.alpha * divided(relevance, parts.positive, settings.epsilon), 1)
    if settings.beta:
        found = found - parts.back(settings.beta * divided(relevance, parts.negative, settings.epsilon), -1)
    return found


def _z_plus(total: _Sum, relevance: Tensor, settings: Settings) -> Tensor:
    parts = total.signed()
    return parts.back(divided(relevance, parts.positive, settings.epsilon), 1)


def _flat(total: _Sum, relevance: Tensor, settings: Settings) -> Tensor:
    return _by_weights(total, relevance, settings, lambda w: w * 0 + 1)


def _w_square(total: _Sum, relevance: Tensor, settings: Settings) -> Tensor:
    return _by_weights(total, relevance, settings, lambda w: w.square())


def _by_weights(total: _Sum, relevance: Tensor, settings: Settings, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Share by weights alone, whatever the inputs are."""
    weights = total.by(change)
    shares = divided(relevance, total.run(weights, total.x * 0 + 1), settings.epsilon)
    return total.back(weights, shares)


def _z_box(total: _Sum, relevance: Tensor, settings: Settings) -> Tensor:
    x = total.x
    axes = tuple(range(1, x.ndim))
    low = x.amin(axes, keepdim=True) if settings.low is None else settings.low
    high = x.amax(axes, keepdim=True) if settings.high is None else settings.high
    low, high = x * 0 + low, x * 0 + high
    up, down = total.by(lambda w: w.clamp_min(0)), total.by(lambda w: w.clamp_max(0))
    within = total.run(total.weighted, x) - total.run(up, low) - total.run(down, high)
    shares = divided(relevance, within, settings.epsilon)
    return x * total.back(total.weighted, shares) - low * total.back(up, shares) - high * total.back(down, shares)


_KINDS: dict[Kind, Callable[[_Sum, Tensor, Settings], Tensor]] = {
    "epsilon": _epsilon,
    "gamma": _gamma,
    "alpha_beta": _alpha_beta,
    "z_plus": _z_plus,
    "flat": _flat,
    "w_square": _w_square,
    "z_box": _z_box,
}


# --- what is folded into a weighted sum -------------------------------------------------------------------------------


def batch_norm(call: Call, relevance: Any) -> Sequence[Tensor | None]:
    """Leave scale and shift with the weighted sum before, and the relevance as it is."""
    source = call.sources[0]
    if source is None or output_axis(_origin(source)) is None:
        return shared(call, relevance, epsilon=1e-6)
    source.memo["scale"], source.memo["shift"] = _affine(call)
    return passed(call, relevance)


def added(call: Call, relevance: Tensor) -> Sequence[Tensor | None]:
    """Leave an added constant with the weighted sum before, and the relevance as it is."""
    place = next(i for i, fixed in enumerate(call.constant) if not fixed)
    source = call.sources[place]
    if source is None:
        return shared(call, relevance, epsilon=1e-6)
    scale = call.memo.get("scale")
    shift = _at_zero(call)
    if scale is not None:
        source.memo["scale"] = scale
        shift = shift * _on_channels(scale, shift)
    source.memo["shift"] = shift + call.memo.get("shift", 0)
    return passed(call, relevance)


def _origin(call: Call) -> Call:
    """Return the weighted sum that a call or the constant added to it comes from."""
    while call.node.op_type in {"Add", "Sub"}:
        call = next(s for s in call.sources if s is not None)
    return call


def output_axis(call: Call) -> int | None:
    """Return which axis of a weighted sum's weights counts the outputs; None where they are in groups."""
    node = call.node
    if node.op_type == "ConvTranspose":
        return None if node.attributes.get("group", 1) != 1 else 1
    if node.op_type == "Conv" or call.weights:  # torch's linear layers keep outputs first
        return 0
    return 0 if node.attributes.get("transB") else 1


def _affine(call: Call) -> tuple[Tensor, Tensor]:
    """Return what a batch normalisation multiplies each channel by, and what it adds."""
    import torch

    x = call.inputs[0]
    nought = x.new_zeros(1, x.shape[1], *[1] * (x.ndim - 2))
    slope = call.vjp(_like(call.output, nought + 1), (nought, *call.inputs[1:]))[0]
    with torch.no_grad():
        shift = call.function(nought, *call.inputs[1:])
    return slope.flatten(), shift[0] if isinstance(shift, tuple) else shift


def _like(output: Any, value: Tensor) -> Any:
    return (value, *[None] * (len(output) - 1)) if isinstance(output, tuple) else value


def _at_zero(call: Call) -> Tensor:
    """Return what a call answers where nothing moves it: its constant part."""
    import torch

    inputs = [x if fixed else x * 0 for x, fixed in zip(call.inputs, call.constant, strict=True)]
    with torch.no_grad():
        constant: Tensor = call.function(*inputs)
    return constant


def _on_channels(scale: Tensor, beside: Tensor) -> Tensor:
    return scale.reshape(-1, *[1] * (beside.ndim - 2))


# --- all other nodes --------------------------------------------------------------------------------------------------


def passed(call: Call, relevance: Any) -> Sequence[Tensor | None]:
    """Hand the relevance on to the first input that moves: what is activated, normalised, divided."""
    relevance = relevance[0] if isinstance(relevance, tuple) else relevance
    place = next((i for i, fixed in enumerate(call.constant) if not fixed), 0)
    return _to(call, place, relevance)


def gated(call: Call, relevance: Tensor, *, gate: int) -> Sequence[Tensor | None]:
    """Hand the relevance on to the other input than the gate."""
    return [
        None if place == gate else summed_to(relevance, x.shape)
        for place, x in zip(call.places, call.inputs, strict=True)
    ]


def shared(call: Call, relevance: Any, *, epsilon: float) -> Sequence[Tensor | None]:
    """Share by what each input added to the output, which is linear in them."""
    output = call.output[0] if isinstance(call.output, tuple) else call.output
    relevance = relevance[0] if isinstance(relevance, tuple) else relevance
    shares = _like(call.output, divided(relevance, output, epsilon))
    return [x * g if x.is_floating_point() else None for x, g in zip(call.inputs, call.vjp(shares), strict=True)]


def bilinear(call: Call, relevance: Tensor, *, epsilon: float) -> Sequence[Tensor | None]:
    """Share by what each pair added to the output, half to each of a pair that moves."""
    moving = sum(not fixed for fixed in call.constant)
    return shared(call, relevance / max(moving, 1), epsilon=epsilon)


def moved(call: Call, relevance: Any) -> Sequence[Tensor | None]:
    """Hand the relevance back to where each number came from."""
    return call.vjp(relevance)


def squared(call: Call, relevance: Tensor, *, epsilon: float) -> Sequence[Tensor | None]:
    """Share by what each square added."""
    return shared(call, relevance / 2, epsilon=epsilon)


def let_through(call: Call, relevance: Tensor) -> Sequence[Tensor | None]:
    """Hand the relevance on to what a gate, the first factor, lets through (Arras et al. 2017)."""
    return gated(call, relevance, gate=0)


def multiplied(call: Call, relevance: Tensor) -> Sequence[Tensor | None]:
    """Hand half of the relevance to each of two factors that move, all to one."""
    moving = [i for i, fixed in enumerate(call.constant) if not fixed]
    return [summed_to(relevance / len(moving), x.shape) if i in moving else None for i, x in enumerate(call.inputs)]


def softmax(call: Call, relevance: Tensor) -> Sequence[Tensor | None]:
    """The first-order term at the input: x times Softmax's gradient of the relevance over the probabilities."""
    x = call.inputs[0]
    reached = call.output > 0
    total = relevance.where(reached, 0) / call.output.where(reached, 1)
    gradient = call.vjp(total)[0]
    return _to(call, 0, x.where(reached, 0) * gradient)


def divided(relevance: Tensor, output: Tensor, epsilon: float) -> Tensor:
    """Return relevance for each unit of output, which is kept away from zero."""
    away = (output + epsilon).where(output >= 0, output - epsilon)
    return relevance.where(away != 0, 0) / away.where(away != 0, 1)


def _to(call: Call, place: int, relevance: Tensor) -> Sequence[Tensor | None]:
    return [summed_to(relevance, x.shape) if i == place else None for i, x in enumerate(call.inputs)]


STABILISED = {shared, bilinear, squared}
"""Rules that are handed the epsilon of the method."""

OPERATORS: Sequence[tuple[Rule | None, str]] = (
    (None, " ".join(OF_STEPS)),  # whose sums have the epsilon rule
    (
        None,  # moves numbers, or picks them: relevance goes where they came from
        """And ArgMax ArgMin Cast CastLike CenterCropPad Compress Concat ConcatFromSequence ConstantOfShape Crop
        DepthToSpace Dropout Equal Expand EyeLike Flatten Gather GatherElements GatherND GlobalMaxPool Greater
        GreaterOrEqual Identity IsInf IsNaN Less LessOrEqual Max MaxPool MaxRoiPool MaxUnpool Min NonMaxSuppression
        NonZero Not OneHot Optional OptionalGetElement OptionalHasElement Or Pad Range ReduceMax ReduceMin Reshape
        ReverseSequence ScatterElements ScatterND SequenceAt SequenceConstruct SequenceEmpty SequenceErase
        SequenceInsert SequenceLength Shape Size Slice SpaceToDepth Split SplitToSequence Squeeze Tile TopK Transpose
        Trilu Unsqueeze Where Xor ai.onnx.ml.ArrayFeatureExtractor ai.onnx.ml.FeatureVectorizer ai.onnx.ml.ZipMap
        com.microsoft.ExpandDims com.microsoft.GatherND com.microsoft.Pad com.microsoft.Trilu""",
    ),
    (
        passed,
        """Abs Acos Acosh Asin Asinh Atan Atanh Ceil Celu Clip Cos Cosh Div Elu Erf Exp Floor Gelu GroupNormalization
        DequantizeLinear DynamicQuantizeLinear HardSigmoid HardSwish InstanceNormalization LRN LayerNormalization
        LeakyRelu Log LogSoftmax LpNormalization Mish Neg PRelu ParametricSoftplus Pow QuantizeLinear RMSNormalization
        Reciprocal Relu Round ScaledTanh Selu Shrink Sigmoid Sign SimplifiedLayerNormalization Sin Sinh Softplus
        Softsign Sqrt Swish Tan Tanh ThresholdedRelu ai.onnx.ml.Normalizer com.microsoft.BiasGelu
        com.microsoft.DequantizeLinear com.microsoft.FastGelu com.microsoft.Gelu com.microsoft.QLinearLeakyRelu
        com.microsoft.QLinearSigmoid com.microsoft.QuantizeLinear com.microsoft.QuickGelu com.microsoft.ScaledSiLU""",
    ),
    (
        shared,
        """AveragePool Col2Im CumSum DFT GlobalAveragePool GlobalLpPool GridSample LpPool Mean ReduceL1 ReduceL2
        ReduceMean ReduceSum Resize RoiAlign RotaryEmbedding STFT Sum Upsample ai.onnx.ml.LinearRegressor
        ai.onnx.ml.Scaler com.microsoft.GridSample com.microsoft.RotaryEmbedding""",
    ),
    (added, "Add Sub"),
    (batch_norm, "BatchNormalization"),
    (
        bilinear,
        """Conv ConvTranspose Einsum Gemm MatMul com.microsoft.FusedMatMul com.microsoft.MatMulBnb4
        com.microsoft.MatMulNBits com.microsoft.NhwcConv com.microsoft.TransposeMatMul""",
    ),
    (Handed(bilinear), " ".join((*QUANTISED_CONVOLUTIONS, *QUANTISED_DENSE))),
    (
        Handed(shared),
        "com.microsoft.QLinearAdd com.microsoft.QLinearAveragePool com.microsoft.QLinearGlobalAveragePool",
    ),
    (Handed(moved), "com.microsoft.QLinearConcat com.microsoft.QLinearWhere"),
    (squared, "ReduceSumSquare"),
    (multiplied, "Mul"),
    (Handed(multiplied), "com.microsoft.QLinearMul"),
    (let_through, "onnxsal.Gated"),
    (softmax, "Softmax"),
    (Handed(softmax), "com.microsoft.QLinearSoftmax"),
)
"""Which rule which operators have."""
