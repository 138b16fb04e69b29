"""Where to fit: a device that this host reaches, or one of a farm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from srdeploy.devices.uri import DeviceUri
from srdeploy.farm.fleet import LiveDevice, tags_of
from srdeploy.farm.settings import FarmFile
from srdeploy.fitting.bench import Bench
from srdeploy.fitting.farm_bench import FarmBench
from srdeploy.measure.store import Store
from srdeploy.util.files import cache_dir

STORE = "latency.sqlite"


def latency_store() -> Path:
    """The store of the user's cache."""
    path = cache_dir() / STORE
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@dataclass(frozen=True)
class Place:
    """A device to fit to.

    Attributes:
        name: Its URI, or what the farm calls it.
        farm: The farm that has it; None: this host reaches it.
        device: It, as the farm told.
    """

    name: str
    farm: FarmFile | None = None
    device: LiveDevice | None = None

    def open(self, store: Store) -> Bench:
        """What measures there.

        Args:
            store: Keeps what is measured.
        """
        if self.farm is None or self.device is None:
            return Bench(self.name, store)
        return FarmBench(self.farm, self.device, store)

    @property
    def runtime(self) -> str | None:
        """What runs ONNX files there unless told; None: the device decides."""
        kind = self.device.kind if self.device else DeviceUri.parse(self.name).kind
        return "onnxruntime" if kind == "local" else None

    @property
    def folder(self) -> str:
        """Its name as that of a folder."""
        return "".join(c if c.isalnum() or c in ".-_" else "-" for c in self.name).strip("-.")


def farm_places(farm: FarmFile, words: Sequence[str]) -> list[Place]:
    """One device of a farm for each tag that words mean, none twice.

    All measurements of a fit are of one device: tables of several are no table.

    Args:
        farm: The farm.
        words: Names, tags, kinds or patterns.

    Raises:
        UserError: a word that fits no device, or one whose devices take no jobs.
        SrdeployError: the scheduler cannot be reached.
    """
    from srdeploy.errors import UserError
    from srdeploy.farm.fleet import why_none
    from srdeploy.farm.link import devices

    fleet = devices(farm, words)
    found: dict[str, Place] = {}
    for tag in tags_of(words, fleet):
        if reason := why_none(tag, fleet):
            raise UserError(reason)
        ready = [one for one in fleet if one.ready and one.has(tag)]
        free = [one for one in ready if one.name not in found] or ready
        found[free[0].name] = Place(free[0].name, farm, free[0])
    return list(found.values())
