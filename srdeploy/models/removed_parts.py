"""Parts of a network that are gone: modules that pass their input on, or that add nothing.

A residual block that computes ``x + body(x)`` may go entirely: what is left of it in the module is
an identity. Where code around a body adds it to its stream (``x = x + self.body(x)``), what is left
of the body makes :class:`Nothing`, and the sum is the stream itself. Neither has tensors or
computes anything, and the names of all other layers stay what they were. The card keeps which parts
are gone, and of which layers they were made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from srdeploy.errors import UserError, shown
from srdeploy.models.card import Card, RemovedPart

_SUMS = {"add", "add_", "__add__", "__radd__", "__iadd__"}
_DIFFERENCES = {"sub", "sub_", "__sub__", "__isub__"}


class Passes(nn.Module):
    """Gives back its first argument, whatever else the network's code hands to the part."""

    def forward(self, x: Tensor, *_: object, **__: object) -> Tensor:
        """Anything to the same."""
        return x


class Nothing(Tensor):
    """What a part that is gone would have added.

    Whatever is computed of it is nothing, too; the sum of a tensor and nothing is that tensor.
    """

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name == "__get__":
            return super().__torch_function__(func, types, args, kwargs or {})
        if name in _SUMS or (name in _DIFFERENCES and not isinstance(args[0], Nothing)):
            others = [one for one in args[:2] if not isinstance(one, Nothing)]
            if len(others) == 1 and isinstance(others[0], Tensor):
                return others[0]
        return next(one for one in tree_leaves((args, kwargs)) if isinstance(one, Nothing))


class AddsNothing(nn.Module):
    """In the place of a body, or of a part of one."""

    def forward(self, *_: object, **__: object) -> Tensor:
        """Anything to :class:`Nothing`."""
        return torch.empty(0).as_subclass(Nothing)


def remove_parts(module: nn.Module, parts: Mapping[str, RemovedPart]) -> None:
    """Put what computes nothing in the place of parts, in place.

    Args:
        module: The network.
        parts: By name.

    Raises:
        UserError: a part that the module does not have.
    """
    for name, part in parts.items():
        owner, _, leaf = name.rpartition(".")
        try:
            found = module.get_submodule(name)
        except AttributeError:
            raise _unknown(name) from None
        if found is module:
            raise _unknown(name)
        left = AddsNothing() if part.adds_nothing else Passes()
        module.get_submodule(owner)._modules[leaf] = left.eval()


def is_part(name: str, of: str) -> bool:
    """Whether what has a name is a part, or belongs to it."""
    return name == of or name.startswith(f"{of}.")


def card_without(card: Card, parts: Mapping[str, RemovedPart]) -> Card:
    """The card of a network of which parts are removed.

    Args:
        card: Of the network before.
        parts: By name.
    """
    gone, kept = dict(parts), dict[str, RemovedPart]()
    for name, part in card.removed.items():
        around = next((one for one in gone if is_part(name, one)), None)
        if around is None:
            kept[name] = part
        else:
            layers = dict.fromkeys((*gone[around].layers, *part.layers))
            gone[around] = gone[around].model_copy(update={"layers": [*layers]})

    def stays(name: str) -> bool:
        return not any(is_part(name, one) for one in gone)

    return card.model_copy(
        update={
            "removed": kept | gone,
            "widths": {name: width for name, width in card.widths.items() if stays(name)},
            "shapes": {name: shape for name, shape in card.shapes.items() if stays(name)},
            "numbers": {name: own for name, own in card.numbers.items() if stays(name)},
            "computed": None if card.computed is None else card.computed.where(stays),
        }
    )


def _unknown(name: str) -> UserError:
    return UserError(
        f"The card says that '{shown(name)}' was removed, which the base network does not have; "
        "the file was made for another architecture."
    )
