"""The ways from a network to a Core ML package, the best first.

A range of sizes comes before one size, and an older system before a newer one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from srdeploy.exporting.coreml.lower import Unconvertible
from srdeploy.exporting.coreml.options import DEPLOYMENTS, CoremlRequest
from srdeploy.exporting.fallback import NotThisWay, Way, usual_size
from srdeploy.models.network import Network
from srdeploy.models.probes import CannotRunError
from srdeploy.runtime.sizes import InputSizes


@dataclass(frozen=True)
class CoremlWay(Way):
    """One of them.

    Attributes:
        options: What the package shall be.
        raised: It needs a newer system than it would otherwise; the name of that.
    """

    options: CoremlRequest = field(kw_only=True)
    raised: str = ""

    def told(self) -> list[str]:
        """See :class:`Way`."""
        return [*super().told(), *([f"for {self.raised} and later"] if self.raised else [])]

    def notes(self, failures: Sequence[NotThisWay]) -> list[str]:
        """See :class:`Way`; where a newer system was no remedy, it is not the reason."""
        return super().notes(failures[:1] if self.raised else failures[-1:])


def ways_to_coreml(
    network: Network, asked: CoremlRequest, *, sized: bool, system: bool
) -> Callable[[Sequence[NotThisWay]], Iterator[CoremlWay]]:
    """The ways, given what failed so far.

    Args:
        network: What is to be written.
        asked: What it shall be.
        sized: Its sizes were asked for, so there shall be no others.
        system: The oldest system was asked for, so it shall be that.
    """

    def ways(failures: Sequence[NotThisWay]) -> Iterator[CoremlWay]:
        way = CoremlWay(options=asked)
        yield way
        if (newer := _newer(failures[-1], asked)) and not system:
            yield replace(way, options=replace(asked, minimum_deployment=newer), raised=newer)
        if sized:
            return
        try:
            size = usual_size(network)
        except CannotRunError:
            return
        yield CoremlWay(size, options=replace(asked, sizes=InputSizes((size,))))

    return ways


def _newer(failure: NotThisWay, asked: CoremlRequest) -> str:
    """The newer system that a network needs; '' where it is no matter of systems."""
    needs = failure.needs if isinstance(failure, Unconvertible) else ""
    known = DEPLOYMENTS.index
    return needs if needs and known(needs) > known(asked.minimum_deployment) else ""
