"""DeepLIFT's rules: what a node's output moved by since the reference, shared out over what its inputs moved by.

Every rule is exact: the multipliers times the inputs' differences sum to what comes back times the output's difference.

- one number in, one out (activations, roots, powers): *rescale*, the ratio of the two differences
- products of two values that both move (Mul, MatMul, attention): the gradient half way, the mean of both orders
- quotients (products with a reciprocal, too) and normalisations: the divisor as it is at the input, what is left of its
  change at the reference
- Softmax: its gradient, with logarithmic means in place of the probabilities (exact: p - q is their logarithmic mean
  times the difference of their logarithms)
- maxima: a gain goes to the input's maximum, a loss to the reference's
- operators of several steps (LSTM, fused attention): each step by its rule
- what is smooth and has no closed form: the gradient along the straight way, by quadrature
- quantised operators: the rule of the operator on real numbers that they stand for, and of the rounding (`_quantised`)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from onnxsal.errors import UsageError
from onnxsal.methods._quantised import Lifted, dynamic
from onnxsal.methods._rules import OF_STEPS, Missing, Rule, Way, difference, first, summed_to
from onnxsal.types import Call, Feeds, Score

if TYPE_CHECKING:
    from torch import Tensor

FAMILY = "deep_lift"
ActivationRule = Literal["rescale", "reveal_cancel"]
STEPS = 32
"""Points of the quadrature for operators without a closed form."""


def attributions(
    score: Score, feeds: Feeds, baseline: Feeds, rule: ActivationRule, steps: int, missing: Missing, method: str
) -> Feeds:
    """Return the multipliers of the inputs times their differences from the baseline, as many rows of each."""
    if steps < 1:
        raise UsageError(f"steps={steps} is too few", where=method, hint=f"{STEPS} is usual")
    way = Way(score, FAMILY)
    way.check(method, missing)
    choose = _by_whole_difference(way, steps) if rule == "rescale" else _by_parts(way, steps)
    multipliers = score.gradients(feeds, rules=choose, reference=baseline)
    return {name: multipliers[name] * (value - baseline[name]) for name, value in feeds.items()}


def _by_whole_difference(way: Way, steps: int) -> Callable[[Any], Rule | None]:
    def choose(node: Any) -> Rule | None:
        rule = way.rules.get(node.operator)
        if rule is product and len(way.varies(node)) == 1:
            return None  # linear
        if rule == Lifted(None) and node.op_type == "DequantizeLinear" and len(way.varies(node)) == 1:
            return None  # linear, and nothing is rounded
        if rule is product and node.op_type == "Mul" and (divisor := _divisor(way, node)) is not None:
            return partial(divided, divisor=divisor)
        if rule is path:
            return partial(path, steps=steps)
        return None if rule is quotient and way.varies(node) == [0] else rule

    return choose


def _divisor(way: Way, node: Any) -> int | None:
    """Return which factor of a product is one over something that moves, where it is one of the two."""
    found = [i for i, name in enumerate(node.inputs) if _is_reciprocal(way, name)]
    return found[0] if len(found) == 1 else None


def _is_reciprocal(way: Way, name: str) -> bool:
    maker = way.makers.get(name)
    while maker is not None and not maker.domain and len(moving := way.varies(maker)) == 1:
        if maker.op_type == "Reciprocal" or (maker.op_type == "Div" and moving == [1]):
            return True
        if maker.op_type not in {"Cast", "Expand", "Identity", "Mul", "Reshape", "Squeeze", "Unsqueeze"}:
            return False
        maker = way.makers.get(maker.inputs[moving[0]])
    return False


def _by_parts(way: Way, steps: int) -> Callable[[Any], Rule | None]:
    """Reveal-cancel for activations right behind a weighted sum, or behind that and its bias; rescale elsewhere."""
    chains = [chain for node in way.nodes if way.rules.get(node.operator) is rescale for chain in [_chain(way, node)]]
    parts: dict[str, Rule] = {}
    for activation, *shifts, total in filter(None, chains):
        parts |= {activation.name: revealed, total.name: split_sum} | {shift.name: split_shift for shift in shifts}
    whole = _by_whole_difference(way, steps)
    return lambda node: parts.get(node.name) or whole(node)


def _chain(way: Way, activation: Any) -> list[Any]:
    """Return an activation, constants added before it, and the weighted sum before those, read by nobody else."""
    chain = [activation]
    while len(moving := way.varies(chain[-1])) == 1:
        before = way.makers.get(chain[-1].inputs[moving[0]])
        if before is None or before.domain or not way.alone(before) or len(way.varies(before)) != 1:
            break
        chain.append(before)
        if before.op_type in WEIGHTED_SUMS:
            return chain
        if before.op_type not in {"Add", "Sub"}:
            break
    return []


WEIGHTED_SUMS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def rescale(call: Call, gradient: Tensor) -> Sequence[Tensor | None]:
    """One number in, one out: the ratio of the differences, the slope half way where nothing moved."""
    import torch

    place = _moving(call)
    if call.reference is None or place is None:
        return path(call, gradient)
    x, x0 = call.inputs[place], call.reference.inputs[place]
    step, gain = difference(x, x0), call.output - call.reference.output
    still = step.abs() <= _noise(x) * torch.maximum(x.abs(), x0.abs())
    moved = gradient * gain / step.where(~still, 1)
    multiplier = summed_to(moved.where(~still, 0), x.shape)
    slope = call.vjp(gradient, midpoint(call))[place]
    return _at(call, place, multiplier + slope.where(still, 0))


def product(call: Call, gradient: Any) -> Sequence[Tensor]:
    """What is linear in each input: the gradient half way, which is the mean of moving the one or the other first."""
    return call.vjp(gradient, midpoint(call))


def divided(call: Call, gradient: Tensor, *, divisor: int) -> Sequence[Tensor]:
    """A product with a reciprocal is a quotient: what is divided moves over the input's divisor.

    Where the reference is zero, as before many a normalisation, the reciprocal is huge there and means nothing.
    """
    if call.reference is None:
        return call.vjp(gradient)
    now, then = call.inputs, call.reference.inputs
    return [summed_to(gradient * (then if i == divisor else now)[1 - i], x.shape) for i, x in enumerate(now)]


def squares(call: Call, gradient: Tensor) -> Sequence[Tensor]:
    """A sum of squares is a product of its input with itself."""
    return product(call, gradient)


def path(call: Call, gradient: Any, *, steps: int = STEPS) -> Sequence[Tensor]:
    """The mean of the gradient on the straight way, by Gauss-Legendre quadrature; for what is smooth."""
    import numpy as np

    if call.reference is None:
        return call.vjp(gradient)
    points, weights = np.polynomial.legendre.leggauss(steps)
    total: list[Tensor] | None = None
    for point, weight in zip(points, weights, strict=True):
        found = call.vjp(gradient, _between(call, (point + 1) / 2))
        parts = [g * (weight / 2) if g.is_floating_point() else g for g in found]
        total = parts if total is None else [t + p for t, p in zip(total, parts, strict=True)]
    return total or []


def quotient(call: Call, gradient: Tensor) -> Sequence[Tensor]:
    """a / b: the numerator moves over the input's b; what b moves is weighed by the quotient at the reference."""
    if call.reference is None:
        return call.vjp(gradient)
    a, b = call.inputs
    return summed_to(gradient / b, a.shape), summed_to(-gradient * call.reference.output / b, b.shape)


