"""Several devices: those of a farm at once, those that this host reaches in turn."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from srdeploy.errors import SrdeployError
from srdeploy.fitting.places import Place
from srdeploy.fitting.result import FitOptions, FitResult
from srdeploy.fitting.run import fit
from srdeploy.models.network import Network
from srdeploy.util.progress import hidden
from srdeploy.util.strict import parse

_POLL_SECONDS = 0.2

Result = TypeVar("Result")


def fit_each(
    network: Network,
    name: str,
    settings: Mapping[str, Any],
    places: Sequence[Place],
    folder: Path,
    store: Path,
    *,
    fresh: bool = False,
) -> list[FitResult]:
    """Fit a network to each of some devices.

    Args:
        network: Left as it is.
        name: What results call it.
        settings: Fields of :class:`FitOptions` but the device.
        places: The devices.
        folder: Where results go, a folder of its own for each device where there are several.
        store: File that keeps times.
        fresh: Start over instead of going on.

    Returns:
        The results, device by device.

    Raises:
        UserError: as :func:`srdeploy.fitting.run.fit`.
        SrdeployError: likewise; the devices of a farm that do not fail are finished before.
    """

    def one(place: Place) -> list[FitResult]:
        asked = parse(FitOptions, {"device": place.name, **settings}, where="These settings")
        where = folder if len(places) == 1 else folder / place.folder
        own = network.copy() if at_once(places) else network
        return fit(own, name, asked, where, store, fresh=fresh, place=place)

    return [result for results in each(places, one) for result in results]


def at_once(places: Sequence[Place]) -> bool:
    """Whether work on these devices goes on at the same time; each then needs a network its own."""
    return len(places) > 1 and places[0].farm is not None


def each(places: Sequence[Place], work: Callable[[Place], Result]) -> list[Result]:
    """What a function gives for each device.

    Args:
        places: The devices: all of one farm, or all reached from this host.
        work: Called for each; for those of a farm at once, each in a thread of its own.

    Raises:
        SrdeployError: whatever ``work`` raised first, with the names of others that failed.
    """
    if not at_once(places):
        return [work(place) for place in places]
    found: dict[str, Result] = {}
    failed: dict[str, BaseException] = {}

    def one(place: Place) -> None:
        try:
            found[place.name] = work(place)
        except BaseException as error:  # raised again where it is waited for
            failed[place.name] = error

    threads = [threading.Thread(target=one, args=(p,), name=p.name, daemon=True) for p in places]
    with hidden():
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():  # so that Ctrl-C is heard
                thread.join(_POLL_SECONDS)
    for place, error in failed.items():
        if isinstance(error, SrdeployError):
            others = ", ".join(name for name in failed if name != place)
            also = f" ({others} failed, too)" if others else ""
            raise type(error)(f"{place}: {error}{also}") from error
        raise error
    return [found[place.name] for place in places]
