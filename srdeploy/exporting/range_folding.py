"""Folding the value range into the convolutions: half precision without activations up to 255.

Nothing between two convolutions minds a positive factor: ReLU, additions, concatenations and
pixel shuffles let it through. So the activations of a network can be kept ``k`` times smaller at
no cost: the convolutions that read the image get their weights times ``k``, those that write it
get theirs over ``k``, and every bias in between is multiplied by ``k``. With ``k`` a power of two
the new weights differ from the old in their exponents alone, so the result is not merely equal in
exact arithmetic: it has the same bits, in float64 and in float32 (short of underflow).

Underflow is what limits ``k`` in float16: numbers below 2**-14 lose digits, and hardware may
replace them by zero. EDSR f32b5 without its mean shift would lose 1.8 dB that way at k = 1/256,
its first weights being small already; so ``k`` is no smaller than its weights can bear.

Where a factor may sit is found by running the network once. Every tensor belongs to a *class* of
tensors that must share one factor; operations that let factors through join the classes of what
they read and write, convolutions separate them, and anything else (a sigmoid, an added constant,
an operation unknown here) pins its tensors to factor 1. The image itself is at both ends.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from srdeploy.errors import SrdeployError
from srdeploy.exporting.probe import SIZES
from srdeploy.models.card import Card
from srdeploy.models.network import Network
from srdeploy.models.probes import CannotRunError, Size, fit_sizes, photograph, run
from srdeploy.models.watch import CallWatch, argument, name_of, tensors_in

_AFFINE = {"conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d", "linear"}
_THROUGH = {
    *("relu", "leaky_relu", "identity", "dropout", "neg"),
    *("cat", "concat", "concatenate", "stack", "split", "chunk", "unbind", "narrow", "select"),
    *("pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "roll", "flip"),
    *(
        "view",
        "reshape",
        "permute",
        "transpose",
        "movedim",
        "flatten",
        "unflatten",
        "expand",
        "expand_as",
    ),
    *("squeeze", "unsqueeze", "contiguous", "clone", "detach", "to", "float", "__getitem__"),
    *("interpolate", "upsample", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "mean", "sum"),
    *("maximum", "minimum", "abs", "repeat", "repeat_interleave", "tile", "unfold", "fold"),
    "__get__",
}
_SUM = {"add", "sub", "subtract", "rsub", "radd", "iadd", "isub"}
_PRODUCT = {
    "mul",
    "multiply",
    "rmul",
    "imul",
    "div",
    "divide",
    "true_divide",
    "truediv",
    "itruediv",
}
_TIGHT = 1e-12  # over the value range: what float64 may differ by when a factor is no power of two


@dataclass(frozen=True)
class Folded:
    """A network whose activations run in another range; the function it computes is the same.

    Attributes:
        network: The new network, or the given one where nothing could be folded.
        factor: What its inner activations were multiplied by; 1 where nothing was folded.
        layers: Layers whose weights or biases changed.
        pinned: Operations whose surroundings keep their range, each once.
        max_difference: Largest |difference| from the given network in float64, at several sizes.
        reason: Why nothing was folded; empty otherwise.
    """

    network: Network
    factor: float = 1.0
    layers: list[str] = field(default_factory=list)
    pinned: list[str] = field(default_factory=list)
    max_difference: float = 0.0
    reason: str = ""

    def __bool__(self) -> bool:
        return bool(self.layers)

    def note(self) -> str:
        """One line for reports."""
        if not self:
            return f"value range not folded: {self.reason}"
        kept = f"; the range stays around {', '.join(self.pinned)}" if self.pinned else ""
        return (
            f"value range folded into {len(self.layers)} layers: activations times "
            f"{self.factor:g}, equal in float64 to {self.max_difference:.1e}{kept}"
        )


SMALLEST_NORMAL = 2.0**-14
"""Below this float16 has fewer digits, and hardware may flush to zero."""

FLUSH_LOSS = 1e-3
"""Share of a weight tensor's norm that may lie in such small numbers."""


def fold_range(network: Network) -> Folded:
    """Bring the activations of a 0..R network near 0..1; its ends keep 0..R.

    The factor is a power of two: 1/R rounded down (2**-8 for R = 255), or the smallest one above
    it that leaves the weights representable in float16 (see the module's text).

    Args:
        network: float32, on the CPU; not changed.

    Returns:
        The folded network and its proof; the given one, and why, where nothing can be folded.

    Raises:
        SrdeployError: the folded network computes something else (a defect of ours).
    """
    factor = 2.0 ** -math.ceil(math.log2(network.card.value_range))
    if factor >= 1:
        return Folded(network, reason="the values run to 1 already")
    bearable = max(FLUSH_LOSS, _flush_loss(network.module))
    while factor < 1:
        folded = _rescale(network, network.card, ends=1.0, inner=factor)
        if not folded or _flush_loss(folded.network.module) <= bearable:
            return folded
        factor *= 2
    return Folded(network, reason="its first weights are too small for float16 to scale them down")


