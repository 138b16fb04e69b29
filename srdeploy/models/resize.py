"""Giving a base network the shapes of a pruned one, and reading widths off a module."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from srdeploy.errors import UserError, shown
from srdeploy.models.code_numbers import is_number_name, set_code_numbers

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm)
_KNOWN = (*_CONVS, *_TRANSPOSED, nn.Linear, nn.PReLU, *_NORMS)


def layer_widths(module: nn.Module) -> dict[str, int]:
    """Output channels of every convolution and linear layer, in the module's order."""
    widths: dict[str, int] = {}
    for name, layer in module.named_modules():
        if isinstance(layer, (*_CONVS, *_TRANSPOSED)):
            widths[name] = layer.out_channels
        elif isinstance(layer, nn.Linear):
            widths[name] = layer.out_features
    return widths


_NUMBERS = (
    "in_channels", "out_channels", "groups", "in_features", "out_features", "num_features",
    "num_parameters", "num_groups", "num_channels",
)  # fmt: skip


def layer_numbers(module: nn.Module) -> dict[str, dict[str, int]]:
    """Every layer's own channel numbers (``in_channels``, ``groups``, ``num_features``...)."""
    return {
        name: {key: int(vars(layer)[key]) for key in _NUMBERS if key in vars(layer)}
        for name, layer in module.named_modules()
        if isinstance(layer, _KNOWN)
    }


def own_numbers(module: nn.Module) -> dict[str, int]:
    """Whole numbers among a module's attributes, and in its lists and tuples (``sizes[1]``).

    Numbers of torch's own layers, of which the tensors decide, are none of them.
    """
    found: dict[str, int] = {}
    if type(module).__module__.startswith("torch.nn"):
        return found
    for name, value in vars(module).items():
        if name.startswith("_"):
            continue
        listed = value if isinstance(value, (list, tuple)) else ()
        for key, number in ((name, value), *((f"{name}[{i}]", n) for i, n in enumerate(listed))):
            if isinstance(number, int) and not isinstance(number, bool) and number > 0:
                found[key] = number
    return found


def set_number(module: nn.Module, name: str, value: int) -> None:
    """Give one of :func:`own_numbers` another value."""
    name, listed, index = name.partition("[")
    if not listed:
        setattr(module, name, value)
        return
    old, at = getattr(module, name), int(index.rstrip("]"))
    setattr(module, name, type(old)(value if i == at else one for i, one in enumerate(old)))


def set_numbers(module: nn.Module, numbers: Mapping[str, Mapping[str, int]]) -> None:
    """Give parts of a network the numbers by which their code cuts channels.

    Args:
        module: The network.
        numbers: Names of parts to names and values of their own numbers, or of those in their code
            (:mod:`srdeploy.models.code_numbers`).

    Raises:
        UserError: a part or number that the module does not have, or one that would grow.
    """
    for part, values in numbers.items():
        try:
            owner = module.get_submodule(part)
        except AttributeError:
            raise _no_number(part) from None
        own = own_numbers(owner)
        if in_code := {name: n for name, n in values.items() if is_number_name(name)}:
            set_code_numbers(owner, in_code)
        for name, value in values.items():
            if name in in_code:
                continue
            if not 1 <= value <= own.get(name, 0):
                raise _no_number(f"{part}.{name}")
            set_number(owner, name, value)


def _no_number(name: str) -> UserError:
    return UserError(
        f"The card gives '{shown(name)}' a number that the base network does not have, or a larger "
        "one; the file was made for another architecture."
    )


def tensor_shapes(module: nn.Module) -> dict[str, list[int]]:
    """Shape of every parameter and persistent buffer."""
    return {name: list(tensor.shape) for name, tensor in module.state_dict().items()}


def changed_shapes(base: nn.Module, module: nn.Module) -> dict[str, list[int]]:
    """The tensors of ``module`` whose shape is not that of ``base``: its width map."""
    original = tensor_shapes(base)
    return {
        name: shape for name, shape in tensor_shapes(module).items() if original.get(name) != shape
    }