def softmax(call: Call, gradient: Tensor) -> Sequence[Tensor | None]:
    """Softmax's own gradient, with logarithmic means of the probabilities then and now."""
    if call.reference is None:
        return call.vjp(gradient)
    means, rows = _means_and_rows(call, gradient)
    shares = means * rows
    return _at(call, 0, _unfolded(shares - means * shares.sum(-1, True) / means.sum(-1, True), call))


def log_softmax(call: Call, gradient: Tensor) -> Sequence[Tensor | None]:
    """The gradient of LogSoftmax, with logarithmic means of the probabilities then and now."""
    if call.reference is None:
        return call.vjp(gradient)
    means, rows = _means_and_rows(call, gradient)
    return _at(call, 0, _unfolded(rows - means * rows.sum(-1, True) / means.sum(-1, True), call))


def layer_norm(call: Call, gradient: Any) -> Sequence[Tensor | None]:
    """LayerNormalization over the last axes."""
    return _normalisation(call, gradient, lambda x: x.flatten(_axis(call, -1)), centred=True)


def rms_norm(call: Call, gradient: Any) -> Sequence[Tensor | None]:
    """RMSNormalization over the last axes."""
    return _normalisation(call, gradient, lambda x: x.flatten(_axis(call, -1)), centred=False)


