"""Which layer is running: for messages that name the place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


def place_named(name: str) -> str:
    """A layer in a sentence; the network itself has the name ``""``."""
    return f"'{name}'" if name else "the network's own forward"


class ModulePath:
    """The stack of layers that are running now. An exception leaves it as it was when raised."""

    def __init__(self) -> None:
        self._stack: list[tuple[str, nn.Module]] = []

    @property
    def name(self) -> str:
        """Of the layer, empty for the network itself."""
        return self._stack[-1][0] if self._stack else ""

    def __str__(self) -> str:
        return place_named(self.name)

    @property
    def innermost(self) -> nn.Module | None:
        """The layer that runs, of those that run now the last to be called."""
        return self._stack[-1][1] if self._stack else None

    def names(self) -> list[str]:
        """Of all layers that run, the network itself first."""
        return [name for name, _ in self._stack]

    @contextmanager
    def following(self, module: nn.Module) -> Iterator[None]:
        """Keep the stack while ``module`` runs."""
        self._stack.clear()
        handles = []
        for name, layer in module.named_modules():
            handles += [
                layer.register_forward_pre_hook(
                    lambda layer, *_, name=name: self._stack.append((name, layer))
                ),
                layer.register_forward_hook(self._leave),
            ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _leave(self, *_: object) -> None:  # a hook's result replaces the layer's
        self._stack.pop()
