"""Weights that are computed at every run (weight and spectral normalisation): computed once.

Training needs them as they are; what is imported is not trained on with them. As plain weights the
layers can be pruned and exported like others, and compute the same.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.spectral_norm import (
    SpectralNorm,
    SpectralNormLoadStateDictPreHook,
    remove_spectral_norm,
)
from torch.nn.utils.weight_norm import WeightNorm, remove_weight_norm

from srdeploy.models.weight_norm import merge, normalised_by_us

_OLD = {WeightNorm: remove_weight_norm, SpectralNorm: remove_spectral_norm}


def compute_weights(module: nn.Module) -> nn.Module:
    """Put weights in the place of what they are computed from, in place.

    Known are torch's parametrisations (``torch.nn.utils.parametrizations``) and the hooks that they
    replaced (``torch.nn.utils.weight_norm``, ``spectral_norm``).

    Returns:
        The module.
    """
    for layer in list(module.modules()):
        for hook in _hooks(layer):
            given = (value for name, value in layer._parameters.items() if name != "bias")
            trained = any(value.requires_grad for value in given if value is not None)
            _OLD[type(hook)](layer, hook.name)
            getattr(layer, hook.name).requires_grad_(trained)
        for number, one in list(layer._load_state_dict_pre_hooks.items()):
            if isinstance(getattr(one, "hook", one), SpectralNormLoadStateDictPreHook):
                del layer._load_state_dict_pre_hooks[number]  # torch leaves it behind
        if parametrize.is_parametrized(layer) and not normalised_by_us(layer):
            merge(layer)
    return module


def make_copyable(module: nn.Module) -> None:
    """Let ``copy.deepcopy`` take a module with old hooks, by detaching what they compute anew."""
    for layer in module.modules():
        for hook in _hooks(layer):
            setattr(layer, hook.name, getattr(layer, hook.name).detach())


def _hooks(layer: nn.Module) -> list[Any]:
    return [hook for hook in layer._forward_pre_hooks.values() if type(hook) in _OLD]
