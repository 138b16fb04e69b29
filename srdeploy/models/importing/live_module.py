"""Networks of modules that are there already: what a notebook holds, with its weights."""

from __future__ import annotations

import copy
import warnings

import torch
from torch import nn

from srdeploy.errors import UserError
from srdeploy.models.computed_weights import make_copyable
from srdeploy.models.find_computed import with_baked_weights
from srdeploy.models.importing.user_module import describe_module, spec_of
from srdeploy.models.network import Factory, Network
from srdeploy.models.plain_layers import plain_layers

_PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)


def wrap(
    module: nn.Module, *, scale: int | None = None, value_range: float | None = None
) -> Network:
    """Make a network of a live module, whatever it is on, in and trained for.

    The network has tensors of its own: the module can be trained further. What is not given is an
    attribute of the module (``scale``, ``value_range``, ``channels``...,
    :mod:`srdeploy.models.importing.user_module`), or found by running it.

    Args:
        module: Takes ``[N, C, H, W]`` and returns ``[N, C, H * s, W * s]``. What ``torch.compile``
            and data parallelism put around it is taken off.
        scale: Upscaling factor, where running it does not tell: of a module that returns the size
            it takes, which wants its input upscaled beforehand (1: it does not upscale).
        value_range: Pixels run from 0 to this, 1 or 255; default: the range in which it upscales a
            photograph better than bicubic, else 1, and the network's history says so.

    Raises:
        UserError: something else than a module, one that cannot be copied or run on an image, or
            whose scale running it does not tell.

    Example:
        >>> small = sr.prune(sr.wrap(model, value_range=255), 0.5)
    """
    if not isinstance(module, nn.Module):
        raise UserError(
            f"sr.wrap takes a torch module, not a {type(module).__name__}; files, and names of "
            "shipped networks, are for sr.load."
        )
    live = _bare(module)
    spec = spec_of(live)
    if isinstance(live, torch.jit.ScriptModule):
        raise UserError(
            "A TorchScript program has no layers to prune; give the module that it was made from."
        )
    try:
        make_copyable(live)
        own = plain_layers(copy.deepcopy(live).cpu().float().eval())
    except Exception as error:  # whatever the user's code holds
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise UserError(
            f"'{spec}' cannot be copied ({reason}); give a new module with its state dict."
        ) from error
    card, assumed = describe_module(own, spec, scale, value_range)
    if card.scale == 1 and scale is None:
        raise UserError(
            f"'{spec}' returns images of the size it takes: if it wants them upscaled beforehand, "
            "say by how much, sr.wrap(module, scale=2); if it upscales nothing, scale=1."
        )
    for one in assumed:
        warnings.warn(f"'{spec}': assumed that {one}", stacklevel=2)
    card = card.step(step="import", recognised_as=spec, assumed=[*assumed])
    return with_baked_weights(Network(own, card, _maker(own)))


def _bare(module: nn.Module) -> nn.Module:
    """The module within what was put around it."""
    while True:
        inner = getattr(module, "_orig_mod", None)  # of torch.compile
        if isinstance(module, _PARALLEL):
            inner = module.module
        if not isinstance(inner, nn.Module):
            return module
        module = inner


def _maker(module: nn.Module) -> Factory:
    """Makes modules of the same shapes; what it holds on to needs no memory for numbers."""
    shapes = copy.deepcopy(module)
    try:
        shapes = shapes.to("meta")
    except Exception:  # no ordinary module
        shapes = copy.deepcopy(module)
    return lambda: copy.deepcopy(shapes)
