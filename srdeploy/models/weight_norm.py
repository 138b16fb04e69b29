"""Weight normalisation by filter: W_i = gamma_i * V_i / ||V_i||.

Salimans and Kingma, "Weight Normalization", NeurIPS 2016, eq. 2, as ASSL (Zhang et al., NeurIPS
2021, section 3.2) uses it: gamma starts at ||W_i||, so attaching it changes nothing but rounding,
and gamma_i then *is* the norm of filter i, which pruning can act on.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from srdeploy.errors import UserError

TINY = 1e-12
"""Norms are not taken below this: a filter of zeros stays zero instead of becoming nan."""


class FilterNorm(nn.Module):
    """The parametrisation; gamma has the weight's dimensions, all but the filters' being 1.

    Args:
        dim: The weight's output dimension (1 for transposed convolutions).
    """

    def __init__(self, dim: int = 0) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, gamma: Tensor, direction: Tensor) -> Tensor:
        """Gamma [N, 1, ...] and V [N, ...] to W [N, ...]."""
        return direction * (gamma / self._norm(direction).clamp_min(TINY))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """W to (gamma, V) = (||W||, W)."""
        return self._norm(weight), weight

    def _norm(self, weight: Tensor) -> Tensor:
        dims = [d for d in range(weight.dim()) if d != self.dim]
        return torch.linalg.vector_norm(weight, dim=dims, keepdim=True)


def attach_weight_norm(module: nn.Module, layers: Iterable[tuple[str, int]]) -> None:
    """Normalise the weights of the named layers, in place; each is (name, output dimension).

    Raises:
        UserError: a layer has a parametrisation of its own already.
    """
    for name, dim in layers:
        layer = module.get_submodule(name)
        if parametrize.is_parametrized(layer):
            raise UserError(
                f"'{name}' is parametrised already (weight or spectral normalisation?); merge "
                "that into its weight first, or exclude the layer."
            )
        parametrize.register_parametrization(layer, "weight", FilterNorm(dim), unsafe=True)


def gamma_name(layer: str) -> str:
    """Name of a normalised layer's gamma in the state dict."""
    return f"{layer}.parametrizations.weight.original0"


def gamma_of(module: nn.Module, layer: str) -> Tensor:
    """Gamma of a normalised layer, a parameter of shape [N, 1, 1, 1]."""
    return module.get_parameter(gamma_name(layer))


def merge_weight_norm(module: nn.Module) -> nn.Module:
    """Put W itself in the place of (gamma, V), in place: to the bit what the network computed."""
    for layer in list(module.modules()):
        if normalised_by_us(layer):
            merge(layer)
    return module


def normalised_by_us(layer: nn.Module) -> bool:
    """Whether a layer's weight is computed by :class:`FilterNorm`."""
    return parametrize.is_parametrized(layer, "weight") and isinstance(
        layer.get_submodule("parametrizations.weight.0"), FilterNorm
    )


def merge(layer: nn.Module) -> None:
    """Put the tensors themselves in the place of what a layer computes them from."""
    # torch's own removal also strips the class, which copies of the layer share.
    computed = {}
    for name, steps in layer.parametrizations.items():  # type: ignore[operator,union-attr]
        trained = any(parameter.requires_grad for parameter in steps.parameters())
        value: Tensor = getattr(layer, name)
        computed[name] = nn.Parameter(value.detach().clone(), requires_grad=trained)
    others = dict(layer._parameters)
    del layer.parametrizations
    layer.__class__ = type(layer).__bases__[0]
    layer._parameters.clear()
    for name, parameter in computed.items():
        layer.register_parameter(name, parameter)
    layer._parameters.update(others)
