"""Normalisation by statistics: given, of the batch, of groups, of one example; and dropout."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onnxsal.importer.dtypes import torch_dtype
from onnxsal.importer.operator import Host, layer, op
from onnxsal.importer.windows import Windows, window_sum

HALVES = {torch.float16, torch.bfloat16}


@op("BatchNormalization", since=14)
def batch_normalization(
    x: Tensor,
    scale: Tensor,
    b: Tensor,
    input_mean: Tensor,
    input_var: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Normalise each channel by stored statistics, or in training mode by those of the batch."""
    if not training_mode:
        return _batch_norm(x, scale, b, input_mean, input_var, epsilon), None, None
    mean, var = _batch_statistics(x)
    y = _batch_norm(x, scale, b, mean.to(input_mean.dtype), var.to(input_var.dtype), epsilon)
    return y, _running(input_mean, mean, momentum), _running(input_var, var, momentum)


def _batch_norm(x: Tensor, scale: Tensor, b: Tensor, mean: Tensor, var: Tensor, epsilon: float) -> Tensor:
    if {t.dtype for t in (scale, b, mean, var)} == {x.dtype} and not (mean.requires_grad or var.requires_grad):
        return F.batch_norm(x, mean, var, scale, b, False, 0.0, epsilon)
    kind = torch.promote_types(x.dtype, torch.promote_types(scale.dtype, mean.dtype))
    shape = (1, -1, *[1] * (x.dim() - 2))
    scale, b, mean, var = (t.to(kind).reshape(shape) for t in (scale, b, mean, var))
    return ((x.to(kind) - mean) * (scale * torch.rsqrt(var + epsilon)) + b).to(x.dtype)


def _batch_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    wide = x.float() if x.dtype in HALVES else x
    var, mean = torch.var_mean(wide, (0, *range(2, x.dim())), correction=0)
    return mean, var


def _running(old: Tensor, new: Tensor, momentum: float) -> Tensor:
    return old * momentum + new.to(old.dtype) * (1 - momentum)


class BatchNorm(nn.BatchNorm2d):
    """Torch's batch normalisation for inputs of any rank: the node does not tell which one it gets."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass


@layer(batch_normalization)
def batch_norm_layer(
    scale: nn.Parameter,
    b: nn.Parameter,
    mean: nn.Parameter,
    var: nn.Parameter,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
    spatial: int = 1,
) -> nn.Module | None:
    """Return torch's batch normalisation over the same arrays, where the stored statistics are used."""
    if training_mode or spatial != 1 or len({t.dtype for t in (scale, b, mean, var)}) > 1:
        return None
    module = BatchNorm(scale.shape[0], eps=epsilon, device="meta")
    module.weight, module.bias = scale, b
    module.running_mean, module.running_var = mean.detach(), var.detach()
    module.num_batches_tracked = None
    return module


@op("BatchNormalization", since=9)
def batch_normalization_9(
    x: Tensor,
    scale: Tensor,
    b: Tensor,
    mean: Tensor,
    var: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    n_outputs: int = 1,
) -> tuple[Tensor, ...]:
    """Normalise each channel by stored statistics, or by the batch's where the node hands those out."""
    if n_outputs == 1:
        return (_batch_norm(x, scale, b, mean, var, epsilon),)
    now_mean, now_var = _batch_statistics(x)
    y = _batch_norm(x, scale, b, now_mean.to(mean.dtype), now_var.to(var.dtype), epsilon)
    running = _running(mean, now_mean, momentum), _running(var, now_var, momentum)
    return y, *running, now_mean.to(mean.dtype), now_var.to(var.dtype)


@op("BatchNormalization", since=7)
def batch_normalization_7(
    x: Tensor,
    scale: Tensor,
    b: Tensor,
    mean: Tensor,
    var: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    spatial: int = 1,
    n_outputs: int = 1,
) -> tuple[Tensor, ...]:
    """Normalise each channel, or each single feature, by stored statistics or the batch's."""
    if spatial:
        return batch_normalization_9(x, scale, b, mean, var, epsilon=epsilon, momentum=momentum, n_outputs=n_outputs)
    flat = x.flatten(1)
    scale, b, mean, var = (t.flatten() for t in (scale, b, mean, var))
    y, *others = batch_normalization_9(
        flat, scale, b, mean, var, epsilon=epsilon, momentum=momentum, n_outputs=n_outputs
    )
    return y.reshape(x.shape), *(t.reshape(x.shape[1:]) for t in others)


