"""Additions that a layer's output goes straight into: there its error and a skip's meet.

In ``z = skip + layer(x)`` a refitted layer can make up for what the skip has already lost, if it is
fitted to ``z``. So calls of addition are watched, and a layer's output is followed up to one, also
through a multiplication by a number (residual scaling).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from srdeploy.models.watch import CallWatch

_ADD = (torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__radd__, Tensor.__iadd__)
_MULTIPLY = (
    *(torch.mul, torch.multiply, Tensor.mul, Tensor.mul_, Tensor.__mul__),
    *(Tensor.__rmul__, Tensor.__imul__, Tensor.multiply),
)


@dataclass
class Term:
    """The latest layer's output, on its way.

    Attributes:
        layer: The layer's name.
        value: What it has become.
        factor: What its output was multiplied by so far.
    """

    layer: str
    value: Tensor
    factor: float = 1.0


class SumWatch(CallWatch):
    """Tells of the additions that the latest layer's output goes straight into.

    Args:
        on_sum: Called with the term and the other summand before the addition runs; it may write
            into ``term.value``. It returns what is to be called with the sum, or None.
    """

    def __init__(self, on_sum: Callable[[Term, Tensor], Callable[[Tensor], None] | None]) -> None:
        super().__init__()
        self._on_sum = on_sum
        self._term: Term | None = None

    def follow(self, layer: str, output: Tensor) -> None:
        """A layer has run: its output is followed, an earlier one no longer."""
        self._term = Term(layer, output)

    def called(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a call, and follow the term through it."""
        term = self._term
        if term is None or not any(one is term.value for one in args):
            return func(*args, **kwargs)
        if func in _ADD and not kwargs and len(args) == 2:
            first, second = args
            other = second if first is term.value else first
            if _like(other, term.value):
                self._term = None
                then = self._on_sum(term, other)
                result = func(*args)
                if then is not None:
                    then(result)
                return result
        elif func in _MULTIPLY and not kwargs and len(args) == 2:
            first, second = args
            factor = second if first is term.value else first
            result = func(*args)
            if isinstance(factor, (int, float)) and factor:
                self._term = Term(term.layer, result, term.factor * factor)
            return result
        result = func(*args, **kwargs)
        if result is term.value or func is Tensor.__setitem__:  # changed in place
            self._term = None
        return result


def _like(other: Any, value: Tensor) -> bool:
    """Whether it is another tensor of the same shape."""
    return isinstance(other, Tensor) and other is not value and other.shape == value.shape
