"""The ways from a network to an ONNX file, the best first.

Any size comes before one size, any number of images before one, and torch's trace exporter before
its newer one, which takes twenty times as long and names no layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from srdeploy.exporting.fallback import NotThisWay, Way, usual_size
from srdeploy.exporting.onnx.graph import LOWEST, Exporter
from srdeploy.exporting.parity import Reference
from srdeploy.models.network import Network
from srdeploy.models.probes import CannotRunError, Size


@dataclass(frozen=True)
class OnnxWay(Way):
    """One of them.

    Attributes:
        exporter: Which of torch's.
        named: It was asked for.
        batched: The file shall take any number of images at a time.
        single: It takes one at a time, although the network takes more.
    """

    exporter: Exporter = "trace"
    named: bool = False
    batched: bool = True
    single: bool = False

    def told(self) -> list[str]:
        """See :class:`Way`."""
        one = ["one image at a time"] if self.single and self.size is None else []
        other = self.exporter == "dynamo" and not self.named
        return [*super().told(), *one, *(["by torch's dynamo exporter"] if other else [])]


def ways_to_onnx(
    network: Network,
    batched: bool,
    *,
    exporter: Exporter | None,
    opset: int | None,
    asked: Size | None,
    instead: Size | None,
) -> Callable[[Sequence[NotThisWay]], Iterator[OnnxWay]]:
    """The ways, given what failed so far.

    Args:
        network: What is to be written.
        batched: It takes more than one image at a time.
        exporter: The only one that may be used; None: either.
        opset: Operator set that must be; None: any.
        asked: The only size that may be written; None: any size if possible.
        instead: The size of a file that cannot take any; None: the usual one.
    """
    every: tuple[Exporter, ...] = ("trace", "dynamo")
    may = [
        one for one in every if exporter in (None, one) and (opset is None or opset >= LOWEST[one])
    ]

    def ways(failures: Sequence[NotThisWay]) -> Iterator[OnnxWay]:
        size = asked
        if size is None:
            for one in may:
                way = OnnxWay(exporter=one, named=exporter is not None, batched=batched)
                yield way
                if failures[-1].batch > 1:
                    yield replace(way, batched=False, single=True)
            try:
                size = instead or usual_size(network)
            except CannotRunError:
                return
        for one in may:
            yield OnnxWay(
                size, asked is not None, exporter=one, named=exporter is not None, batched=False
            )

    return ways


def reference_for(way: OnnxWay, reference: Reference, network: Network) -> Reference:
    """Where a file of a way is compared with the network.

    Raises:
        CannotRunError: the network does not take the size.
    """
    if way.size is not None:
        fixed = Reference.of(network, [way.size])
        fixed.expected(fixed.probes[0])
        return fixed
    if way.single:
        return replace(reference, probes=[one for one in reference.probes if one.batch == 1])
    return reference