layer(batch_normalization_9)(batch_norm_layer)
layer(batch_normalization_7)(batch_norm_layer)


@op("BatchNormalization")
def batch_normalization_1(
    x: Tensor,
    scale: Tensor,
    b: Tensor,
    mean: Tensor,
    var: Tensor,
    *,
    epsilon: float = 1e-5,
    is_test: int = 0,
    momentum: float = 0.9,
    spatial: int = 1,
    n_outputs: int = 1,
) -> tuple[Tensor, ...]:
    """Normalise by stored statistics where the node is marked as a test, else by the batch's."""
    count = 1 if is_test else 5
    y = batch_normalization_7(
        x, scale, b, mean, var, epsilon=epsilon, momentum=momentum, spatial=spatial, n_outputs=count
    )
    return y[:n_outputs]


@op("InstanceNormalization")
def instance_normalization(input: Tensor, scale: Tensor, b: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    """Normalise each feature map by its own mean and variance."""
    return torch.group_norm(input, input.shape[1], scale.to(input.dtype), b.to(input.dtype), epsilon)


@op("GroupNormalization", since=21)
def group_normalization(
    x: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = 1e-5, num_groups: int, stash_type: int = 1
) -> Tensor:
    """Normalise groups of channels together; scale and shift each channel."""
    return torch.group_norm(x, num_groups, scale.to(x.dtype), bias.to(x.dtype), epsilon)


@op("GroupNormalization", since=18)
def group_normalization_18(x: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = 1e-5, num_groups: int) -> Tensor:
    """Normalise groups of channels together; scale and shift each group."""
    width = x.shape[1] // num_groups
    scale, bias = (t.to(x.dtype).unsqueeze(1).expand(-1, width).reshape(-1) for t in (scale, bias))
    return torch.group_norm(x, num_groups, scale, bias, epsilon)


@op("LayerNormalization", since=17)
def layer_normalization(
    x: Tensor,
    scale: Tensor,
    b: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
    n_outputs: int = 1,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Normalise the last axes of each example by their own mean and variance."""
    shape = x.shape[axis % x.dim() :]
    if n_outputs == 1:
        return _layer_norm(x, shape, scale, b, epsilon), None, None
    wide = x.to(_stash(x, stash_type))
    axes = tuple(range(-len(shape), 0))
    var, mean = torch.var_mean(wide, axes, correction=0, keepdim=True)
    inverse = torch.rsqrt(var + epsilon)
    y = ((wide - mean) * inverse).to(x.dtype) * scale
    return y if b is None else y + b, mean, inverse


def _layer_norm(x: Tensor, shape: torch.Size, scale: Tensor, b: Tensor | None, epsilon: float) -> Tensor:
    if scale.shape == shape and (b is None or b.shape == shape) and scale.dtype == x.dtype:
        return F.layer_norm(x, shape, scale, b, epsilon)
    y = F.layer_norm(x, shape, eps=epsilon) * scale  # the scale broadcasts
    return (y if b is None else y + b).to(x.dtype)


def _stash(x: Tensor, stash_type: int) -> torch.dtype:
    """Return the type statistics are computed in; never one narrower than the input's."""
    return torch.promote_types(x.dtype, torch_dtype(stash_type))


@layer(layer_normalization)
def layer_norm_layer(
    scale: nn.Parameter,
    b: nn.Parameter | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> nn.Module | None:
    """Return torch's layer normalisation over the same arrays, where the scale tells the normalised shape."""
    if axis != -scale.dim() or (b is not None and (b.shape != scale.shape or b.dtype != scale.dtype)):
        return None
    if axis != -1 or scale.shape[-1] == 1:  # a scale of one element may broadcast
        return None
    module = nn.LayerNorm(scale.shape, eps=epsilon, bias=b is not None, device="meta")
    module.weight = scale
    module.register_parameter("bias", b)
    return module


@op("RMSNormalization", since=23)
def rms_normalization(
    x: Tensor, scale: Tensor, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    """Divide the last axes of each example by the root of their mean square."""
    wide = x.to(_stash(x, stash_type))
    axes = tuple(range(axis % x.dim(), x.dim()))
    normal = wide * torch.rsqrt(wide.square().mean(axes, keepdim=True) + epsilon)
    return (normal.to(scale.dtype) if wide.dtype != x.dtype else normal) * scale


@op("LpNormalization")
def lp_normalization(input: Tensor, *, axis: int = -1, p: int = 2) -> Tensor:
    """Divide by the p-norm along an axis; where that is zero the result is zero."""
    norm = torch.linalg.vector_norm(input, p, axis, keepdim=True)
    return torch.where(norm == 0, torch.zeros_like(input), input / torch.where(norm == 0, torch.ones_like(norm), norm))


@op("LRN")
def lrn(x: Tensor, *, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0, size: int) -> Tensor:
    """Divide each value by the energy of its neighbours in the channels beside it."""
    before = (size - 1) // 2
    squares = F.pad(x.square(), (0, 0) * (x.dim() - 2) + (before, size - 1 - before))
    channels = Windows((x.shape[1],), (size,), (1,), (1,), (0,), (0,))
    energy = window_sum(squares.movedim(1, -1), channels, (x.shape[1],)).movedim(-1, 1)
    return x / (bias + alpha / size * energy).pow(beta)


@op("MeanVarianceNormalization", since=9)
def mean_variance_normalization(x: Tensor, *, axes: list[int] = [0, 2, 3]) -> Tensor:  # noqa: B006 (the schema's default)
    """Subtract the mean and divide by the standard deviation over the given axes."""
    mean = x.mean(axes, keepdim=True)
    variance = x.square().mean(axes, keepdim=True) - mean.square()
    varies = variance > 0  # a root has no slope at zero, and rounding may end below
    deviation = torch.where(varies, torch.where(varies, variance, 1.0).sqrt(), 0.0)
    return (x - mean) / (deviation + 1e-9)


@op("Dropout", since=12)
def dropout(
    data: Tensor, ratio: Host | None = None, training_mode: Host | None = None, *, seed: int | None = None
) -> tuple[Tensor, Tensor]:
    """Hand the input through; in training mode set a random share of it to zero."""
    share = 0.5 if ratio is None else float(ratio)
    if training_mode is None or not bool(training_mode) or share == 0:
        return data, torch.ones_like(data, dtype=torch.bool)
    return _drop(data, share, seed)


def _drop(data: Tensor, share: float, seed: int | None) -> tuple[Tensor, Tensor]:
    if seed is None:
        kept = torch.rand(data.shape, device=data.device) >= share
    else:  # numpy's generator gives the same numbers on every device, and those of ONNX's reference
        chances = np.random.RandomState(seed).uniform(size=tuple(data.shape))
        kept = torch.from_numpy(np.asarray(chances >= share)).to(data.device)
    return data * kept / (1 - share), kept


@op("Dropout", since=10)
def dropout_10(data: Tensor, *, ratio: float = 0.5) -> tuple[Tensor, Tensor]:
    """Hand the input through: dropout does nothing when a model answers."""
    return data, torch.ones_like(data, dtype=torch.bool)


@op("Dropout", since=7)
def dropout_7(data: Tensor, *, ratio: float = 0.5) -> tuple[Tensor, Tensor]:
    """Hand the input through: dropout does nothing when a model answers."""
    return data, torch.ones_like(data)


@op("Dropout")
def dropout_1(data: Tensor, *, is_test: int = 0, ratio: float = 0.5) -> tuple[Tensor, Tensor]:
    """Hand the input through: dropout does nothing when a model answers."""
    # files of that age say is_test=0 and mean it no more than ONNX Runtime does
    return data, torch.ones_like(data)
