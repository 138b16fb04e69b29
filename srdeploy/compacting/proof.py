"""Proof by comparison: masked and compact network give the same images.

They are compared on photographs of several sizes, one as large as real images, and on a batch of
two. In float64, where only rounding tells them apart, a wrong channel cannot hide. A network whose
own code computes in float32 whatever it is given (a ``.float()``, constants that are no buffers) is
compared in that, with a tolerance that fits, and the record says so. What was not tried is not
proven: code that does something else at other sizes still
(:mod:`srdeploy.pruning.tracing.everywhere`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from srdeploy.errors import SrdeployError, UserError
from srdeploy.models.card import Card
from srdeploy.models.probes import (
    BATCH_SIZE,
    PROBE_SIZES,
    CannotRunError,
    Size,
    fit_size,
    photograph,
    run,
)
from srdeploy.models.watch import OperationWatch, tensors_in

TOLERANCES = {torch.float64: 1e-9, torch.float32: 2e-5}
"""Largest accepted difference by precision, as a fraction of the value range or of the output."""

OWN_ROUNDING = 100
"""How many times what rounding alone does to the masked network a difference may be, where that is
more than the tolerance: attention over features far beyond the image's range amplifies it."""

LARGEST_TOLERANCE = 1e-3
"""Beyond this, rounding hides what a wrong channel would do, and nothing is proven."""


class _InsistsOnFloat32Error(Exception):
    """Asked for float64, the network computes in less."""


CLAIM = "masked(x) == compact(x)"


def prove_equal(
    masked: nn.Module,
    small: nn.Module,
    card: Card,
    claim: str = CLAIM,
    dtype: torch.dtype = torch.float64,
) -> dict[str, Any]:
    """Compare two modules on photographs.

    Args:
        masked: What is right.
        small: What must equal it.
        card: What the networks read.
        claim: What the record says was proven.
        dtype: What to compute in; float32 for weights that were rounded to it.

    Returns:
        The record: ``dtype``, the ``sizes`` (height, width), the largest ``batch``, the largest
        difference (as a fraction of the value range, or of the output where that is larger), and
        the ``tolerance`` that it was held to.

    Raises:
        SrdeployError: they differ by more than the tolerance, an output is not finite, or the
            compact one does not run (code that relies on a fixed number of channels).
        UserError: the masked network runs on no size.
    """
    try:
        return _prove(masked, small, card, claim, dtype)
    except _InsistsOnFloat32Error:
        return _prove(masked, small, card, claim, torch.float32)


def _prove(
    masked: nn.Module, small: nn.Module, card: Card, claim: str, dtype: torch.dtype
) -> dict[str, Any]:
    whole, part = (copy.deepcopy(module).to(dtype).eval() for module in (masked, small))
    shaken: nn.Module | None = None
    sizes: dict[Size, int] = {}
    largest, tolerance = 0.0, TOLERANCES[dtype]
    for x, wanted in _answers(whole, masked, card, dtype):
        size = (x.shape[2], x.shape[3])
        sizes[size] = max(sizes.get(size, 1), len(x))
        found = _run_compact(part, x)
        difference = _difference(wanted, found, card, size)
        if difference > tolerance:
            shaken = shaken or _shaken(whole, dtype)
            rounding = _difference(wanted, run(shaken, x), card, size)
            tolerance = max(tolerance, OWN_ROUNDING * rounding)
        largest = max(largest, difference)
        if difference > min(tolerance, LARGEST_TOLERANCE):
            raise SrdeployError(
                f"Compaction is not exact: on {size[1]}x{size[0]} pixels the outputs differ by "
                f"{difference:.2e} of their range in {_name(dtype)}"
                + (
                    f", and rounding alone by {tolerance / OWN_ROUNDING:.0e}, so that nothing can "
                    "be proven; no network is written. Train it before pruning it."
                    if tolerance > LARGEST_TOLERANCE
                    else "; no network is written. Please report the architecture."
                )
            )
    return {
        "claim": claim,
        "dtype": _name(dtype),
        "sizes": [list(size) for size in sizes],
        "batch": max(sizes.values()),
        "max_difference": largest,
        "tolerance": tolerance,
    }


def _answers(
    module: nn.Module, single: nn.Module, card: Card, dtype: torch.dtype
) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs, and what the masked network makes of them, at all sizes that it runs on."""

    def attempt(size: Size, batch: int = 1) -> tuple[Tensor, Tensor]:
        x = torch.from_numpy(photograph(card, size, batch))
        watch = _Narrowing()
        try:
            with watch:
                y = run(module, x.to(dtype))
        except CannotRunError:
            if dtype == torch.float64:
                run(single, x)  # where this fails, too, it is the size
                raise _InsistsOnFloat32Error from None
            raise
        if not isinstance(y, Tensor):
            raise UserError(f"The network returns a {type(y).__name__}, not an image.")
        if dtype == torch.float64 and (watch.seen or y.dtype != dtype):
            raise _InsistsOnFloat32Error
        return x.to(dtype), y

    failure: CannotRunError | None = None
    smallest: Size | None = None
    done: set[Size] = set()
    for wanted in PROBE_SIZES:
        try:
            size, answer = fit_size(attempt, wanted, card.size_multiple)
        except CannotRunError as error:
            failure = failure or error
            continue
        smallest = smallest or size
        if size not in done:
            done.add(size)
            yield answer
    if smallest is None:
        assert failure is not None
        raise failure
    try:
        answer = attempt(smallest, BATCH_SIZE)
    except CannotRunError:  # it takes one image at a time
        return
    yield answer


def _run_compact(module: nn.Module, x: Tensor) -> Any:
    try:
        return run(module, x)
    except CannotRunError as error:
        reason = str(error).removeprefix("The network cannot be run on ").rstrip(".")
        raise SrdeployError(
            f"The compact network does not run on {reason}. If its code relies on a fixed number "
            "of channels, leave the layers before it alone with --exclude."
        ) from error


def _difference(wanted: Tensor, found: Tensor, card: Card, size: Size) -> float:
    if wanted.shape != found.shape:
        raise SrdeployError(
            f"The compact network's output has shape {list(found.shape)}, not "
            f"{list(wanted.shape)}; no network is written."
        )
    if not (torch.isfinite(wanted).all() and torch.isfinite(found).all()):
        raise SrdeployError(
            f"The network's output on {size[1]}x{size[0]} pixels is not finite, so nothing can be "
            "compared."
        )
    reach = max(card.value_range, float(wanted.abs().max()))
    return float((wanted - found).abs().max()) / reach


def _shaken(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy whose every weight is moved by its last digit, up or down; zeros stay."""
    generator = torch.Generator().manual_seed(0)
    moved = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in moved.parameters():
            signs = torch.randint(0, 2, parameter.shape, generator=generator) * 2 - 1
            parameter.mul_(1 + torch.finfo(dtype).eps * signs.to(dtype))
    return moved


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


class _Narrowing(OperationWatch):
    """Notes whether anything in float64 is made into something coarser."""

    seen = False

    def called(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an operation, and compare what it reads with what it makes."""
        out = func(*args, **kwargs)
        if not self.seen and _holds((args, kwargs), {torch.float64}):
            self.seen = _holds(out, {torch.float32, torch.float16, torch.bfloat16})
        return out


def _holds(tree: Any, dtypes: set[torch.dtype]) -> bool:
    return any(tensor.dtype in dtypes for tensor in tensors_in(tree))