def instance_norm(call: Call, gradient: Tensor) -> Sequence[Tensor | None]:
    """InstanceNormalization: each feature map by itself."""
    return _normalisation(call, gradient, lambda x: x.flatten(2), centred=True)


def group_norm(call: Call, gradient: Tensor) -> Sequence[Tensor | None]:
    """GroupNormalization: groups of channels together."""
    groups = call.node.attributes["num_groups"]
    return _normalisation(call, gradient, lambda x: x.reshape(x.shape[0], groups, -1), centred=True)


def _normalisation(
    call: Call, gradient: Any, folded: Callable[[Tensor], Tensor], *, centred: bool
) -> Sequence[Tensor | None]:
    """What divides rows by their deviation, as the quotient it is; the scale is known to be constant."""
    if call.reference is None or any(call.node.outputs[1:]) or _moving(call) != 0:
        return path(call, gradient)
    gradient = first(gradient)
    x = call.inputs[0]
    # what comes back to the normalised rows, before the scale: the function is linear in the scale and the shift
    back = _unscaled(call, gradient)
    rows, rows0, back = folded(x), folded(call.reference.inputs[0]), folded(back)
    if centred:
        rows, rows0 = rows - rows.mean(-1, True), rows0 - rows0.mean(-1, True)
    epsilon = call.node.attributes.get("epsilon", 1e-5)
    deviation = (rows.square().mean(-1, True) + epsilon).sqrt()
    deviation0 = (rows0.square().mean(-1, True) + epsilon).sqrt()
    weight = (back * rows0).sum(-1, True) / (deviation0 * deviation * (deviation + deviation0))
    multiplier = back / deviation - weight * (rows + rows0) / rows.shape[-1]
    if centred:
        multiplier = multiplier - multiplier.mean(-1, True)
    return _at(call, 0, multiplier.reshape(x.shape))


