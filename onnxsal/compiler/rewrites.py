"""What torch computes in one kernel, whose way back is a kernel too: written in arithmetic that can be traced."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch._decomp.decompositions import grid_sampler_2d
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

MODES = ("bilinear", "nearest", "bicubic")
PADDINGS = ("zeros", "border", "reflection")


class Rewriting(TorchFunctionMode):
    """Rewrites such calls while a method is traced, and lets seeded random numbers be drawn: they become constants."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if kwargs.get("generator") is not None:
            with disable_proxy_modes_tracing(), unset_fake_temporarily():
                return func(*args, **kwargs)
        return REWRITTEN.get(func, func)(*args, **kwargs)


def grid_sample(
    x: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> Tensor:
    """Read a picture at the places a grid names."""
    if x.ndim != 4:
        return F.grid_sample(x, grid, mode, padding_mode, align_corners)
    return grid_sampler_2d(x, grid, MODES.index(mode), PADDINGS.index(padding_mode), bool(align_corners))


REWRITTEN: dict[Any, Any] = {F.grid_sample: grid_sample}
"""Functions of torch, and what stands for them in a trace."""
