"""Weights that a network's own code computes at every run, computed once.

Re-parameterised convolutions compute one kernel from several, weight standardisation computes it
from one, others scale it by a learned vector. While a network is not trained such a weight is a
constant. It becomes the weight of a plain layer, which can be pruned, exported and counted:

- A part that does nothing but one such convolution is replaced by it.
- Another part runs its own code, in which the call takes the layer ``computed_0``, ``computed_1``
  ... instead of the weight that the code hands over. It always runs as in evaluation mode, as its
  code may do something else in training, with tensors that are no longer there.
- Code that writes what it computed into a parameter of a layer writes no more.

What is left of the tensors that the weights were computed from is neither stored nor trained. Where
there are such parts, :mod:`srdeploy.models.find_computed` finds; the card keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from srdeploy.errors import UserError, shown
from srdeploy.models.computed import Computed, ComputedLayer, ComputedPart
from srdeploy.models.watch import argument, name_of

_LAYERS: dict[str, type[nn.Module]] = {
    "conv1d": nn.Conv1d, "conv2d": nn.Conv2d, "conv3d": nn.Conv3d,
    "conv_transpose1d": nn.ConvTranspose1d, "conv_transpose2d": nn.ConvTranspose2d,
    "conv_transpose3d": nn.ConvTranspose3d, "linear": nn.Linear,
}  # fmt: skip
_FUNCTIONS = {getattr(functional, kind): kind for kind in _LAYERS} | {
    getattr(torch, kind): kind for kind in _LAYERS if hasattr(torch, kind)
}


def kind_of(func: Any) -> str | None:
    """Which layer a function computes, where it takes a weight."""
    try:
        return _FUNCTIONS.get(func)
    except TypeError:  # no hash
        return None


def takes_no_parameter(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether the weight of such a call is something else than a parameter."""
    return not isinstance(argument(args, dict(kwargs), 1, "weight"), nn.Parameter)


def writes_to(func: Any, args: tuple[Any, ...]) -> Tensor | None:
    """The tensor that a call sets to another value as a whole."""
    sets = name_of(func) == "copy_" or func == torch.Tensor.data.__set__  # type: ignore[attr-defined]
    return args[0] if sets and args and isinstance(args[0], Tensor) else None


def bake(module: nn.Module, computed: Computed) -> nn.Module:
    """Give a network the layers that stand for what it computes, with any numbers, in place.

    Args:
        module: As its own code makes it.
        computed: What it computes.

    Returns:
        The module, or what stands in its place.

    Raises:
        UserError: a part or tensor that the module does not have.
    """
    try:
        for name, part in computed.parts.items():
            owner = module.get_submodule(name)
            if part.whole:
                module = put(module, name, _layer(part.layers[0]))
            else:
                _redirect(owner, part)
        for name in computed.idle:
            place, _, leaf = name.rpartition(".")
            try:
                owner = module.get_submodule(place)
            except AttributeError:
                continue  # of a part that was replaced
            if leaf in owner._parameters or leaf in owner._buffers:
                _forget(owner, leaf)
    except (AttributeError, IndexError, KeyError, ValueError, RuntimeError) as error:
        raise UserError(
            f"The card names a computed weight that the base network does not have "
            f"({shown(str(error))}); the file was made for another architecture."
        ) from error
    return module


def put(module: nn.Module, name: str, layer: nn.Module) -> nn.Module:
    """Put a layer in the place of a part; returns the network."""
    if not name:
        return layer
    place, _, leaf = name.rpartition(".")
    setattr(module.get_submodule(place), leaf, layer.train(module.training))
    return module


def layer_name(call: int) -> str:
    """Of the layer that stands for a call, in its part."""
    return f"computed_{call}"


def _layer(made: ComputedLayer) -> nn.Module:
    """A layer without numbers (on the meta device)."""
    kind, shape, groups = _LAYERS[made.kind], made.shape, made.numbers.get("groups", 1)
    if made.kind == "linear":
        return nn.Linear(shape[1], shape[0], made.bias, device="meta")
    assert isinstance(groups, int)
    first, second = shape[0], shape[1] * groups
    channels = (first, second) if "transpose" in made.kind else (second, first)
    return kind(*channels, tuple(shape[2:]), bias=made.bias, device="meta", **{
        name: tuple(value) if isinstance(value, list) else value
        for name, value in made.numbers.items()
    })  # fmt: skip


def _forget(owner: nn.Module, leaf: str) -> None:
    """A tensor that is read by nothing that counts is neither stored nor trained."""
    tensor = owner._parameters.pop(leaf, None)
    if tensor is not None:
        owner.register_buffer(leaf, tensor.detach(), persistent=False)
    else:
        owner._non_persistent_buffers_set.add(leaf)


def _redirect(part: nn.Module, computed: ComputedPart) -> None:
    for made in computed.layers:
        part.add_module(layer_name(made.call), _layer(made))
    for name in computed.written:
        part.get_parameter(name)
    part.__class__ = _class(type(part))
    part._computed = computed  # type: ignore[assignment]
    part.train(part.training)


class _Baked(nn.Module):
    """What the class of such a part is also derived from."""


_CLASSES: dict[type[nn.Module], type[nn.Module]] = {}


def _class(kind: type[nn.Module]) -> type[nn.Module]:
    if issubclass(kind, _Baked):
        return kind
    if kind in _CLASSES:
        return _CLASSES[kind]

    @wraps(kind.forward)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _Mode(self, self._computed):
            return kind.forward(self, *args, **kwargs)

    def train(self: Any, mode: bool = True) -> Any:
        kind.train(self, mode)
        self.training = False
        return self

    own = {"forward": forward, "train": train, "__module__": kind.__module__}
    made = _CLASSES[kind] = type(kind.__name__, (kind, _Baked), own)
    return made


class _Mode(TorchFunctionMode):
    """Hands calls over to the layers that stand for them."""

    def __init__(self, part: nn.Module, computed: ComputedPart) -> None:
        super().__init__()
        self._part, self._layers = part, {made.call: made for made in computed.layers}
        self._written = {id(part.get_parameter(name)) for name in computed.written}
        self._calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if kind_of(func) is not None and takes_no_parameter(args, kwargs):
            made = self._layers.get(self._calls)
            self._calls += 1
            if made is not None:
                weight = argument(args, kwargs, 1, "weight")
                if kind_of(func) != made.kind or list(weight.shape) != made.shape:
                    raise RuntimeError("its code makes other calls than when it was looked at")
                layer = self._part.get_submodule(layer_name(made.call))
                return layer(argument(args, kwargs, 0, "input"))
        target = writes_to(func, args) if self._written else None
        if id(target) in self._written:
            return target
        return func(*args, **kwargs)
