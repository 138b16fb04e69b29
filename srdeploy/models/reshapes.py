"""Reshapes whose numbers come from elsewhere in a network's code: given others while it runs.

Code like ``y.reshape(b, n, 3, heads, c // heads)``, where ``c`` is the width of another tensor,
cannot run with fewer channels of ``y``. In a pruned network such a part runs with the numbers that
fit: where its code, or that of a layer inside it, asks ``view`` or ``reshape`` for the sizes that
the unpruned network had, those that are numbers of channels are replaced. A call that asks for
others, as code does that takes its numbers from the tensor itself, is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_RESHAPES = (Tensor.view, Tensor.reshape, torch.reshape)
_NAME = re.compile(r"reshape \(((?:\d+|\?)(?:, (?:\d+|\?))*)\)\[(\d+)\]")

Asked = tuple[int | None, ...]
"""Sizes by which a call is recognised; None for those that are no numbers of channels."""


def number_name(asked: Asked, dim: int) -> str:
    """The name of one size of a reshape among the numbers of a part."""
    told = ", ".join("?" if size is None else str(size) for size in asked)
    return f"reshape ({told})[{dim}]"


def is_number_name(name: str) -> bool:
    """Whether it is one that :func:`number_name` gives."""
    return _NAME.fullmatch(name) is not None


def fits(asked: Asked, sizes: Sequence[Any]) -> bool:
    """Whether a call that asks for these sizes is recognised (-1 stands for any)."""
    return len(asked) == len(sizes) and all(
        own is None or int(size) in (own, -1) for own, size in zip(asked, sizes, strict=True)
    )


def sizes_asked(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any] | None:
    """The sizes that a call reshapes a tensor to; None for all other calls."""
    if func not in _RESHAPES or kwargs or len(args) < 2:
        return None
    sizes = args[1] if len(args) == 2 and isinstance(args[1], (list, tuple)) else args[1:]
    return None if any(isinstance(size, torch.dtype) for size in sizes) else list(sizes)


def set_reshapes(part: nn.Module, numbers: Mapping[str, int]) -> None:
    """Let the code of a part run with other numbers in its reshapes; in place.

    Args:
        part: A network or a part of one. Numbers that it has been given before stay: what they
            give is what further ones recognise.
        numbers: By names of :func:`number_name`.
    """
    if not isinstance(part, _Resized):
        part.__class__ = _resized(type(part))
        part._reshapes = {}  # type: ignore[assignment]
    known: dict[Asked, dict[int, int]] = part._reshapes  # type: ignore[assignment]
    for name, number in numbers.items():
        found = _NAME.fullmatch(name)
        assert found is not None
        told, dim = found.groups()
        asked = tuple(None if size == "?" else int(size) for size in told.split(", "))
        known.setdefault(asked, {})[int(dim)] = number


class _Resized(nn.Module):
    """What the class of such a part is also derived from; a copy of the part is one, too."""


_CLASSES: dict[type[nn.Module], type[nn.Module]] = {}


def _resized(kind: type[nn.Module]) -> type[nn.Module]:
    """The same class, whose ``forward`` runs with other numbers."""
    if kind in _CLASSES:
        return _CLASSES[kind]

    @wraps(kind.forward)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _Numbers(self._reshapes.items()):
            return kind.forward(self, *args, **kwargs)

    own = {"forward": forward, "__module__": kind.__module__, "__doc__": kind.__doc__}
    made = _CLASSES[kind] = type(kind.__name__, (kind, _Resized), own)
    return made


class _Numbers(TorchFunctionMode):
    def __init__(self, numbers: Iterable[tuple[Asked, Mapping[int, int]]]) -> None:
        super().__init__()
        self._numbers = numbers

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        sizes = sizes_asked(func, args, kwargs or {})
        if sizes is None:
            return func(*args, **(kwargs or {}))
        for asked, given in self._numbers:
            if fits(asked, sizes):
                sizes = [
                    size if i not in given or int(size) == -1 else given[i]
                    for i, size in enumerate(sizes)
                ]
        return func(args[0], sizes)
