"""Rounding to 8 bits inside a torch network, where its exported graph would round.

Pairs of QuantizeLinear and DequantizeLinear are written by
:mod:`srdeploy.exporting.precision.quantise_graph`; this is the same placement, found again while
the network runs: each call to a convolution, a sum, a ReLU or a pixel shuffle is seen by a
:class:`srdeploy.models.watch.CallWatch`, so that any module can be rounded without being rewritten.
What an 8-bit layer makes is rounded for all who read it; what any other makes is rounded only where
an 8-bit layer reads it, and goes on as it is elsewhere.

Gradients pass where nothing is clipped (the straight-through estimator). Those of an interval's
ends are LSQ's (Esser et al., "Learned step size quantization", ICLR 2020, eq. 3), for intervals
with two ends (Bhalgat et al., "LSQ+", CVPR Workshops 2020, eq. 4 and 5).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from srdeploy.models.network import Network
from srdeploy.models.quantised import INPUT, SMALLEST_SCALE, STEPS, WEIGHT_STEPS, Quantised, Range
from srdeploy.models.watch import CallWatch, argument, name_of

Grid = tuple[Tensor, Tensor]
"""Scale and zero point, scalars; the zero point need not be whole yet."""


class _Round(torch.autograd.Function):
    """``scale * (clip(round(x / scale) + zero, low, high) - zero)`` in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, zero: Tensor, low: int, high: int) -> Tensor:
        zero = zero.round().clamp(low, high)
        steps = torch.div(x, scale).round_().add_(zero)
        below, above = steps < low, steps > high
        y = steps.clamp_(low, high).sub_(zero).mul_(scale)
        ctx.ends = low, high
        learned = scale.requires_grad
        ctx.save_for_backward(below, above, scale, zero, *((x, y) if learned else ()))
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        below, above, scale, zero, *values = ctx.saved_tensors
        inside = gradient.masked_fill(below | above, 0)
        if not values:
            return inside, None, None, None, None
        x, y = values
        low, high = ctx.ends
        at_low, at_high = (gradient * below).sum(), (gradient * above).sum()
        of_scale = (
            ((y - x) * inside).sum() / scale + at_low * (low - zero) + at_high * (high - zero)
        )
        return inside, of_scale, -scale * (at_low + at_high), None, None


def round_weights(weights: Tensor, axis: int) -> Tensor:
    """What 8-bit weights keep, as :mod:`srdeploy.exporting.precision.quantise_graph` rounds them.

    Args:
        weights: float32 ``[out, in, h, w]``, or ``[in, out, h, w]`` of a transposed convolution.
        axis: The dimension of output channels.
    """
    with torch.no_grad():
        others = [d for d in range(weights.ndim) if d != axis]
        scales = weights.abs().amax(others, keepdim=True) / WEIGHT_STEPS
        scales.clamp_(min=SMALLEST_SCALE)
        change = (weights / scales).round_().clamp_(-WEIGHT_STEPS, WEIGHT_STEPS).mul_(scales)
        change -= weights
    return weights + change


@dataclass
class Rounding:
    """Which layers round, and on which grids.

    Attributes:
        layers: Names as on the card (:mod:`srdeploy.models.quantised`).
        grids: Of each tensor, by its name there.
        ends: Lowest and highest step.
    """

    layers: Collection[str]
    grids: Mapping[str, Grid]
    ends: tuple[int, int]

    def of(self, name: str, x: Tensor) -> Tensor:
        """The tensor rounded on its grid; one without a grid is exact as it is."""
        if name not in self.grids:
            return x
        scale, zero = self.grids[name]
        return _Round.apply(x.float(), scale, zero, *self.ends)  # type: ignore[no-untyped-call]


def fixed(quantised: Quantised) -> Rounding:
    """The rounding that a card tells."""
    grids: dict[str, Grid] = {}
    for name, (low, high) in quantised.ranges.items():
        scale, zero = Range(low, high).grid(quantised.activations)
        grids[name] = torch.tensor(float(scale)), torch.tensor(float(zero))
    return Rounding(frozenset(quantised.layers), grids, STEPS[quantised.activations])


@contextmanager
def rounding(module: nn.Module, current: Callable[[], Rounding]) -> Iterator[None]:
    """Within it the module computes what its 8-bit graph would.

    Args:
        module: Its ``forward`` takes one image.
        current: Asked for the rounding before each pass.
    """
    plain = module.forward
    names = {
        id(p): name.removesuffix(".weight")
        for name, p in module.named_parameters()
        if name.endswith(".weight")
    }
    stored = {id(t) for t in (*module.parameters(), *module.buffers())}

    def forward(x: Tensor) -> Tensor:
        watch = _Watch(current(), names, stored)
        watch.made(x, INPUT)
        with watch:
            y = plain(x)
        return watch.read(y)

    module.forward = forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        del module.__dict__["forward"]


class _Rounded(nn.Module):
    def __init__(self, module: nn.Module, quantised: Quantised) -> None:
        super().__init__()
        self.module = module
        self._rounding = fixed(quantised)

    def forward(self, x: Tensor) -> Tensor:
        with rounding(self.module, lambda: self._rounding):
            return self.module(x)