def _flush_loss(module: nn.Module) -> float:
    """The largest share of a weight tensor's norm below float16's smallest normal number."""
    worst = 0.0
    for parameter in (p.detach() for p in module.parameters()):
        if parameter.dim() > 1 and (norm := float(parameter.norm())) > 0:
            small = parameter[parameter.abs() < SMALLEST_NORMAL]
            worst = max(worst, float(small.norm()) / norm)
    return worst


def change_range(network: Network, value_range: float, *, halves: bool = False) -> Folded:
    """A network for pixels in 0..``value_range``, its activations as before.

    The card of the result says the new range. Exact in real numbers; in float32 the changed
    weights are rounded once more, unless the ranges' ratio is a power of two.

    Args:
        network: The network.
        value_range: Of its pixels.
        halves: Weights will be float16. The last ones over 255 are often below 2**-14, which ncnn
            takes for zero; so both ends bear half of the factor, and activations change by the
            power of two next to its root.

    Raises:
        SrdeployError: as :func:`fold_range`.
    """
    ratio = value_range / network.card.value_range
    if ratio == 1:
        return Folded(network, reason=f"the values run to {value_range:g} already")
    card = network.card.model_copy(update={"value_range": value_range})
    inner = 2.0 ** round(math.log2(ratio) / 2) if halves else 1.0
    return _rescale(network, card, ends=ratio, inner=inner)


def _rescale(network: Network, card: Card, ends: float, inner: float) -> Folded:
    classes = _trace(network)
    factors = classes.factors(ends, inner)
    if factors is None:
        reason = f"an end of the network meets {', '.join(classes.pinned)} before any convolution"
        return Folded(network, pinned=classes.pinned, reason=reason)
    module = copy.deepcopy(network.module)
    changed = _apply(module, classes, factors)
    if not changed:
        reason = "no convolution separates the ends from the rest"
        return Folded(network, pinned=classes.pinned, reason=reason)
    folded = Network(module, card)
    try:
        worst = _require_equal(network, card, classes, factors, ends)
    except CannotRunError:
        return Folded(network, reason="it does not run in float64, in which that is proven")
    return Folded(folded, inner / ends, changed, classes.pinned, worst)


def _apply(module: nn.Module, classes: _Classes, factors: dict[int, float]) -> list[str]:
    """Multiply the parameters; return the layers that changed, in order."""
    parameters = dict(module.named_parameters())
    changed: dict[str, None] = {}
    with torch.no_grad():
        for name, before, after in classes.parameters():
            ratio = factors[after] / (1.0 if before is None else factors[before])
            if ratio != 1:
                parameters[name].mul_(ratio)
                changed[name.rpartition(".")[0] or name] = None
    return list(changed)


def _require_equal(
    network: Network, card: Card, classes: _Classes, factors: dict[int, float], ends: float
) -> float:
    """Largest |difference|, in the new range, when weights and arithmetic are float64.

    Relative to outputs larger than the range. The classes were found at the first size.

    Raises:
        SrdeployError: more than float64 explains; the sentence says at which size.
    """
    first = copy.deepcopy(network.module).double()
    second = copy.deepcopy(first)
    _apply(second, classes, factors)
    worst = 0.0
    for number, size in enumerate(_sizes(network)):
        x = torch.from_numpy(photograph(network.card, size)).double()
        expected = run(first, x) * ends
        difference = float((expected - run(second, x * ends)).abs().max())
        if not difference <= _TIGHT * max(card.value_range, float(expected.abs().max())):
            height, width = size
            why = (
                "though not at a smaller size: its code depends on the size of its input"
                if number
                else "report this"
            )
            raise SrdeployError(
                f"Folding the value range into the weights changes the network by "
                f"{difference:.1e} at input {width}x{height}, {why}; export it in fp32 meanwhile."
            )
        worst = max(worst, difference)
    return worst


def _sizes(network: Network) -> list[Size]:
    return fit_sizes(network.module, network.card, SIZES)