def _unscaled(call: Call, gradient: Tensor) -> Tensor:
    """Return what comes back to the normalised values, behind the scale."""
    scale = call.weights.get(1, call.inputs[1] if len(call.inputs) > 1 else None)
    if scale is None:
        return gradient
    if call.node.op_type in {"LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"}:
        return gradient * scale
    channels = gradient.shape[1]
    return gradient * scale.repeat_interleave(channels // len(scale)).reshape(-1, *[1] * (gradient.ndim - 2))


def unit_norm(call: Call, gradient: Tensor) -> Sequence[Tensor | None]:
    """Division by the 1-norm or the 2-norm along an axis, as the quotient it is."""
    import torch

    if call.reference is None:
        return call.vjp(gradient)
    attributes = call.node.attributes
    order = {"L1": 1, "L2": 2}.get(attributes.get("norm", ""), attributes.get("p", 2))
    if attributes.get("norm") == "MAX":
        return path(call, gradient)
    x, x0 = call.inputs[0], call.reference.inputs[0]
    axis = attributes.get("axis", -1)
    norm, norm0 = (torch.linalg.vector_norm(v, order, axis, keepdim=True) for v in (x, x0))
    if order == 1:
        slopes = _ratio(x.abs() - x0.abs(), difference(x, x0), x.sign())
    else:
        slopes = (x + x0) / (norm + norm0).where(norm + norm0 > 0, 1)
    divisor = norm.where(norm > 0, 1)
    loss = (gradient * call.reference.output).sum(axis, True) / divisor
    return _at(call, 0, gradient / divisor - loss * slopes)


def absolute_sum(call: Call, gradient: Tensor) -> Sequence[Tensor | None]:
    """ReduceL1: the absolute value of each number, rescaled, then summed."""
    if call.reference is None:
        return call.vjp(gradient)
    x, x0 = call.inputs[0], call.reference.inputs[0]
    spread = call.vjp(gradient, (x.new_ones(()).expand_as(x), *call.inputs[1:]))[0]
    return _at(call, 0, spread * _ratio(x.abs() - x0.abs(), difference(x, x0), x.sign()))


def euclid(call: Call, gradient: Tensor) -> Sequence[Tensor | None]:
    """ReduceL2: the difference of two norms is that of their squares over their sum."""
    if call.reference is None:
        return call.vjp(gradient)
    norm, norm0 = call.output, call.reference.output
    share = gradient / (norm + norm0).where(norm + norm0 > 0, 1)
    x, x0 = call.inputs[0], call.reference.inputs[0]
    now, then = call.vjp(share * norm)[0], call.vjp(share * norm0, call.reference.inputs)[0]
    return _at(call, 0, now.where(x != 0, 0) + then.where(x0 != 0, 0))


def largest(call: Call, gradient: Any) -> Sequence[Tensor | None]:
    """A maximum: what it gained goes to where it is now, what it lost to where it was."""
    return _extremum(call, gradient, 1)


def smallest(call: Call, gradient: Any) -> Sequence[Tensor | None]:
    """A minimum: what it lost goes to where it is now, what it gained to where it was."""
    return _extremum(call, gradient, -1)


def _extremum(call: Call, gradient: Any, sign: int) -> Sequence[Tensor | None]:
    slope = first(gradient)
    if call.reference is None:
        return call.vjp(gradient)
    gain = sign * (first(call.output) - first(call.reference.output))
    now = call.vjp(sign * slope * gain.clamp_min(0))
    then = call.vjp(sign * slope * gain.clamp_max(0), call.reference.inputs)
    pairs = zip(now, then, call.vjp(slope), call.inputs, call.reference.inputs, strict=True)
    return [_ratio(n + t, difference(x, x0), here) if x.is_floating_point() else None for n, t, here, x, x0 in pairs]


def scattered(call: Call, gradient: Tensor) -> Sequence[Tensor | None]:
    """Scatter: moves numbers, unless it reduces those that meet."""
    reduction = call.node.attributes.get("reduction", "none")
    return {"max": largest, "min": smallest, "mul": path}.get(reduction, plain)(call, gradient)


def plain(call: Call, gradient: Any) -> Sequence[Tensor]:
    """What is linear in all that moves together: the gradient."""
    return call.vjp(gradient)


def choice(call: Call, gradient: Tensor) -> Sequence[Tensor | None]:
    """Where: what one side moved; where the choice itself changed, both sides share what came of it."""
    if call.reference is None or len(call.inputs) != 3:
        return call.vjp(gradient)
    chosen, chosen0 = call.inputs[0], call.reference.inputs[0]
    kept = (chosen == chosen0).expand_as(gradient)
    sides = list(zip(call.inputs[1:], call.reference.inputs[1:], strict=True))
    moved = [difference(x, x0).expand_as(gradient) for x, x0 in sides]
    count = (moved[0] != 0).to(gradient.dtype) + (moved[1] != 0).to(gradient.dtype)
    gain = (call.output - call.reference.output) / count.clamp_min(1)
    plain = call.vjp(gradient.where(kept, 0))[1:]
    return (
        None,
        *(
            p + summed_to(_ratio((gradient * gain).where(~kept, 0), m, 0), x.shape)
            for p, m, (x, _) in zip(plain, moved, sides, strict=True)
        ),
    )


# --- reveal-cancel ----------------------------------------------------------------------------------------------------


def revealed(call: Call, gradient: Tensor) -> Sequence[Tensor | None]:
    """An activation behind a weighted sum: what spoke for the sum and what against, each by itself.

    The multipliers of the two parts are left with the sum, whose inputs they are for.
    """
    import torch

    place = _moving(call)
    source = None if place is None else call.sources[place]
    if place is None or source is None or call.reference is None:
        return rescale(call, gradient)
    total = source
    while total.node.op_type not in WEIGHTED_SUMS:
        total = next(s for s in total.sources if s is not None)
    gained, lost = _parts_of(total)
    x0 = call.reference.inputs[place]

    def at(x: Tensor) -> Tensor:
        with torch.no_grad():
            return call.function(*call.inputs[:place], x, *call.inputs[place + 1 :])

    ends = call.reference.output, at(x0 + gained), at(x0 + lost), at(x0 + gained + lost)
    rise = (ends[1] - ends[0] + ends[3] - ends[2]) / 2
    fall = (ends[2] - ends[0] + ends[3] - ends[1]) / 2
    slope = call.vjp(gradient, midpoint(call))[place]
    source.memo["parts"] = _ratio(gradient * rise, gained, slope), _ratio(gradient * fall, lost, slope)
    return _at(call, place, slope)


def split_shift(call: Call, gradient: Tensor) -> Sequence[Tensor | None]:
    """A constant added between the sum and the activation: both parts go on to the sum."""
    (place,) = [i for i, source in enumerate(call.sources) if source is not None]
    sign = -1 if call.node.op_type == "Sub" and place == 1 else 1
    rise, fall = call.memo["parts"]
    call.sources[place].memo["parts"] = (rise, fall) if sign > 0 else (-fall, -rise)
    return call.vjp(gradient)


def split_sum(call: Call, gradient: Tensor) -> Sequence[Tensor | None]:
    """A weighted sum: each summand gets the multiplier of the part that it belongs to."""
    if "parts" not in call.memo or call.reference is None:
        return call.vjp(gradient)
    rise, fall = call.memo["parts"]
    (place,) = [i for i, fixed in enumerate(call.constant) if not fixed]
    up, down = _signed(call, 1), _signed(call, -1)
    more = up.vjp(rise)[place] + down.vjp(fall)[place]
    less = down.vjp(rise)[place] + up.vjp(fall)[place]
    step = call.inputs[place] - call.reference.inputs[place]
    return _at(call, place, more.where(step > 0, less.where(step < 0, (more + less) / 2)))


def _parts_of(total: Call) -> tuple[Tensor, Tensor]:
    """Return what the summands that rose and those that fell add to a weighted sum's difference."""
    import torch

    (place,) = [i for i, fixed in enumerate(total.constant) if not fixed]
    step = total.inputs[place] - total.reference.inputs[place]

    def of(call: Call, x: Tensor) -> Tensor:
        with torch.no_grad():
            return call.function(*call.inputs[:place], x, *call.inputs[place + 1 :])

    up, down = _signed(total, 1), _signed(total, -1)
    risen, fallen = step.clamp_min(0), step.clamp_max(0)
    return of(up, risen) + of(down, fallen), of(up, fallen) + of(down, risen)


def _signed(call: Call, sign: int) -> Call:
    """Return a weighted sum with the weights of one sign and without its bias."""
    return call.with_constants(lambda place, w: (w * sign).clamp_min(0) * sign if place < 2 else w * 0)


# --- what the rules share ---------------------------------------------------------------------------------------------


def midpoint(call: Call) -> Sequence[Tensor]:
    """Return the inputs half way from the reference."""
    return call.inputs if call.reference is None else _between(call, 0.5)


def _between(call: Call, part: float) -> Sequence[Tensor]:
    pairs = zip(call.inputs, call.reference.inputs, strict=True)
    return [x0 + part * difference(x, x0) if x.is_floating_point() else x for x, x0 in pairs]


def _ratio(gain: Tensor, step: Tensor, otherwise: Tensor | float) -> Tensor:
    import torch

    still = step == 0
    return torch.where(still, otherwise, gain / step.where(~still, 1))


def _noise(x: Tensor) -> float:
    """Return the part of a number below which a difference says more of rounding than of the function."""
    import torch

    return math.sqrt(torch.finfo(x.dtype).eps)


def _moving(call: Call) -> int | None:
    """Return which of the inputs moves, where it is one."""
    found = [
        i for i, (x, c) in enumerate(zip(call.inputs, call.constant, strict=True)) if x.is_floating_point() and not c
    ]
    return found[0] if len(found) == 1 else None


def _at(call: Call, place: int, multiplier: Tensor) -> Sequence[Tensor | None]:
    return [multiplier if i == place else None for i in range(len(call.inputs))]


def _axis(call: Call, default: int) -> int:
    return int(call.node.attributes.get("axis", default)) % call.inputs[0].ndim


def _folded(x: Tensor, call: Call) -> Tensor:
    """Return the value with the axis that Softmax runs over last; below opset 13 all axes behind it count as one."""
    if call.node.opset < 13:
        return x.flatten(_axis(call, 1))
    return x.movedim(_axis(call, -1), -1)


def _unfolded(rows: Tensor, call: Call) -> Tensor:
    if call.node.opset < 13:
        return rows.reshape(call.inputs[0].shape)
    return rows.movedim(-1, _axis(call, -1))


def _sinc(x: Tensor) -> Tensor:
    """Return sinh(x) / x to the last bit for x within a half of zero, where the quotient itself would lose digits."""
    series = 1 + x * 0
    for term in range(14, 1, -2):
        series = 1 + x.square() / (term * (term + 1)) * series
    return series


def _means_and_rows(call: Call, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logarithmic means of the probabilities at the reference and the input, and what comes back."""
    log, log0 = (_folded(c.inputs[0], call).log_softmax(-1) for c in (call, call.reference))
    p, q = log.exp(), log0.exp()
    gap = difference(log, log0)
    close = gap.abs() < 1
    near = (log + log0).where(close, 0).div(2).exp() * _sinc((gap / 2).where(close, 0))
    means = near.where(close, (p - q) / gap.where(~close, 1))
    return means.where(p != q, p), _folded(gradient, call)


OPERATORS: Sequence[tuple[Rule | None, str]] = (
    (
        None,  # linear in what moves, or without a slope
        """Add Affine AffineGrid And ArgMax ArgMin AveragePool BatchNormalization BitCast BitShift BitwiseAnd BitwiseNot
        BitwiseOr BitwiseXor Cast CastLike CenterCropPad Col2Im Compress Concat ConcatFromSequence ConstantOfShape Crop
        CumSum DFT DepthToSpace Dropout Equal Expand EyeLike Flatten Gather GatherElements GatherND
        GlobalAveragePool Greater GreaterOrEqual GridSample Identity ImageScaler IsInf IsNaN Less LessOrEqual MaxUnpool
        Mean Neg NonMaxSuppression NonZero Not OneHot Optional OptionalGetElement OptionalHasElement Or Pad Range
        ReduceMean ReduceSum Reshape Resize ReverseSequence RoiAlign STFT Scatter SequenceAt
        SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength Shape Size Slice SpaceToDepth Split
        SplitToSequence Squeeze Sub Sum TensorScatter Tile Transpose Trilu Unsqueeze Upsample Xor
        ai.onnx.ml.ArrayFeatureExtractor ai.onnx.ml.FeatureVectorizer ai.onnx.ml.LinearRegressor ai.onnx.ml.Scaler
        ai.onnx.ml.ZipMap com.microsoft.BiasAdd com.microsoft.BiasDropout com.microsoft.ExpandDims
        com.microsoft.GatherND com.microsoft.GridSample com.microsoft.MatMulBnb4 com.microsoft.MatMulNBits
        com.microsoft.Pad com.microsoft.Trilu com.microsoft.UnfoldTensor""",
    ),
    (None, " ".join(OF_STEPS)),
    (
        rescale,
        """Abs Acos Acosh Asin Asinh Atan Atanh Ceil Celu Clip Cos Cosh Elu Erf Exp Floor Gelu HardSigmoid HardSwish
        LeakyRelu Log Mish Mod PRelu ParametricSoftplus Pow Reciprocal Relu Round ScaledTanh Selu Shrink Sigmoid Sign
        Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu com.microsoft.BiasGelu com.microsoft.FastGelu
        com.microsoft.Gelu com.microsoft.QuickGelu com.microsoft.ScaledSiLU""",
    ),
    (
        product,
        """Conv ConvTranspose DeformConv Einsum Gemm MatMul Mul RotaryEmbedding
        com.microsoft.FusedMatMul com.microsoft.NhwcConv com.microsoft.RotaryEmbedding com.microsoft.TransposeMatMul
        onnxsal.Gated""",
    ),
    (squares, "ReduceSumSquare"),
    (quotient, "Div"),
    (softmax, "Softmax"),
    (log_softmax, "LogSoftmax"),
    (layer_norm, "LayerNormalization"),
    (rms_norm, "RMSNormalization SimplifiedLayerNormalization"),
    (instance_norm, "InstanceNormalization"),
    (group_norm, "GroupNormalization"),
    (unit_norm, "LpNormalization ai.onnx.ml.Normalizer"),
    (absolute_sum, "ReduceL1"),
    (euclid, "ReduceL2"),
    (largest, "GlobalMaxPool Max MaxPool MaxRoiPool ReduceMax com.microsoft.NhwcMaxPool"),
    (smallest, "Min ReduceMin"),
    (scattered, "ScatterElements ScatterND"),
    (choice, "Where"),
    (dynamic, "DynamicQuantizeLinear"),
    (
        Lifted(None),  # linear but for the rounding
        """DequantizeLinear QuantizeLinear com.microsoft.DequantizeLinear com.microsoft.QLinearAdd
        com.microsoft.QLinearAveragePool com.microsoft.QLinearConcat com.microsoft.QLinearGlobalAveragePool
        com.microsoft.QuantizeLinear""",
    ),
    (
        Lifted(product),
        """ConvInteger MatMulInteger QLinearConv QLinearMatMul com.microsoft.DynamicQuantizeMatMul
        com.microsoft.MatMulIntegerToFloat com.microsoft.QGemm com.microsoft.QLinearConv com.microsoft.QLinearMul""",
    ),
    (Lifted(rescale), "com.microsoft.QLinearLeakyRelu com.microsoft.QLinearSigmoid"),
    (Lifted(softmax), "com.microsoft.QLinearSoftmax"),
    (Lifted(choice), "com.microsoft.QLinearWhere"),
    (
        path,
        """CausalConvWithState CumProd Det GlobalLpPool LRN LinearAttention LpPool MeanVarianceNormalization
        NegativeLogLikelihoodLoss ReduceLogSum ReduceLogSumExp ReduceProd SoftmaxCrossEntropyLoss SwiGLU
        ai.onnx.ml.LinearClassifier com.microsoft.BiasSoftmax com.microsoft.BiasSplitGelu com.microsoft.CDist
        com.microsoft.GemmFastGelu com.microsoft.GroupNorm com.microsoft.Inverse com.microsoft.SkipGroupNorm""",
    ),
)
"""Which rule which operators have."""
