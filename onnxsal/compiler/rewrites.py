"""What torch computes in one kernel, whose way back is a kernel too: written in arithmetic that can be traced."""

from __future__ import annotations

from typing import Any

from torch import SymFloat, SymInt, Tensor
from torch._decomp.decompositions import grid_sampler_2d
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

MODES = ("bilinear", "nearest", "bicubic")
PADDINGS = ("zeros", "border", "reflection")


class Rewriting(TorchFunctionMode):
    """Rewrites such calls while a method is traced, and computes at once what depends on no input.

    Masks, orders and random numbers are then known numbers, which a method may look at; they become constants. Weights
    are left alone: what is made of them is made in the graph, lest the file hold them twice.
    """

    def __init__(self) -> None:
        super().__init__()
        self.free: dict[int, Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        if any(isinstance(leaf, (SymInt, SymFloat)) or self._is_bound(leaf) for leaf in leaves):
            return REWRITTEN.get(func, func)(*args, **kwargs)
        with disable_proxy_modes_tracing(), unset_fake_temporarily():
            result = func(*args, **kwargs)
        self.free |= {id(leaf): leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)}
        return result

    def _is_bound(self, leaf: Any) -> bool:
        """Say whether a tensor depends on an input or is a weight."""
        return isinstance(leaf, Tensor) and id(leaf) not in self.free


def grid_sample(
    x: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> Tensor:
    """Read a picture at the places a grid names."""
    if x.ndim != 4:
        return F.grid_sample(x, grid, mode, padding_mode, align_corners)
    return grid_sampler_2d(x, grid, MODES.index(mode), PADDINGS.index(padding_mode), bool(align_corners))


REWRITTEN: dict[Any, Any] = {F.grid_sample: grid_sample}
"""Functions of torch, and what stands for them in a trace."""