def as_rounded(network: Network) -> Network:
    """The network that the 8-bit export of this one computes, for measuring it in torch.

    Args:
        network: With ``quantised`` on its card; shares its module with the result.
    """
    assert network.card.quantised is not None
    return Network(_Rounded(network.module, network.card.quantised).eval(), network.card)


_CONVOLUTIONS = {"conv2d": 0, "conv_transpose2d": 1}
"""Each with the dimension of its weights' output channels."""
_SUMS = {"add", "radd", "iadd"}


@dataclass
class _Mark:
    """What is known of one tensor: its name, and whether and how it is rounded."""

    name: str
    due: bool = False  # made by an 8-bit layer: all who read it read it rounded
    exact: bool = False  # on a grid already
    fresh: bool = False  # a convolution's, unread: a ReLU that comes first belongs to it
    rounded: Tensor | None = None


class _Watch(CallWatch):
    """One forward pass, seen call by call."""

    def __init__(self, rounding: Rounding, names: dict[int, str], stored: set[int]) -> None:
        super().__init__()
        self._rounding, self._names, self._stored = rounding, names, stored
        self._marks: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
        self._sums = 0

    def made(self, x: Tensor, name: str, *, due: bool = False, fresh: bool = False) -> Tensor:
        """Note a tensor that a layer made."""
        self._marks[x] = _Mark(name, due=due, fresh=fresh)
        return x

    def read(self, x: Tensor) -> Tensor:
        """What a reader other than an 8-bit layer gets."""
        mark = self._marks.get(x)
        if mark is None:
            return x
        mark.fresh = False
        return self._round(x, mark) if mark.due else x

    def _feed(self, x: Tensor, layer: str, position: int) -> Tensor:
        """What an 8-bit layer gets."""
        if (mark := self._marks.get(x)) is None:
            self.made(x, f"{layer}:{position}")
            mark = self._marks[x]
        mark.fresh = False
        return x if mark.exact else self._round(x, mark)

    def _round(self, x: Tensor, mark: _Mark) -> Tensor:
        if mark.rounded is None:
            y = self._rounding.of(mark.name, x)
            if y is x:
                mark.exact = True
                return x
            mark.rounded = y
            self._marks[y] = _Mark(mark.name, exact=True)
        return mark.rounded

    def called(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run a call on what its 8-bit form reads, and note what it made."""
        name = name_of(func)
        if name == "__get__":  # a size, a type
            return func(*args, **kwargs)
        plain = name.strip("_")
        if "input" in kwargs:
            args, kwargs = (kwargs["input"],), {k: v for k, v in kwargs.items() if k != "input"}
        if plain in _CONVOLUTIONS and id(argument(args, kwargs, 1, "weight")) in self._names:
            return self._convolve(func, _CONVOLUTIONS[plain], args, kwargs)
        if plain in _SUMS and self._is_sum(args):
            return self._add(func, args, kwargs)
        if plain == "relu" and (mark := self._marks.get(args[0])) and mark.fresh:
            del self._marks[args[0]]
            return self.made(func(*args, **kwargs), mark.name, due=mark.due)
        args, kwargs = _mapped(args, self.read), _mapped(kwargs, self.read)
        out = func(*args, **kwargs)
        if _changes(name, kwargs):
            self._marks.pop(args[0], None)  # no longer what its layer made
        if plain == "pixel_shuffle" and (mark := self._marks.get(args[0])) and mark.exact:
            self._marks[out] = _Mark(mark.name, exact=True)
        return out

    def _convolve(self, func: Any, axis: int, args: Any, kwargs: Any) -> Tensor:
        weight = argument(args, kwargs, 1, "weight")
        name = self._names[id(weight)]
        due = name in self._rounding.layers
        x = self._feed(args[0], name, 0) if due else self.read(args[0])
        if due:
            weight = round_weights(weight, axis)
        kwargs = {k: v for k, v in kwargs.items() if k != "weight"}
        return self.made(func(x, weight, *args[2:], **kwargs), name, due=due, fresh=True)

    def _add(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        name = f"sum.{self._sums}"
        self._sums += 1
        due = name in self._rounding.layers
        read = [self._feed(x, name, i) if due else self.read(x) for i, x in enumerate(args[:2])]
        return self.made(func(*read, *args[2:], **kwargs), name, due=due)

    def _is_sum(self, args: Any) -> bool:
        images = [a for a in args[:2] if isinstance(a, Tensor) and id(a) not in self._stored]
        return len(images) == 2


def _changes(name: str, kwargs: dict[str, Any]) -> bool:
    """Whether a call changes its first argument in place."""
    if name.startswith("__"):
        return name.startswith("__i")
    return name.endswith("_") or bool(kwargs.get("inplace"))


def _mapped(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, dict):
        return {key: _mapped(value, change) for key, value in tree.items()}
    if type(tree) in (list, tuple):
        return type(tree)(_mapped(value, change) for value in tree)
    return tree
