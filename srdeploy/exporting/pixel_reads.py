"""Where a network's code reads the image's values into Python.

What it reads there decides what it computes next: which expert of several runs, how often a loop
does. A trace would hold what one photograph decided, for all images. That may not show on any of
the photographs that an export is compared on, so such a network is not traced.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor, nn

from srdeploy.models.module_path import ModulePath
from srdeploy.models.watch import CallWatch, OperationWatch, name_of, tensors_in

READS = (
    "it reads a value of the image into Python, by item(), int(), bool() or as an index, which "
    "decides there what is computed"
)

_READING = frozenset(("item", "tolist", "numpy", "__array__"))
_NEW = frozenset(("lift_fresh", "lift_fresh_copy"))  # numbers of the code become a tensor


def pixel_read(module: nn.Module, x: Tensor) -> tuple[str, str] | None:
    """The first operation that does so, and its layer's name; None: there is none.

    Args:
        module: The network.
        x: An image that it takes, ``[N, C, H, W]``; it is left as it is.
    """
    place = ModulePath()
    watch = _Pixels(place)
    x = x.clone()
    watch.mark(x)
    with (
        contextlib.suppress(_Found, Exception),
        place.following(module),
        torch.no_grad(),
        _Calls(watch),
        watch,
    ):
        module(x)
    return watch.found


class _Found(Exception):
    pass


class _Pixels(OperationWatch):
    """Follows what is made of the image, by the memory that it lies in."""

    def __init__(self, place: ModulePath) -> None:
        super().__init__()
        self.found: tuple[str, str] | None = None
        self._place, self._memory = place, set[int]()

    def mark(self, tensor: Tensor) -> None:
        """It is made of the image."""
        self._memory.add(_memory(tensor))

    def knows(self, tensor: Tensor) -> bool:
        """Whether it is."""
        return _memory(tensor) in self._memory

    def stop(self, operation: str) -> None:
        """Values are read."""
        self.found = operation, self._place.name
        raise _Found

    def called(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an operation, and note whether its results are made of the image."""
        given = tensors_in((args, kwargs))
        name = name_of(func)
        of_image = name not in _NEW and any(map(self.knows, given))
        if of_image and torch.Tag.data_dependent_output in func.tags:
            self.stop(name)
        out = func(*args, **kwargs)
        known = {_memory(tensor) for tensor in given} if name not in _NEW else set()
        for tensor in tensors_in(out):
            if of_image:
                self.mark(tensor)
            elif _memory(tensor) not in known:  # memory that was another's before
                self._memory.discard(_memory(tensor))
        return out


class _Calls(CallWatch):
    """Sees what gives a tensor's values to Python without an operation."""

    def __init__(self, watch: _Pixels) -> None:
        super().__init__()
        self._watch = watch

    def called(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run a call."""
        name = name_of(func)
        if name in _READING and any(map(self._watch.knows, tensors_in(args))):
            self._watch.stop(name)
        return func(*args, **kwargs)


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr() or -id(tensor)
