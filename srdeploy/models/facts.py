"""Whether a card tells the truth of its network, as far as architecture and weights show it.

A card travels with the weights and may be damaged, or written by hand: what it says of value range,
scale, channels and reach decides how pictures are cut, folded and put together again, and a wrong
word gives a wrong picture without an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from srdeploy.errors import UserError, shown
from srdeploy.models.card import Card
from srdeploy.models.resize import layer_widths

_MEAN_TOLERANCE = 2e-4  # of the value range: a published mean stands for one that is near


def check_shapes(card: Card, shapes: Mapping[str, tuple[int, ...]], source: str) -> None:
    """See that what the card makes us build is no larger than what the file holds.

    Args:
        card: The card.
        shapes: Of the file's tensors, by name.
        source: The file, for messages.

    Raises:
        UserError: a width or shape on the card is not that of the file's tensor.
    """
    for name, shape in card.shapes.items():
        if shapes.get(name) != tuple(shape):
            raise _unfit(source, f"'{shown(name)}' has another shape there")
    for name in card.widths if ":" not in card.arch else ():
        if f"{name}.weight" not in shapes:
            raise _unfit(source, f"there is no layer '{shown(name)}'")


def check_card(card: Card, module: nn.Module, source: str) -> None:
    """Compare the card with the module that holds the weights.

    Raises:
        UserError: a fact on the card is not the one that ``arch``, ``config`` and the weights
            imply; it is named.
    """
    if layer_widths(module) != card.widths:
        raise UserError(f"The widths on the card of '{source}' are not those of its tensors.")
    if ":" in card.arch:
        return  # the user's own: only its tensors are known
    implied = {**_DEFAULTS, **module.facts()}  # type: ignore[operator]
    implied["mean_shift"] = implied["mean_shift"] and _stored_mean(module, card.value_range)
    for name, value in implied.items():
        if not _agree(name, getattr(card, name), value, card):
            raise UserError(
                f"The card of '{source}' says {name} {getattr(card, name)}, but its architecture "
                f"and weights imply {value}; the file is damaged, take another copy."
            )


_DEFAULTS: dict[str, Any] = {
    name: Card.model_fields[name].default
    for name in ("luma_only", "pre_upscaled", "mean_shift", "size_multiple", "smallest")
}


def _agree(name: str, said: Any, implied: Any, card: Card) -> bool:
    if name == "scales" and card.pre_upscaled:  # its weights serve any factor
        return set(implied) <= set(said)
    if name == "mean_shift" and said is not None and implied is not None:
        return len(said) == len(implied) and all(
            abs(a - b) <= _MEAN_TOLERANCE for a, b in zip(said, implied, strict=True)
        )
    return bool(said == implied)


def _stored_mean(module: nn.Module, value_range: float) -> tuple[float, ...]:
    bias = module.get_parameter("sub_mean.bias")
    return tuple(round(-float(b) / value_range, 6) for b in bias)


def check_weights(
    tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: str
) -> None:
    """See that numbers are finite, and of the kind the network has (float32, or whole numbers).

    Raises:
        UserError: one is not; it is named.
    """
    for name, tensor in tensors.items():
        kind = expected[name].dtype if name in expected else tensor.dtype
        if tensor.dtype != (torch.float32 if kind.is_floating_point else kind):
            raise _unfit(source, f"'{shown(name)}' holds numbers of the type {tensor.dtype}")
        check_finite(tensor, name, source)


def check_finite(tensor: Tensor, name: str, source: str) -> None:
    """Refuse NaN and infinity.

    Raises:
        UserError: there is one.
    """
    if not torch.isfinite(tensor).all():
        raise UserError(
            f"Tensor '{shown(name)}' in '{source}' contains NaN or infinity; "
            "the training that wrote it diverged, take an earlier checkpoint."
        )


def _unfit(source: str, detail: str) -> UserError:
    return UserError(f"The tensors in '{source}' do not fit its card: {detail}.")
