"""What computes at listed pixels here: the compiled kernel, or torch's operators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from srdeploy.sparse.compiler import Unavailable
from srdeploy.sparse.native import NativeRowConv, load_kernel
from srdeploy.sparse.rowconv import PreparedConv, RowConv, TorchRowConv

BACKENDS = ("auto", "native", "torch")


@dataclass(frozen=True)
class Backend:
    """One way of computing.

    Attributes:
        name: ``native`` or ``torch``.
        prepare: Makes a convolution ready.
        reason: What it is, and why it was taken.
    """

    name: str
    prepare: Callable[[RowConv], PreparedConv]
    reason: str


def choose_backend(wanted: str = "auto") -> Backend:
    """The backend of that name.

    Args:
        wanted: One of :data:`BACKENDS`; ``auto`` takes the compiled kernel where there is one.

    Raises:
        Unavailable: ``native`` was asked for and cannot be had.
        ValueError: unknown name.
    """
    if wanted not in BACKENDS:
        raise ValueError(f"unknown backend '{wanted}'; there are {', '.join(BACKENDS)}")
    if wanted == "torch":
        return _of_torch("as asked")
    try:
        kernel = load_kernel()
    except Unavailable as error:
        if wanted == "native":
            raise
        return _of_torch(f"because {error}")
    reason = f"the compiled kernel, {kernel.lanes} floats per vector"
    return Backend("native", lambda conv: NativeRowConv(conv, kernel), reason)


def _of_torch(why: str) -> Backend:
    return Backend("torch", TorchRowConv, f"torch's operators, {why}")
