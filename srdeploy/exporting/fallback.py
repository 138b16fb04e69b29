"""Ways of writing a network, tried in turn until a file computes what the network computes.

A file of any size serves everybody best. Some networks have none: masks of window attention, loops
over rows and adaptive pooling are made for one size while the network is followed. Then the file
takes one size, one image at a time, and says so; whatever runs it cuts images to that size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from srdeploy.errors import SrdeployError, UserError
from srdeploy.models.network import Network
from srdeploy.models.probes import Size, fit_size, photograph, run
from srdeploy.runtime.sizes import InputSizes

ONE_SIZE: Size = (256, 256)
"""Height and width of a file of one size unless told: square, so that tall and wide images are cut
alike, and large enough that little of it is overlap."""

_Made = TypeVar("_Made")
_Way = TypeVar("_Way", bound="Way")


class NotThisWay(SrdeployError):
    """A way gave no file, or one that is not the network; another way may.

    Attributes:
        what: What failed, without a remedy.
        short: Why, in a few words.
        batch: Images at a time on which that showed.
    """

    def __init__(self, what: str, short: str, batch: int = 1, remedy: str = "") -> None:
        super().__init__(f"{what}; {remedy}." if remedy else what)
        self.what, self.short, self.batch = what.rstrip("."), short, batch


@dataclass(frozen=True)
class Way:
    """One way of writing a network.

    Attributes:
        size: The only height and width that the file takes; None: any, or what was asked for.
        asked: That size was asked for, so nobody needs to be told.
    """

    size: Size | None = None
    asked: bool = False

    def told(self) -> list[str]:
        """What was done that was not asked for, in words."""
        return [] if self.size is None or self.asked else [one_size(self.size)]

    def notes(self, failures: Sequence[NotThisWay]) -> list[str]:
        """One line of it, and of why; none where the best way works."""
        told = self.told()
        return [f"{', '.join(told)}, as {failures[0].short}"] if told and failures else []


def one_size(size: Size) -> str:
    """What a file of one size is, in words."""
    height, width = size
    return f"one input size, {width}x{height} (choose another with --input)"


def first_that_works(
    ways: Callable[[Sequence[NotThisWay]], Iterable[_Way]],
    attempt: Callable[[_Way, Sequence[NotThisWay]], _Made],
    what: str,
) -> _Made:
    """What the first way gives that works.

    Args:
        ways: The ways, the best first; it gets the failures so far, which grow while it yields.
        attempt: Makes a file in a way; it gets the failures before it.
        what: What is not to be had where none works, for the sentence: ``a CoreML package``.

    Raises:
        SrdeployError: none works: of one way its own sentence, else the first and the last.
    """
    failures: list[NotThisWay] = []
    last = Way()
    for way in ways(failures):
        try:
            return attempt(way, failures)
        except NotThisWay as error:
            failures.append(error)
            last = way
    first, final = failures[0], failures[-1]
    if len(failures) == 1 or first.what == final.what:
        raise SrdeployError(str(first)) from first
    where = "" if last.size is None else f" of the one size {last.size[1]}x{last.size[0]}"
    raise SrdeployError(
        f"{first.what}. Nor can there be {what}{where}: {final.what}; replace what is named in the "
        "network's code."
    ) from first


def one_asked(sizes: str | None, multiple: int, what: str) -> Size | None:
    """The one size that was asked for.

    Args:
        sizes: As :meth:`InputSizes.parse` reads it; None: none was.
        multiple: What both sides must be multiples of.
        what: The kind of file, for the sentence.

    Raises:
        UserError: several sizes, a range, or a size that the network cannot take.
    """
    if sizes is None:
        return None
    found = InputSizes.parse(sizes)
    if not found.fixed:
        raise UserError(
            f"{what} takes one size or any, not '{sizes}'; give one (480x270), or leave it out."
        )
    height, width = found.listed[0]
    if height % multiple or width % multiple:
        raise UserError(
            f"The network cannot take {width}x{height} pixels; give multiples of {multiple}."
        )
    return height, width


def usual_size(network: Network) -> Size:
    """:data:`ONE_SIZE`, or the nearest that the network takes.

    Raises:
        CannotRunError: it takes none near it.
    """
    card = network.card
    size, _ = fit_size(
        lambda one: run(network.module, torch.from_numpy(photograph(card, one))),
        ONE_SIZE,
        card.size_multiple,
    )
    return size
