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
        prepare: Makes a convolution ready, in the precision asked for,
        exact: and in fp32.
        reason: What it is, and why it was taken.
    """

    name: str
    prepare: Callable[[RowConv], PreparedConv]
    exact: Callable[[RowConv], PreparedConv]
    reason: str


def choose_backend(wanted: str = "auto", precision: str = "fp32") -> Backend:
    """The backend of that name.

    Args:
        wanted: One of :data:`BACKENDS`; ``auto`` takes the compiled kernel where there is one.
        precision: One of :data:`srdeploy.sparse.native.PRECISIONS`; bf16 is the kernel's only.

    Raises:
        Unavailable: ``native`` or bf16 was asked for and cannot be had.
        ValueError: unknown name.
    """
    if wanted not in BACKENDS:
        raise ValueError(f"unknown backend '{wanted}'; there are {', '.join(BACKENDS)}")
    if wanted == "torch":
        return _of_torch("as asked", precision)
    try:
        kernel = load_kernel()
    except Unavailable as error:
        if wanted == "native":
            raise
        return _of_torch(f"because {error}", precision)
    reason = f"the compiled kernel, {kernel.lanes} floats per vector"
    exact = lambda conv: NativeRowConv(conv, kernel)  # noqa: E731
    if precision == "fp32":
        return Backend("native", exact, exact, reason)
    coarse = load_kernel(precision)
    return Backend("native", lambda conv: NativeRowConv(conv, coarse), exact, f"{reason}, bf16")


def _of_torch(why: str, precision: str) -> Backend:
    if precision != "fp32":
        raise Unavailable(f"{precision} is computed by the compiled kernel only ({why})")
    return Backend("torch", TorchRowConv, TorchRowConv, f"torch's operators, {why}")