def resize(module: nn.Module, shapes: Mapping[str, list[int]]) -> None:
    """Replace, in place, the named tensors by uninitialised ones of the given shapes.

    Layers' own numbers (``in_channels``, ``groups``, ``num_features``...) follow their tensors.

    Raises:
        UserError: a name that the module does not have, or another number of dimensions.
    """
    places = tensor_places(module)
    replaced: set[int] = set()
    owners: dict[int, nn.Module] = {}
    for name, shape in shapes.items():
        owner_name, _, leaf = name.rpartition(".")
        try:
            owner = module.get_submodule(owner_name)
            old = getattr(owner, leaf)
        except AttributeError:
            raise UserError(
                f"The width map names '{name}', which the base network does not have; "
                "the file was made for another architecture."
            ) from None
        if id(old) in replaced:  # a tied tensor, named a second time
            if list(old.shape) != shape:
                raise UserError(f"The width map gives the shared tensor '{name}' two shapes.")
            continue
        if old.dim() != len(shape) or any(n < 1 for n in shape):
            raise UserError(f"The width map gives '{name}' the impossible shape {shape}.")
        replaced.add(id(replace_tensor(places[id(old)], old, old.new_empty(shape))))
        owners |= {id(place): place for place, _ in places[id(old)]}
    for owner in owners.values():
        follow_shapes(owner)


def tensor_places(module: nn.Module) -> dict[int, list[tuple[nn.Module, str]]]:
    """Identity of each parameter and buffer to its owners and names: tied ones have several."""
    places: dict[int, list[tuple[nn.Module, str]]] = {}
    for owner in module.modules():
        for leaf, tensor in [*owner._parameters.items(), *owner._buffers.items()]:
            if tensor is not None:
                places.setdefault(id(tensor), []).append((owner, leaf))
    return places


def replace_tensor(
    places: list[tuple[nn.Module, str]], old: torch.Tensor, value: torch.Tensor
) -> torch.Tensor:
    """Put ``value`` wherever ``old`` is, keeping its kind, ``requires_grad`` and ties.

    Returns:
        The new parameter or buffer.
    """
    if isinstance(old, nn.Parameter):
        parameter = nn.Parameter(value, requires_grad=old.requires_grad)
        for owner, leaf in places:
            owner._parameters[leaf] = parameter
        return parameter
    for owner, leaf in places:
        owner._buffers[leaf] = value
    return value


def follow_shapes(layer: nn.Module) -> None:
    """Set a layer's own channel numbers from the shapes of its tensors.

    A grouped convolution keeps its number of groups, a depthwise one has as many groups as
    inputs: pruning never changes which of the two it is.
    """
    if isinstance(layer, _CONVS):
        depthwise = layer.groups > 1 and layer.groups == layer.in_channels
        multiplier = layer.out_channels // layer.groups
        layer.out_channels = layer.weight.shape[0]
        if depthwise:  # down to one input it is an ordinary convolution, of any width
            layer.groups = max(layer.out_channels // multiplier, 1)
        layer.in_channels = layer.weight.shape[1] * layer.groups
    elif isinstance(layer, _TRANSPOSED):
        depthwise = layer.groups > 1 and layer.groups == layer.in_channels
        layer.in_channels = layer.weight.shape[0]
        if depthwise:
            layer.groups = layer.in_channels
        layer.out_channels = layer.weight.shape[1] * layer.groups
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = layer.weight.shape[0]
    elif isinstance(layer, (nn.modules.batchnorm._NormBase)):
        sized = layer.weight if layer.weight is not None else layer.running_mean
        if sized is not None:
            layer.num_features = sized.shape[0]
    elif isinstance(layer, nn.GroupNorm) and layer.weight is not None:
        group = layer.num_channels // layer.num_groups  # whole groups are pruned
        layer.num_groups = layer.weight.shape[0] // group
        layer.num_channels = layer.weight.shape[0]
