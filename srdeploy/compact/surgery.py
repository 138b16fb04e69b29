"""Cutting removed channels out of tensors, and proving that nothing else changed."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from srdeploy.errors import SrdeployError
from srdeploy.models.card import Card
from srdeploy.models.network import Network
from srdeploy.models.place import Place
from srdeploy.models.resize import (
    changed_shapes,
    follow_shapes,
    layer_numbers,
    layer_widths,
    replace_tensor,
    resize,
    tensor_places,
)
from srdeploy.models.store import empty_module
from srdeploy.prune.plan import Plan, apply_masks

PROOF_SIZES = ((24, 20), (17, 29))
"""Input heights and widths of the equality check (rounded up to the size multiple)."""

PROOF_TOLERANCES = {torch.float64: 1e-9, torch.float32: 2e-5}
"""Largest accepted difference by precision, as a fraction of the value range."""


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
    stored = dict(small.named_parameters()) | dict(small.named_buffers())
    places = tensor_places(small)
    owners: dict[int, nn.Module] = {}
    for name, dims in plan.keep.items():
        old = stored[name]
        tensor = old.detach()
        for dim, kept in dims.items():
            tensor = tensor.index_select(dim, torch.tensor(kept))
        replace_tensor(places[id(old)], old, tensor.clone())
        owners |= {id(owner): owner for owner, _ in places[id(old)]}
    for owner in owners.values():
        follow_shapes(owner)
    return small


def _card_of(card: Card, small: nn.Module, plan: Plan) -> Card:
    base = empty_module(card.model_copy(update={"shapes": {}}), arch=card.arch)
    shapes = changed_shapes(base, small)
    resize(base, shapes)
    for (name, rebuilt), wanted in zip(
        layer_numbers(base).items(), layer_numbers(small).values(), strict=True
    ):
        if rebuilt != wanted:
            raise SrdeployError(
                f"Layer '{name}' could not be rebuilt from the file ({rebuilt} instead of "
                f"{wanted}): a grouped convolution that was pruned twice; exclude it."
            )
    updated = card.model_copy(
        update={"widths": layer_widths(small), "shapes": shapes, "quality": {}}
    )
    return updated.step(step="prune", method=plan.method, **plan.options)


def prove_equal(masked: nn.Module, small: nn.Module, card: Card) -> dict[str, Any]:
    """Compare two modules on random images, in double precision.

    A network whose own code insists on single precision (constants that are no buffers) is
    compared in that.

    Returns:
        The record: sizes, largest difference (as a fraction of the value range, or of the output
        where that is larger), tolerance.

    Raises:
        SrdeployError: they differ by more than the tolerance, or one does not run.
    """
    generator = torch.Generator().manual_seed(0)
    images = []
    for size in PROOF_SIZES:
        height, width = (-(-n // card.size_multiple) * card.size_multiple for n in size)
        shape = (1, card.channels, height, width)
        image = torch.rand(shape, generator=generator, dtype=torch.float64)
        images.append(image * card.value_range)
    try:
        dtype = torch.float64
        wanted = _run(masked, images, dtype, "masked")
    except SrdeployError:
        dtype = torch.float32
        wanted = _run(masked, images, dtype, "masked")
    got = _run(small, images, dtype, "compact")
    tolerance = PROOF_TOLERANCES[dtype]
    largest = 0.0
    for a, b in zip(wanted, got, strict=True):
        if a.shape != b.shape:
            raise SrdeployError(
                f"The compact network's output has shape {list(b.shape)}, not {list(a.shape)}."
            )
        if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
            raise SrdeployError("The network's output is not finite, so nothing can be compared.")
        reach = max(card.value_range, float(a.abs().max()))
        largest = max(largest, float((a - b).abs().max()) / reach)
    if largest > tolerance:
        raise SrdeployError(
            f"Compaction is not exact: outputs differ by {largest:.2e} of the value range; "
            "no network is written. Please report the architecture."
        )
    return {
        "claim": "masked(x) == compact(x)",
        "dtype": str(dtype).removeprefix("torch."),
        "sizes": [list(image.shape[2:]) for image in images],
        "max_difference": largest,
        "tolerance": tolerance,
    }


def _run(module: nn.Module, images: list[Tensor], dtype: torch.dtype, which: str) -> list[Tensor]:
    module = copy.deepcopy(module).to(dtype).eval()
    place = Place()
    try:
        with place.following(module), torch.no_grad():
            return [module(image.to(dtype)) for image in images]
    except Exception as error:  # whatever the network's own code raises
        detail = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise SrdeployError(
            f"The {which} network does not run: {place} fails ({detail}). If its code relies on "
            "a fixed number of channels, leave the layers before it alone with --exclude."
        ) from error