class _Classes:
    """Union-find over tensors: members of a class share one factor."""

    def __init__(self, names: dict[int, str]) -> None:
        self.pinned: list[str] = []
        self.ends: list[int] = []
        self.products: list[tuple[int, int, int]] = []
        self._names = names
        self._parent: list[int] = []
        self._pins: set[int] = set()
        self._of: dict[int, int] = {}
        self._alive: list[Tensor] = []  # a freed tensor's id would be given to another one
        self._parameters: dict[str, tuple[int | None, int]] = {}

    def knows(self, tensor: Tensor) -> bool:
        """Whether the tensor depends on the image."""
        return id(tensor) in self._of

    def of(self, tensor: Tensor) -> int:
        """The tensor's class, a new one if it has none."""
        if id(tensor) not in self._of:
            self._alive.append(tensor)
            self._of[id(tensor)] = len(self._parent)
            self._parent.append(len(self._parent))
        return self.find(self._of[id(tensor)])

    def find(self, node: int) -> int:
        """The root of a node."""
        while self._parent[node] != node:
            self._parent[node] = self._parent[self._parent[node]]
            node = self._parent[node]
        return node

    def join(self, nodes: Iterable[int]) -> None:
        """Give all the nodes one class."""
        roots = [self.find(node) for node in nodes]
        for root in roots[1:]:
            if root != roots[0]:
                self._parent[root] = roots[0]
                if root in self._pins:
                    self._pins.add(roots[0])

    def pin(self, nodes: Iterable[int], why: str) -> None:
        """Keep the factor 1."""
        self._pins |= {self.find(node) for node in nodes}
        if why not in self.pinned:
            self.pinned.append(why)

    def affine(self, x: Tensor, weight: Any, bias: Any, out: Tensor) -> None:
        """A convolution from one class to another, if its tensors are stored parameters."""
        before, after = self.of(x), self.of(out)
        stored = [self._names.get(id(t)) for t in (weight, bias) if t is not None]
        if None in stored:
            self.pin((before, after), "a convolution with computed weights")
            return
        for name, source in zip(stored, (before, None), strict=False):
            assert name is not None
            if name in self._parameters:  # used twice: both uses must see the same factors
                old_before, old_after = self._parameters[name]
                self.join([old_after, after])
                if source is not None and old_before is not None:
                    self.join([old_before, source])
            self._parameters[name] = (source, after)

    def parameters(self) -> list[tuple[str, int | None, int]]:
        """Each convolution's parameters: name, class read (None for a bias), class written."""
        return [
            (name, None if before is None else self.find(before), self.find(after))
            for name, (before, after) in self._parameters.items()
        ]

    def factors(self, ends: float, inner: float) -> dict[int, float] | None:
        """The factor of each class, None where an end is pinned to another than its own."""
        self._resolve_products()
        pinned = {self.find(node) for node in self._pins}
        outer = {self.find(node) for node in self.ends}
        if ends != 1 and outer & pinned:
            return None
        found: dict[int, float] = {}
        for root in {self.find(node) for node in range(len(self._parent))}:
            found[root] = ends if root in outer else 1.0 if root in pinned else inner
        return found

    def _resolve_products(self) -> None:
        """A product has the factor of one side once the other is pinned (attention maps)."""
        pending = self.products
        while pending:
            pins = {self.find(node) for node in self._pins}
            solved = [p for p in pending if self.find(p[0]) in pins or self.find(p[1]) in pins]
            if not solved:
                self.pin((node for p in pending for node in p), "a product of two images")
                return
            for first, second, out in solved:
                self.join([second if self.find(first) in pins else first, out])
            pending = [p for p in pending if p not in solved]


class _Watch(CallWatch):
    """Tells the classes what each call does."""

    def __init__(self, classes: _Classes) -> None:
        super().__init__()
        self._classes = classes

    def called(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run a call, and note what it does."""
        out = func(*args, **kwargs)
        read = [t for t in tensors_in((args, kwargs)) if self._classes.knows(t)]
        if read:
            self._note(name_of(func), args, kwargs, read, out)
        return out

    def _note(self, name: str, args: Any, kwargs: Any, read: list[Tensor], out: Any) -> None:
        classes = self._classes
        written = tensors_in(out)
        plain = name if name in ("__get__", "__getitem__", "__setitem__") else name.strip("_")
        if not written and plain != "__setitem__":  # a size or a flag
            return
        nodes = [classes.of(t) for t in (*read, *written)]
        if plain in _AFFINE and len(read) == 1 and read[0] is argument(args, kwargs, 0, "input"):
            weight, bias = argument(args, kwargs, 1, "weight"), argument(args, kwargs, 2, "bias")
            classes.affine(read[0], weight, bias, written[0])
        elif plain in _PRODUCT and "mul" in plain and len(read) == 2:
            classes.products.append((nodes[0], nodes[1], nodes[2]))
        elif _lets_through(plain, args, kwargs, read):
            classes.join(nodes)
        else:
            classes.pin(nodes, plain)


def _trace(network: Network) -> _Classes:
    names = {id(p): name for name, p in network.module.named_parameters()}
    classes = _Classes(names)
    x = torch.from_numpy(photograph(network.card, _sizes(network)[0]))
    classes.ends.append(classes.of(x))
    with torch.no_grad(), _Watch(classes):
        y = network.module(x)
    classes.ends.append(classes.of(y))
    return classes


def _lets_through(name: str, args: Any, kwargs: Any, read: list[Tensor]) -> bool:
    """Whether a positive factor on all images read comes out as the same factor."""
    if name in _SUM:  # a constant would have to be scaled too
        return len(read) == 2 or any(not isinstance(a, Tensor) and a == 0 for a in args[:2])
    if name in _PRODUCT:
        return len(read) == 1 and ("div" not in name or read[0] is args[0])
    if name == "pad":
        mode = argument(args, kwargs, 2, "mode") or "constant"
        return mode != "constant" or not argument(args, kwargs, 3, "value")
    if name == "prelu":
        return True
    return name in _THROUGH and len(read) == len(tensors_in((args, kwargs)))
