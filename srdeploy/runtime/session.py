"""What every runtime looks like from outside: a network that is loaded and turns tensors over."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from srdeploy.errors import SrdeployError
from srdeploy.models.card import Card
from srdeploy.models.whole_means import Pooling, WholeMeans
from srdeploy.runtime.sizes import InputSizes

if TYPE_CHECKING:
    from typing_extensions import Self


class Session(ABC):
    """A network loaded by one runtime; a context manager that frees it at the end.

    A runtime is one subclass: it sets ``runtime``, loads in its constructor and writes ``_run``.
    Pixels become tensors elsewhere (:mod:`srdeploy.runtime.pixels`), in one way for all runtimes.

    Attributes:
        runtime: The runtime's name in results, for instance ``"torch"``.
        card: What the network is and eats.
        threads: CPU threads one ``run`` may use.
        precision: What its convolutions really compute in, where the runtime tells: ``fp32``,
            ``bf16``, ``int8+fp32`` (the commonest first).
        notes: What its user should know, a sentence each.
    """

    runtime: ClassVar[str]
    precision: str | None = None
    notes: tuple[str, ...] = ()
    _means: WholeMeans | None = None

    def __init__(self, card: Card, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"a session needs at least one thread, got {threads}")
        self.card = card
        self.threads = threads or default_threads()

    @property
    def sizes(self) -> InputSizes | None:
        """The input sizes it takes; None: any multiple of ``card.size_multiple``."""
        return None

    @property
    def pooling(self) -> Pooling | None:
        """What it pools over the whole image, if :meth:`run_given` can give it the means; None: it
        pools nothing, or what it pools is all that it sees.
        """
        return None

    def run_given(self, x: NDArray[np.float32], means: WholeMeans) -> NDArray[np.float32]:
        """:meth:`run` on a part of an image, with the means over the whole one.

        Args:
            x: As of :meth:`run`, one image.
            means: What :attr:`pooling` counts is given and found here.

        Raises:
            Enough: all that was to be found is.
        """
        self._means = means
        try:
            return self.run(x)
        finally:
            self._means = None

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network once.

        Args:
            x: ``float32 [N, C, H, W]`` in 0..``card.value_range``, C-contiguous; H and W multiples
                of ``card.size_multiple``.

        Returns:
            ``float32 [N, C, H * s, W * s]`` with ``s = card.network_scale``, not clipped.

        Raises:
            ValueError: ``x`` is not such an array.
            SrdeployError: the network returned another shape than its card promises.
        """
        if x.dtype != np.float32 or x.ndim != 4 or x.shape[1] != self.card.channels:
            raise ValueError(
                f"a session takes float32 [N, {self.card.channels}, H, W], got {x.dtype} {x.shape}"
            )
        if x.shape[2] % self.card.size_multiple or x.shape[3] % self.card.size_multiple:
            raise ValueError(
                f"height and width must be multiples of {self.card.size_multiple}, got {x.shape}"
            )
        out = self._run(np.ascontiguousarray(x))
        s = self.card.network_scale
        expected = (*x.shape[:2], x.shape[2] * s, x.shape[3] * s)
        if out.shape != expected:
            raise SrdeployError(
                f"The {self.card.arch} network returned {out.shape} for {x.shape} under "
                f"{self.runtime}; its card (scale {self.card.scale}) promises {expected}."
            )
        return out

    @abstractmethod
    def _run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network on a checked, contiguous input and wait for the result."""

    def close(self) -> None:
        """Free what the runtime holds; the session cannot run afterwards."""
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def default_threads() -> int:
    """CPU threads to use unless told: ``OMP_NUM_THREADS``, else the cores we may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
