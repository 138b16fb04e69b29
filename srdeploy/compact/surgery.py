"""Cutting removed channels out of tensors, and proving that nothing else changed."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from srdeploy.errors import SrdeployError
from srdeploy.models.card import Card
from srdeploy.models.network import Network
from srdeploy.models.resize import changed_shapes, follow_shapes, layer_widths, replace_tensor
from srdeploy.models.store import empty_module
from srdeploy.prune.plan import Plan, apply_masks

PROOF_SIZES = ((24, 20), (17, 29))
"""Input heights and widths of the equality check (rounded up to the size multiple)."""

PROOF_TOLERANCE = 1e-9
"""Largest accepted difference in double precision, as a fraction of the value range."""


def compact(network: Network, plan: Plan) -> Network:
    """Remove a plan's channels physically.

    The result computes what the masked network computes: this is checked in double precision at
    two sizes, and the record of the check is stored on the card.

    Raises:
        SrdeployError: masked and compact networks differ, or the compact one does not run (a
            network of the user's own that relies on a fixed number of channels).
    """
    masked = copy.deepcopy(network.module)
    apply_masks(masked, plan)
    small = cut(masked, plan)
    card = _card_of(network.card, small, plan)
    proof = prove_equal(masked, small, card)
    return Network(small.eval(), card.model_copy(update={"proof": proof}))


def cut(module: nn.Module, plan: Plan) -> nn.Module:
    """A copy of ``module`` with only the kept indices on every axis of the plan."""
    small = copy.deepcopy(module)
    owners: dict[str, nn.Module] = {}
    for name, dims in plan.keep.items():
        owner_name, _, leaf = name.rpartition(".")
        owner = owners.setdefault(owner_name, small.get_submodule(owner_name))
        tensor = getattr(owner, leaf).detach()
        for dim, kept in dims.items():
            tensor = tensor.index_select(dim, torch.tensor(kept))
        replace_tensor(owner, leaf, tensor.clone())
    for owner in owners.values():
        follow_shapes(owner)
    return small


def _card_of(card: Card, small: nn.Module, plan: Plan) -> Card:
    base = empty_module(card.model_copy(update={"shapes": {}}), arch=card.arch)
    updated = card.model_copy(
        update={"widths": layer_widths(small), "shapes": changed_shapes(base, small), "quality": {}}
    )
    return updated.step(step="prune", method=plan.method, **plan.options)


def prove_equal(masked: nn.Module, small: nn.Module, card: Card) -> dict[str, Any]:
    """Compare two modules on random images in double precision.

    Returns:
        The record: sizes, largest difference (as a fraction of the value range), tolerance.

    Raises:
        SrdeployError: they differ by more than :data:`PROOF_TOLERANCE`, or one does not run.
    """
    reference, candidate = (copy.deepcopy(m).double().eval() for m in (masked, small))
    generator = torch.Generator().manual_seed(0)
    largest = 0.0
    sizes = []
    for size in PROOF_SIZES:
        height, width = (-(-n // card.size_multiple) * card.size_multiple for n in size)
        shape = (1, card.channels, height, width)
        x = torch.rand(shape, generator=generator, dtype=torch.float64) * card.value_range
        with torch.no_grad():
            try:
                wanted, got = reference(x), candidate(x)
            except RuntimeError as error:
                raise SrdeployError(
                    "The compact network does not run; its code relies on a fixed number of "
                    f"channels ({error}); leave those layers alone with --exclude."
                ) from error
        if wanted.shape != got.shape or not torch.isfinite(got).all():
            raise SrdeployError("The compact network's output has another shape or is not finite.")
        largest = max(largest, float((wanted - got).abs().max()) / card.value_range)
        sizes.append([height, width])
    if largest > PROOF_TOLERANCE:
        raise SrdeployError(
            f"Compaction is not exact: outputs differ by {largest:.2e} of the value range; "
            "no network is written. Please report the architecture."
        )
    return {
        "claim": "masked(x) == compact(x)",
        "dtype": "float64",
        "sizes": sizes,
        "max_difference": largest,
        "tolerance": PROOF_TOLERANCE,
    }
