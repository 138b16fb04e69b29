"""The client's connection to the farm, and the files that it sends along it."""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from srdeploy.errors import SrdeployError, UserError
from srdeploy.farm import task
from srdeploy.farm.content_store import CHUNK, PackedContents
from srdeploy.farm.fleet import LiveDevice, devices_of, fits, fleet_of
from srdeploy.farm.network import CONNECT_SECONDS, Unreachable, dask_address, probe, security
from srdeploy.farm.settings import FarmFile

if TYPE_CHECKING:
    from distributed import Client

GRACE_SECONDS = 15.0
"""A scheduler so young may not know all devices yet: they come back one by one."""

_CALM_SECONDS = 2.0
_ANSWER_SECONDS = 60.0


class SchedulerLink:
    """An open connection to the scheduler."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._id = uuid.uuid4().hex
        self._hosts: dict[str, asyncio.Lock] = {}
        self._born = -math.inf

    @property
    def up(self) -> bool:
        """Whether the scheduler is still there."""
        return self.client.status == "running"

    async def fleet(self) -> list[LiveDevice]:
        """The devices, as their workers told last.

        Raises:
            Unreachable: the scheduler does not answer.
        """
        assert self.client.scheduler is not None
        try:
            asking = self.client.scheduler.identity(n_workers=-1)
            identity = await asyncio.wait_for(asking, _ANSWER_SECONDS)
        except (OSError, asyncio.TimeoutError) as error:
            raise Unreachable(f"The farm's scheduler does not answer ({error}).") from None
        self._born = identity["started"]
        return fleet_of(identity)

    @property
    def young(self) -> bool:
        """Whether the scheduler had just started when it was asked last."""
        return abs(time.time() - self._born) < GRACE_SECONDS

    async def settled(self, fits: Callable[[list[LiveDevice]], bool]) -> list[LiveDevice]:
        """The devices; of a scheduler that has just started, once they fit and no more come.

        Args:
            fits: Whether these devices are those that are needed. In the end they are returned
                even if they are not.

        Raises:
            SrdeployError: the scheduler does not answer.
        """
        known, changed = -1, 0.0
        end = time.monotonic() + GRACE_SECONDS
        while True:
            fleet, now = await self.fleet(), time.monotonic()
            if len(fleet) != known:
                known, changed = len(fleet), now
            calm = now - changed > _CALM_SECONDS
            if not self.young or now > end or (calm and fits(fleet)):
                return fleet
            await asyncio.sleep(0.5)

    async def ask(self, device: LiveDevice, function: Any, *arguments: Any) -> Any:
        """Have a worker call one of :mod:`srdeploy.farm.task`'s functions.

        Raises:
            SrdeployError: the worker is gone, or the call failed there.
        """
        try:
            call = self.client.run(function, *arguments, workers=[device.address])
            answers = await asyncio.wait_for(call, _ANSWER_SECONDS)
            return answers[device.address]
        except (OSError, KeyError, asyncio.TimeoutError, RuntimeError, ValueError) as error:
            raise SrdeployError(
                f"{device.name}'s host does not answer ({type(error).__name__}: {error})."
            ) from None

    async def send(self, packed: PackedContents, digests: Iterable[str], device: LiveDevice) -> int:
        """See that a device's host has contents; each host is sent each of them once.

        Returns:
            The bytes that travelled.
        """
        wanted = list(dict.fromkeys(digests))
        sent = 0
        async with self._hosts.setdefault(device.host, asyncio.Lock()):
            for digest in await self.ask(device, task.lacking, wanted):
                with open(packed.sources[digest], "rb") as stream:
                    ahead, offset = stream.read(CHUNK), 0
                    while True:
                        chunk, ahead = ahead, stream.read(CHUNK)
                        last = not ahead
                        await self.ask(device, task.receive, digest, offset, chunk, last, self._id)
                        offset += len(chunk)
                        if last:
                            break
                sent += offset
        return sent


@asynccontextmanager
async def connect(farm: FarmFile) -> AsyncIterator[SchedulerLink]:
    """Connect to the scheduler.

    Raises:
        UserError: no such host, or certificates that are not accepted.
        Unreachable: nobody answers.
    """
    from distributed import Client

    await asyncio.to_thread(probe, farm)
    client = Client(
        dask_address(farm),
        security=security(farm),
        asynchronous=True,
        set_as_default=False,
        timeout=2 * CONNECT_SECONDS,
        direct_to_workers=False,
    )
    try:
        await client
    except (OSError, asyncio.TimeoutError) as error:
        raise Unreachable(f"The farm's scheduler does not answer ({error}).") from None
    try:
        yield SchedulerLink(client)
    finally:
        with suppress(OSError, asyncio.TimeoutError, RuntimeError):  # it may be gone already
            await asyncio.wait_for(client.close(), 10)


def devices(farm: FarmFile, words: Sequence[str] = ()) -> list[LiveDevice]:
    """The devices that are connected.

    Args:
        farm: The farm.
        words: Names, tags, kinds or patterns that some of them shall have; where the scheduler has
            just started, they are waited for.

    Raises:
        SrdeployError: the scheduler cannot be reached.
    """

    async def ask() -> list[LiveDevice]:
        async with connect(farm) as link:
            return (
                await link.settled(lambda fleet: fits(words, fleet))
                if words
                else await link.fleet()
            )

    return asyncio.run(ask())


def order(
    farm: FarmFile, words: Sequence[str], state: str, reason: str, wait: bool = False
) -> list[LiveDevice]:
    """Set devices aside, or have them back.

    Args:
        farm: The farm.
        words: Names, tags, kinds, patterns.
        state: ``ready``, ``drained`` or ``quarantined``.
        reason: Why.
        wait: Until their running jobs are over.

    Returns:
        The devices, as they are then.

    Raises:
        UserError: a word that fits no device.
        SrdeployError: a host does not answer.
    """

    async def ask() -> list[LiveDevice]:
        async with connect(farm) as link:
            chosen = devices_of(words, await link.settled(lambda fleet: fits(words, fleet)))
            if not chosen:
                raise UserError("Name at least one device, tag or pattern.")
            for device in chosen:
                await link.ask(device, task.order, state, reason)
            names = {device.name for device in chosen}
            while True:
                now = [device for device in await link.fleet() if device.name in names]
                if not wait or not any(device.running for device in now):
                    return now
                await asyncio.sleep(1)

    return asyncio.run(ask())
