"""An intercepted operation, and the error for one that cannot be followed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from srdeploy.models.watch import tensors_in
from srdeploy.prune.tracing.channel_labels import (
    ChannelLabels,
    Labelling,
    UnsupportedOperationError,
)


@dataclass
class Call:
    """One intercepted operation.

    Attributes:
        func: The aten operator.
        name: Its name without overload and trailing underscore.
        args: Positional arguments, an in-place target as it was before.
        kwargs: Keyword arguments.
        out: What it returned.
        original: The positional arguments themselves (to look labels up by identity).
        in_place: Whether it wrote into its first argument.
    """

    func: Any
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Any
    original: tuple[Any, ...]
    in_place: bool

    def argument(self, name: str) -> Any:
        """An argument by its name in the operator's schema (None when absent)."""
        for position, formal in enumerate(self.func._schema.arguments):
            if formal.name == name:
                if position < len(self.args):
                    return self.args[position]
                return self.kwargs.get(name, formal.default_value)
        return None

    def tensors_out(self) -> list[Tensor]:
        """Every tensor it returned."""
        return tensors_in(self.out)


Rule = Callable[[Labelling, Call], None]
"""Sees an operation after it has run, ties and freezes channels, and labels the outputs."""


def unsupported(labelling: Labelling, call: Call, what: str) -> UnsupportedOperationError:
    """The error for an operation that cannot be followed: it names operation and layer."""
    return UnsupportedOperationError(
        f"Cannot follow channels through '{call.name}' in {labelling.place} ({what}); "
        "this network cannot be pruned unless that layer is written differently."
    )


def labels_of_first(labelling: Labelling, call: Call) -> ChannelLabels:
    """Channel labels of the first argument, which most rules are about."""
    labelled = labelling.labels_of(call.original[0])
    if labelled is None:
        raise unsupported(labelling, call, "applied to a tensor that does not come from the image")
    return labelled


def no_rule(labelling: Labelling, call: Call) -> None:
    """For operations whose effect on channels is unknown."""
    raise unsupported(labelling, call, "an operation without a rule")
