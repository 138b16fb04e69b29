"""The global poolings of torch modules, found among the operations that their code comes to."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from srdeploy.models.card import Card
from srdeploy.models.importing.receptive_field import measure_receptive_field
from srdeploy.models.probes import CannotRunError, fit_size, photograph, run
from srdeploy.models.watch import OperationWatch, argument, name_of
from srdeploy.models.whole_means import Core, Pooling, WholeMeans

_PROBE = (48, 56)
_COARSEST = 16
"""How many times smaller (or larger) than the image features may be that are its features."""
_LONGEST = 257
"""Pixels of the strips that a network is measured on which does not say how far it looks."""


class PoolingWatch(OperationWatch):
    """While it is entered, means of images over all their pixels are exchanged.

    Known are means, deviations and variances over height and width, adaptive pooling to one pixel,
    and normalisation of groups of channels, of one image at a time.
    """

    def __init__(self, means: WholeMeans) -> None:
        super().__init__()
        self._means = means

    def called(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The operation, with the means that it is given."""
        pool = _POOLS.get(name_of(func))
        x = args[0] if args else None
        if pool is not None and isinstance(x, Tensor) and self._pools(x):
            pooled = pool(self._moments, x, args, kwargs)
            if pooled is not None:
                return pooled
        return func(*args, **kwargs)

    def _pools(self, x: Tensor) -> bool:
        """Whether these may be features of the window as a whole."""
        if x.dim() != 4 or x.shape[0] != 1 or not x.is_floating_point():
            return False
        ratios = {
            round(max(whole, side) / max(min(whole, side), 1))
            for whole, side in zip(self._means.window, x.shape[2:], strict=True)
        }
        return len(ratios) == 1 and max(ratios) <= _COARSEST

    def _moments(self, x: Tensor, powers: int) -> Tensor:
        """Means of ``x`` and of its square over the image, ``[powers, C]``, float64."""
        size = (x.shape[2], x.shape[3])
        found = self._means.exchange(size, lambda core: _sums(x, core, powers))
        return torch.from_numpy(found).view(powers, -1).to(x.device)


def _sums(x: Tensor, core: Core, powers: int) -> NDArray[np.float64]:
    part = x[0, :, core[0], core[1]]
    found = [part, part.square()][:powers]
    return torch.cat([one.sum((1, 2), dtype=torch.float64) for one in found]).cpu().numpy()


def _over_image(x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    dims = argument(args, kwargs, 1, "dim")
    return isinstance(dims, (list, tuple)) and sorted(d % 4 for d in dims) == [2, 3]


def _shaped(value: Tensor, x: Tensor, keep: bool) -> Tensor:
    """``[C]`` as a reduction of ``x`` over height and width gives it."""
    value = value.to(x.dtype).view(1, -1)
    return value[..., None, None] if keep else value


def _mean(moments: Any, x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    if not _over_image(x, args, kwargs):
        return None
    return _shaped(moments(x, 1)[0], x, bool(argument(args, kwargs, 2, "keepdim")))


def _adaptive(moments: Any, x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if list(argument(args, kwargs, 1, "output_size")) != [1, 1]:
        return None
    return _shaped(moments(x, 1)[0], x, True)


def _variance(moments: Any, x: Tensor, args: Any, kwargs: Any) -> Tensor | None:
    # Of a large image, the usual correction for few samples is 1e-6 of this and less.
    if not _over_image(x, args, kwargs) or kwargs.get("correction", 1) not in (0, 0.0):
        return None
    return _shaped(_spread(moments(x, 2)), x, bool(kwargs.get("keepdim")))


def _deviation(moments: Any, x: Tensor, args: Any, kwargs: Any) -> Tensor | None:
    variance = _variance(moments, x, args, kwargs)
    return None if variance is None else variance.sqrt()


def _group_norm(moments: Any, x: Tensor, args: Any, kwargs: Any) -> Any:
    _, weight, bias, _, channels, _, groups, epsilon = args
    grouped = moments(x, 2).view(2, groups, -1).mean(2)
    mean, rate = grouped[0], (_spread(grouped) + epsilon).rsqrt()
    each = channels // groups
    factor, shift = (part.repeat_interleave(each) for part in (rate, -mean * rate))
    if weight is not None:
        factor, shift = factor * weight, shift * weight
    if bias is not None:
        shift = shift + bias
    factor, shift = (part.to(x.dtype)[None, :, None, None] for part in (factor, shift))
    return x * factor + shift, mean.to(x.dtype)[None], rate.to(x.dtype)[None]


def _spread(moments: Tensor) -> Tensor:
    return (moments[1] - moments[0].square()).clamp_min(0)


_POOLS = {
    "mean": _mean,
    "adaptive_avg_pool2d": _adaptive,
    "_adaptive_avg_pool2d": _adaptive,
    "var": _variance,
    "std": _deviation,
    "native_group_norm": _group_norm,
}


class _Given(nn.Module):
    """A module whose poolings are given what they once were."""

    def __init__(self, module: nn.Module, given: list[NDArray[np.float64]]) -> None:
        super().__init__()
        self.module, self.given = module, given

    def forward(self, x: Tensor) -> Tensor:
        means = WholeMeans(self.given)
        means.enter((slice(0, 0), slice(0, 0)), (x.shape[2], x.shape[3]))
        with PoolingWatch(means):
            return self.module(x)


def find_pooling(module: nn.Module, card: Card) -> Pooling | None:
    """What a network pools over the whole image, and how far it looks besides.

    Args:
        module: In evaluation mode; stays as it is. Its ``pooled_field``, an attribute, says the
            side of the square that an output pixel depends on, means being given; of others it is
            measured.
        card: Of the network.

    Returns:
        None where it pools nothing, or depends on the whole image in other ways, too.
    """
    try:
        _, given = fit_size(lambda size: _means_of(module, card, size), _PROBE, card.size_multiple)
    except CannotRunError:
        return None
    if not given:
        return None
    field = getattr(module, "pooled_field", None)
    if field is None:
        measured = _Given(copy.deepcopy(module), given)
        field = measure_receptive_field(measured, card.channels, card.size_multiple, _LONGEST)
    return Pooling(field // 2, len(given)) if field else None


def _means_of(module: nn.Module, card: Card, size: tuple[int, int]) -> list[NDArray[np.float64]]:
    means = WholeMeans([], until=-1)
    means.enter((slice(0, size[0]), slice(0, size[1])), size)
    with PoolingWatch(means):
        run(module, torch.from_numpy(photograph(card, size)))
    return means.found()
