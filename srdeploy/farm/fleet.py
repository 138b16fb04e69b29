"""The farm's devices as a client sees them, and what the words of ``--devices`` mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from srdeploy.errors import UserError, unknown_name


@dataclass(frozen=True)
class LiveDevice:
    """A device whose worker is connected.

    Attributes:
        name: What the farm calls it.
        address: Its worker's.
        uri: Its URI, on its host.
        kind: ``ssh``, ``adb``...
        tags: Those it was given.
        host: Devices of one host share what was sent there.
        state: ``ready``, ``drained`` or ``quarantined``,
        reason: and why.
        in_a_row: Failures since its last success.
        done: Jobs it finished.
        running: What it is doing.
        seconds: For how long.
        python: Version of Python on its host.
    """

    name: str
    address: str
    uri: str
    kind: str
    tags: tuple[str, ...]
    host: str
    state: str
    reason: str
    in_a_row: int
    done: int
    running: str | None
    seconds: float | None
    python: str

    @property
    def ready(self) -> bool:
        """Whether it takes jobs."""
        return self.state == "ready"

    def has(self, tag: str) -> bool:
        """Whether a job that asks for ``tag`` may run on it."""
        return tag in (self.name, self.kind, *self.tags)


def fleet_of(identity: dict[str, Any]) -> list[LiveDevice]:
    """The devices in what a Dask scheduler says of itself, by name."""
    found = []
    for address, worker in identity["workers"].items():
        card = worker.get("srdeploy")
        if card is None:
            continue  # somebody's plain Dask worker
        status = worker["metrics"].get("srdeploy", {})
        found.append(
            LiveDevice(
                name=card["name"],
                address=address,
                uri=card["uri"],
                kind=card["kind"],
                tags=tuple(card["tags"]),
                host=card["host"],
                state=status.get("state", "ready"),
                reason=status.get("reason", ""),
                in_a_row=status.get("in_a_row", 0),
                done=status.get("done", 0),
                running=status.get("running"),
                seconds=status.get("seconds"),
                python=card["python"],
            )
        )
    return sorted(found, key=lambda device: device.name)


def tags_of(words: Sequence[str], fleet: Iterable[LiveDevice]) -> list[str]:
    """What is to be measured on: for each of these tags, any one device that has it.

    Args:
        words: A tag, a kind or a device's name; or a pattern (``pixel-*``) that stands for all
            tags it fits, and where it fits none, for all names.
        fleet: The devices.

    Raises:
        UserError: a word that fits nothing; the nearest is offered.
    """
    devices = list(fleet)
    names = {device.name for device in devices}
    tags = {tag for device in devices for tag in device.tags}
    exact = names | tags | {device.kind for device in devices}
    found: dict[str, None] = {}
    for word in words:
        fitting = {word} & exact
        for known in (tags, names):
            fitting = fitting or {one for one in known if fnmatchcase(one, word)}
        if not fitting:
            if not devices:
                raise UserError("No device of the farm is connected; start `srdeploy farm worker`.")
            raise unknown_name("live device or tag of the farm", word, exact)
        found |= dict.fromkeys(sorted(fitting))
    return list(found)


def fits(words: Sequence[str], fleet: Iterable[LiveDevice]) -> bool:
    """Whether each word means something (:func:`tags_of`)."""
    try:
        tags_of(words, fleet)
    except UserError:
        return False
    return True


def devices_of(words: Sequence[str], fleet: Iterable[LiveDevice]) -> list[LiveDevice]:
    """All devices that words mean: names, tags, kinds and patterns, as :func:`tags_of`."""
    devices = list(fleet)
    tags = tags_of(words, devices)
    return [device for device in devices if any(device.has(tag) for tag in tags)]


def why_none(tag: str, fleet: Iterable[LiveDevice]) -> str | None:
    """Why no device takes jobs for a tag, in one sentence; None where one does."""
    having = [device for device in fleet if device.has(tag)]
    if any(device.ready for device in having):
        return None
    if not having:
        return f"No device '{tag}' of the farm is connected."
    states = "; ".join(f"{one.name} is {one.state} ({one.reason})" for one in having[:3])
    more = f" and {len(having) - 3} more" if len(having) > 3 else ""
    return f"No device '{tag}' of the farm takes jobs: {states}{more}."
