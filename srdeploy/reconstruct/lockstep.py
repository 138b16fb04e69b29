"""The dense network, run a layer ahead of the pruned one, so that nothing of it need be kept.

Both run the same code, so their layers run in the same order. The dense one runs in a thread of its
own and hands over what each layer should put out; it waits until that is taken.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from types import TracebackType

import torch
from torch import Tensor, nn

from srdeploy.errors import SrdeployError
from srdeploy.reconstruct.sums import SumWatch, Term

_POLL_SECONDS = 0.05


class _Left(Exception):
    """Nobody asks any more."""


class Targets:
    """What the layers of a network put out on some images, one after another.

    Args:
        module: The network; it is run once, in another thread.
        x: Its input.
        layers: Names of the layers asked for, each of which runs once.
        summed: Those whose target is not their own output but the sum that it goes into.
    """

    def __init__(
        self, module: nn.Module, x: Tensor, layers: Collection[str], summed: Collection[str]
    ) -> None:
        self._module, self._x = module, x
        self._layers, self._summed = list(layers), set(summed)
        self._handed: queue.Queue[tuple[str, Tensor] | BaseException | None] = queue.Queue(1)
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dense network", daemon=True)

    def take(self, layer: str) -> Tensor:
        """The next target, which must be this layer's.

        Raises:
            SrdeployError: the networks do not run their layers in the same order.
        """
        handed = self._handed.get()
        if isinstance(handed, BaseException):
            raise handed
        if handed is None or handed[0] != layer:
            raise SrdeployError(
                f"The pruned network runs '{layer}' where the dense one does something else; "
                "please report the architecture."
            )
        return handed[1]

    def __enter__(self) -> Targets:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._left.set()
        while self._thread.is_alive():
            try:
                self._handed.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
        self._thread.join()

    def _run(self) -> None:
        watch = SumWatch(self._sum)
        with ExitStack() as hooks, suppress(_Left):
            for name in self._layers:

                def ran(_: nn.Module, given: object, output: Tensor, name: str = name) -> None:
                    watch.follow(name, output)
                    if name not in self._summed:
                        self._hand((name, output.detach().clone()))

                hooks.callback(self._module.get_submodule(name).register_forward_hook(ran).remove)
            try:
                with torch.no_grad(), watch:
                    self._module(self._x.clone())
                self._hand(None)
            except _Left:
                raise
            except BaseException as error:  # it is raised again where it is awaited
                self._hand(error)

    def _sum(self, term: Term, other: Tensor) -> Callable[[Tensor], None] | None:
        if term.layer not in self._summed:
            return None
        return lambda result: self._hand((term.layer, result.detach().clone()))

    def _hand(self, what: tuple[str, Tensor] | BaseException | None) -> None:
        while not self._left.is_set():
            try:
                self._handed.put(what, timeout=_POLL_SECONDS)
                return
            except queue.Full:
                continue
        raise _Left
