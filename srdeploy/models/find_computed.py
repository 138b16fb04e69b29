"""Which weights a network's code computes at every run: found by running it once.

A weight is computed if it is no tensor of the network's and was made of such and of constants
alone, whatever the image. What it was computed from is idle afterwards, unless something else reads
it together with what comes from the image.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from srdeploy.models.baked import bake, kind_of, layer_name, takes_no_parameter, writes_to
from srdeploy.models.computed import Computed, ComputedLayer, ComputedPart
from srdeploy.models.network import Network
from srdeploy.models.probes import PROBE_SIZES, CannotRunError, fit_sizes, photograph, run
from srdeploy.models.resize import layer_widths
from srdeploy.models.watch import CallWatch, OperationWatch, argument, tensors_in

_TOLERANCE = 1e-5
"""Largest difference of outputs, relative to the largest: the weights are the same to the bit."""

_SIZES = PROBE_SIZES[:3]
_NUMBERS = ("stride", "padding", "dilation", "groups")
_POSITIONS = {"conv": (3, 4, 5, 6), "conv_transpose": (3, 4, 7, 6)}


def with_baked_weights(network: Network) -> Network:
    """The network with plain layers for what its code computes; itself where that is nothing.

    Args:
        network: Of a stranger's code, in evaluation mode; it is left as it is.
    """
    try:
        sizes = fit_sizes(network.module, network.card, _SIZES[:1])
    except CannotRunError:
        return network
    x = torch.from_numpy(photograph(network.card, sizes[0]))
    module = copy.deepcopy(network.module).eval()
    found = _Run(module)
    try:
        with torch.no_grad(), found.watching(x):
            module(x)
        computed, weights = found.result()
    except Exception:  # whatever the network's own code does
        return network
    if not computed.parts:
        return network
    module = copy.deepcopy(network.module).eval()
    written = {
        f"{name}.{leaf}" if name else leaf
        for name, part in computed.parts.items()
        for leaf in part.written
    }
    module = bake(module, computed)
    state = dict(found.module.named_parameters())
    with torch.no_grad():
        for name in written:
            module.get_parameter(name).copy_(state[name])
    for name, (weight, bias) in weights.items():
        layer = module.get_submodule(name)
        layer.weight = nn.Parameter(weight)
        if bias is not None:
            layer.bias = nn.Parameter(bias)
    if not _same(network, module):
        return network
    changed = {"computed": computed, "widths": layer_widths(module)}
    return Network(module, network.card.model_copy(update=changed), network.make)


def _same(network: Network, module: nn.Module) -> bool:
    for size in fit_sizes(network.module, network.card, _SIZES):
        x = torch.from_numpy(photograph(network.card, size))
        try:
            wanted, found = run(network.module, x), run(module, x)
        except CannotRunError:
            return False
        far = float((wanted - found).abs().max())
        if wanted.shape != found.shape or far > _TOLERANCE * float(wanted.abs().max()):
            return False
    return True


@dataclass
class _Call:
    """A call whose weight is no parameter."""

    kind: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    frames: list[_Frame]
    out: Any = None
    computed: bool = False


@dataclass(eq=False)
class _Frame:
    """One run of a part."""

    name: str
    module: nn.Module
    given: tuple[Any, ...]
    calls: list[_Call] = field(default_factory=list)
    out: Any = None


class _Run:
    """What is known of the tensors of one run."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        named = [*module.named_parameters(), *module.named_buffers()]
        self.names = {id(tensor): name for name, tensor in named}
        self.parameters = {name for name, _ in module.named_parameters()}
        self.frames: list[_Frame] = []
        self.ended: list[_Frame] = []
        self.written: dict[str, set[str]] = {}
        self.live: set[str] = set()
        self.used: set[str] = set()
        self.set_aside = False
        self._sources = WeakIdKeyDictionary()
        self._image = WeakIdKeyDictionary()
        for name, tensor in named:
            self._sources[tensor] = frozenset([name])

    @contextmanager
    def watching(self, x: Tensor) -> Iterator[None]:
        """Watch the module run on an image."""
        self._image[x] = True
        with ExitStack() as hooks:
            for name, part in self.module.named_modules():
                hooks.callback(part.register_forward_pre_hook(self._enter(name)).remove)
                hooks.callback(part.register_forward_hook(self._leave).remove)
            with _Calls(self), _Operations(self):
                yield

    def _enter(self, name: str) -> Any:
        def enter(part: nn.Module, given: tuple[Any, ...]) -> None:
            self.frames.append(_Frame(name, part, given))

        return enter

    def _leave(self, part: nn.Module, given: Any, out: Any) -> None:
        frame = self.frames.pop()
        frame.out = out
        self.ended.append(frame)
        if not self.frames:
            self.live |= self.sources(tensors_in(out))

    def is_constant(self, tensor: Any) -> bool:
        """Whether it does not come from the image."""
        return isinstance(tensor, Tensor) and tensor not in self._image

    def sources(self, tensors: Iterable[Tensor | None]) -> frozenset[str]:
        """Names of the network's tensors that these were made of, the image apart."""
        return frozenset().union(*(self._sources.get(t, ()) for t in tensors if t is not None))

    def made(self, out: Any, given: list[Tensor]) -> None:
        """An operation has made tensors of others."""
        from_image = any(not self.is_constant(tensor) for tensor in given)
        sources = self.sources(t for t in given if self.is_constant(t))
        if from_image and not self.set_aside:
            self.live |= sources
        for tensor in tensors_in(out):
            if from_image:
                self._image[tensor] = True
            elif id(tensor) not in self.names:
                self._sources[tensor] = sources | self.sources([tensor])

    def result(self) -> tuple[Computed, dict[str, tuple[Tensor, Tensor | None]]]:
        """What is computed; by name of the layers that it becomes, their weights and biases."""
        refused: set[str] = set()
        while True:
            parts, again = self._parts(refused)
            if again <= refused:
                break
            refused |= again
        weights: dict[str, tuple[Tensor, Tensor | None]] = {}
        described: dict[str, ComputedPart] = {}
        for name, (whole, calls) in parts.items():
            for number, call in calls.items():
                weight, bias = _tensors(call)
                own = layer_name(number) if not whole else ""
                full = f"{name}.{own}".strip(".")
                weights[full] = _copy(weight), None if bias is None else _copy(bias)
            layers = [_described(number, call) for number, call in calls.items()]
            described[name] = ComputedPart(whole=whole, layers=layers)
        for name, leaves in self.written.items():
            before = described.get(name, ComputedPart())
            described[name] = before.model_copy(update={"written": sorted(leaves)})
        kept = {
            f"{name}.{leaf}" if name else leaf
            for name, leaves in self.written.items() for leaf in leaves
        }  # fmt: skip
        for frame in self.ended:
            if frame.name in refused:
                self.live |= self.sources(t for call in frame.calls for t in _tensors(call))
        replaced = tuple(f"{name}." for name, part in described.items() if part.whole)
        idle = sorted(
            name for name in self.used - self.live - kept if not name.startswith(replaced)
        )
        return Computed(parts=described, idle=idle), weights

    def _parts(
        self, refused: set[str]
    ) -> tuple[dict[str, tuple[bool, dict[int, _Call]]], set[str]]:
        """Of every part the calls that become layers, and the parts of which runs differ."""
        found: dict[str, tuple[bool, dict[int, _Call]]] = {}
        differ: set[str] = set()
        for frame in self.ended:
            if frame.name in refused:
                continue
            own: dict[int, _Call] = {}
            number = 0
            for call in frame.calls:
                inner = call.frames[-1]
                if inner is not frame and call.computed and inner.name not in refused:
                    continue  # the inner part's layer takes it
                if inner is frame and call.computed:
                    own[number] = call
                number += 1
            whole = len(own) == len(frame.calls) == 1 and _is_whole(frame, frame.calls[0])
            if own and not whole and isinstance(frame.module, _LAYERS):
                differ.add(frame.name)
            known = found.setdefault(frame.name, (whole, own))
            told = [[_described(n, c) for n, c in one.items()] for one in (known[1], own)]
            if known[0] != whole or told[0] != told[1]:
                differ.add(frame.name)
        if not differ:
            for _, calls in found.values():
                for call in calls.values():
                    self.used |= self.sources(_tensors(call))
        return {name: one for name, one in found.items() if one[1]}, differ


