"""How far a foreign network looks, found by poisoning one pixel.

NaN is contagious: every value computed from one is NaN, whatever the weights (0 * NaN is NaN). So
the output pixels that are NaN when one input pixel is are exactly those that depend on it, with no
gradient to vanish in a dead ReLU. What is not contagious (comparing, sorting, choosing, rounding to
integers, sampling at computed places) is watched for; then nothing is claimed. Nor is it of a
network that cuts its input into windows by itself: what a pixel reaches depends on its place there,
and a tile cuts them elsewhere.
"""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from srdeploy.models.probes import CannotRunError, run
from srdeploy.models.watch import OperationWatch, name_of

_LENGTHS = (65, 257, 1025)
"""Lengths of the strips that are tried, while the poison reaches their ends."""

_THICKNESSES = (9, 33, 65, 129)
"""Of a strip, in pixels, the next one where the network cannot run on the last: what matters is its
length."""

_HIDING = {
    *("gt", "lt", "ge", "le", "eq", "ne", "sign", "sgn", "heaviside", "isnan", "isfinite", "isinf"),
    *("nan_to_num", "argmax", "argmin", "topk", "sort", "argsort", "median", "mode", "kthvalue"),
    *("nonzero", "searchsorted", "bucketize", "where", "logical_not", "_local_scalar_dense"),
    *("grid_sampler_2d", "deform_conv2d", "_to_copy", "softshrink", "hardshrink"),
}
"""Operations, as torch dispatches them, behind which a NaN may be lost."""


_EQUAL = 1e-9
"""Of the largest output, in float64: outputs that differ by less are the same."""


def measure_receptive_field(
    module: nn.Module, channels: int, multiple: int, longest: int = _LENGTHS[-1]
) -> int:
    """The width in input pixels of the square that one output pixel depends on, at most.

    Args:
        module: Takes ``float [1, channels, H, W]``; stays as it is.
        channels: Of its input.
        multiple: Height and width are multiples of this.
        longest: Pixels of the longest strip that is tried; large networks take long.

    Returns:
        An odd number; 0 where it is the whole image, or cannot be told.
    """
    exact = copy.deepcopy(module).double().eval()  # oneDNN's kernels, which mix pixels, are float32
    reach = 0
    for vertical in (False, True):
        found = None
        for thickness in _THICKNESSES:
            thick = -(-thickness // multiple) * multiple
            with suppress(CannotRunError):
                found = _reach(exact, channels, multiple, vertical, thick, longest)
                break
        if found is None:
            return 0
        reach = max(reach, found)
    return 2 * reach + 1


def _reach(
    module: nn.Module, channels: int, multiple: int, vertical: bool, thick: int, longest: int
) -> int | None:
    """Along one side, over every place that a pixel can have on the network's grid."""
    for length in (one for one in _LENGTHS if one <= longest):
        length = -(-length // multiple) * multiple
        middle = length // 2 // multiple * multiple
        reach = 0
        for phase in range(multiple):
            found = _poison(module, channels, (thick, length), middle + phase, vertical)
            if found is None:
                return None
            reach = max(reach, found)
            if reach >= middle - multiple:
                break
        else:
            moves = _moves(module, channels, multiple, vertical, (thick, length), reach)
            return reach if moves else None
    return None


def _moves(
    module: nn.Module, channels: int, multiple: int, vertical: bool, strip: tuple[int, int],
    reach: int,
) -> bool:  # fmt: skip
    """Whether an image that is moved by one step of the grid gives the same, moved."""
    x = torch.rand(1, channels, *strip, generator=torch.Generator().manual_seed(1)).double()
    whole, moved = (
        run(module, one.transpose(2, 3).contiguous() if vertical else one)
        for one in (x, x[..., multiple:].contiguous())
    )
    if vertical:
        whole, moved = whole.transpose(2, 3), moved.transpose(2, 3)
    scale = whole.shape[3] // strip[1]
    inside = slice(reach * scale, moved.shape[3] - reach * scale)
    whole = whole[..., multiple * scale :][..., inside]
    return bool((whole - moved[..., inside]).abs().max() <= _EQUAL * whole.abs().max())


def _poison(
    module: nn.Module, channels: int, strip: tuple[int, int], place: int, vertical: bool
) -> int | None:
    """How far from the poisoned row or column outputs are NaN; None where it cannot be told.

    Raises:
        CannotRunError: not on a strip of this shape.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, channels, *strip, generator=generator).double()
    x[..., place] = torch.nan
    watch = _Watch()
    with watch:
        y: Tensor = run(module, x.transpose(2, 3).contiguous() if vertical else x)
    if watch.hidden:
        return None
    y = y.transpose(2, 3) if vertical else y
    touched = torch.nonzero(y.isnan().any(2).any(1)[0]).flatten().tolist()
    if not touched:
        return None
    scale = y.shape[3] // strip[1]
    return max(place - touched[0] // scale, touched[-1] // scale - place, 0)


class _Watch(OperationWatch):
    """Notes whether an operation hid what it was given."""

    hidden = False

    def called(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an operation; one of those that hide may have been given a NaN."""
        name = name_of(func).rstrip("_")
        if name in _HIDING and any(
            isinstance(arg, Tensor) and arg.is_floating_point() and arg.isnan().any()
            for arg in (*args, *kwargs.values())
        ):
            self.hidden = True
        return func(*args, **kwargs)
