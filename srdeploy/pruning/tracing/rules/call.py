"""An intercepted operation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from srdeploy.models.watch import tensors_in
from srdeploy.pruning.tracing.channel_labels import ChannelLabels, Labelling, NotFollowedError


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

    @property
    def written(self) -> list[Tensor]:
        """Every tensor that it wrote into."""
        formals = self.func._schema.arguments
        given = {a.name: value for a, value in zip(formals, self.original, strict=False)}
        given |= self.kwargs
        return tensors_in([given.get(formals[i].name) for i in written_arguments(self.func)])

    def tensors_out(self) -> list[Tensor]:
        """Every tensor it returned."""
        return tensors_in(self.out)


def written_arguments(func: Any) -> list[int]:
    """Positions of the arguments that an operator writes into."""
    aliases = [formal.alias_info for formal in func._schema.arguments]
    return [i for i, alias in enumerate(aliases) if alias is not None and alias.is_write]


Rule = Callable[[Labelling, Call], None]
"""Sees an operation after it has run, ties and freezes channels, and labels the outputs; raises
NotFollowedError where it cannot tell."""


def labels_of_first(labelling: Labelling, call: Call) -> ChannelLabels:
    """Channel labels of the first argument, which most rules are about.

    Raises:
        NotFollowedError: it has none.
    """
    labelled = labelling.labels_of(call.original[0])
    if labelled is None:
        raise NotFollowedError("applied to a tensor that does not come from the image")
    return labelled


def no_rule(labelling: Labelling, call: Call) -> None:
    """For operations whose effect on channels is unknown."""
    raise NotFollowedError("no rule for it")