_LAYERS = (nn.modules.conv._ConvNd, nn.Linear)


def _is_whole(frame: _Frame, call: _Call) -> bool:
    image = argument(call.args, call.kwargs, 0, "input")
    return len(frame.given) == 1 and frame.given[0] is image and frame.out is call.out


def _tensors(call: _Call) -> tuple[Tensor, Tensor | None]:
    return (
        argument(call.args, call.kwargs, 1, "weight"), argument(call.args, call.kwargs, 2, "bias")
    )  # fmt: skip


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()


def _described(number: int, call: _Call) -> ComputedLayer:
    weight, bias = _tensors(call)
    numbers: dict[str, Any] = {}
    positions = _POSITIONS.get(call.kind.rstrip("123d"), ())
    for name, position in zip(_NUMBERS, positions, strict=False):
        value = argument(call.args, call.kwargs, position, name)
        if value is not None:
            numbers[name] = list(map(int, value)) if isinstance(value, (list, tuple)) else value
    if "transpose" in call.kind:
        more = argument(call.args, call.kwargs, 5, "output_padding")
        if more is not None:
            numbers["output_padding"] = [*more] if isinstance(more, (list, tuple)) else more
    found = {"call": number, "kind": call.kind, "shape": list(weight.shape), "numbers": numbers}
    return ComputedLayer.model_validate({**found, "bias": bias is not None})


class _Calls(CallWatch):
    def __init__(self, run: _Run) -> None:
        super().__init__()
        self._run = run

    def called(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Note a call whose weight is no parameter, and what is written into one."""
        run = self._run
        kind = kind_of(func)
        if kind is not None and takes_no_parameter(args, kwargs):
            return self._with_weight(kind, func, args, kwargs)
        if func == Tensor.data.__get__:  # type: ignore[attr-defined]
            out = func(*args, **kwargs)
            run.made(out, [args[0]])
            return out
        target = writes_to(func, args)
        name = None if target is None else run.names.get(id(target))
        if name not in run.parameters or not run.is_constant(args[1]):
            return func(*args, **kwargs)
        part = run.frames[-1].name
        if name is not None and name.startswith(f"{part}." if part else ""):
            run.written.setdefault(part, set()).add(name.removeprefix(f"{part}."))
            run.used |= run.sources([args[1]])
        return func(*args, **kwargs)

    def _with_weight(self, kind: str, func: Any, args: Any, kwargs: Any) -> Any:
        run = self._run
        call = _Call(kind, args, kwargs, list(run.frames))
        weight, bias = _tensors(call)
        from_parameters = bool(run.sources([weight]) & run.parameters)
        call.computed = (
            run.is_constant(weight) and from_parameters and id(weight) not in run.names
            and (bias is None or run.is_constant(bias))
            and not run.is_constant(argument(args, kwargs, 0, "input"))
        )  # fmt: skip
        for frame in run.frames:
            frame.calls.append(call)
        run.set_aside = call.computed
        try:
            call.out = func(*args, **kwargs)
        finally:
            run.set_aside = False
        return call.out


class _Operations(OperationWatch):
    def __init__(self, run: _Run) -> None:
        super().__init__()
        self._run = run

    def called(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an operation, and note what it was made of."""
        out = func(*args, **kwargs)
        self._run.made(out, tensors_in((args, kwargs)))
        return out
