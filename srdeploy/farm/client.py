"""A campaign: batches fanned out over the farm's devices, collected into the store, resumed.

Dask decides which free device gets a job. What it does not do is done here: a kind of device that
is not there is told within seconds, a job that a device failed goes to another one, and should the
scheduler be lost, the campaign waits for it and goes on with what the store does not have.
"""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from srdeploy.benchmarking.measuring.journal import Journal, open_journal
from srdeploy.benchmarking.measuring.plan import Batch, Watcher, check
from srdeploy.benchmarking.measuring.row import Row
from srdeploy.errors import SrdeployError, UserError
from srdeploy.farm import task
from srdeploy.farm.fleet import LiveDevice, tags_of, why_none
from srdeploy.farm.jobs import HUNG, LOST, TRIES, Contents, FarmJob, Queue, open_jobs
from srdeploy.farm.link import SchedulerLink, connect
from srdeploy.farm.network import Unreachable
from srdeploy.farm.results import Results
from srdeploy.farm.settings import FarmFile
from srdeploy.farm.worker import DEVICE, tag_resource
from srdeploy.measure.measurement import Measurement
from srdeploy.measure.store import Store

JOB_SECONDS = 3600.0
_TICK_SECONDS = 0.5
_FLEET_SECONDS = 2.0
_SHORT_SECONDS = 5.0
_AHEAD, _AHEAD_SHORT = 1.1, 2.0
"""Jobs handed out per device: of short ones the next waits at each worker, so that no device is
idle while an answer travels; of long ones few, because they wait behind one device in particular.
"""


@dataclass(frozen=True)
class FarmOptions:
    """How a campaign is run.

    Attributes:
        job_seconds: A job that takes longer is stopped on its device.
        apart: One job per artifact, on any device each; otherwise the artifacts take turns on one
            device, so that their ratios are fair.
    """

    job_seconds: float = JOB_SECONDS
    apart: bool = False


class FarmClient:
    """See :func:`run`."""

    def __init__(
        self,
        farm: FarmFile,
        artifacts: Sequence[str],
        batches: Sequence[Batch],
        store: Store,
        watcher: Watcher,
        journal: Journal,
        asked: FarmOptions,
    ) -> None:
        self._farm, self._asked, self._watcher = farm, asked, watcher
        self._artifacts, self._batches = artifacts, batches
        self._contents = Contents(artifacts)
        self._ledger = Results(store, self._contents, watcher, journal)
        self._jobs = open_jobs(batches, artifacts, self._contents, store, asked.apart)
        self._todo = Queue()
        self._fleet: list[LiveDevice] = []
        self._gone_since: dict[str, float] = {}
        self._quarantined: set[tuple[str, str]] = set()
        self._settled = False
        self._usual_seconds = math.inf
        self._dropped: set[asyncio.Task[bool]] = set()

    async def run(self) -> list[Row]:
        """Work until every job has its answer."""
        self._ledger.recall(self._batches, self._artifacts)
        for job in self._jobs:
            self._todo.add(job)
        lost_at: float | None = None
        while self._todo:
            try:
                async with connect(self._farm) as link:
                    lost_at = None
                    await self._until_lost(link)
            except Unreachable as error:
                if not self._fleet:
                    raise  # it was never there
                if lost_at is None:
                    lost_at = time.monotonic()
                    self._watcher.said(f"The scheduler is lost; waiting for it ({error})")
                if time.monotonic() - lost_at > self._farm.patience_seconds:
                    raise SrdeployError(
                        f"The farm's scheduler went away and was not back within "
                        f"{self._farm.patience_seconds:g} s; {len(self._ledger)} results are in "
                        f"'{self._ledger.store.path}': repeat the command to go on."
                    ) from None
                await asyncio.sleep(1)
        return self._ledger.rows(self._batches, self._artifacts)

    async def _until_lost(self, link: SchedulerLink) -> None:
        """Hand out jobs and take answers; returns early when the scheduler is lost."""
        first, self._settled = not self._fleet, False
        running: dict[asyncio.Task[bool], FarmJob] = {}
        looked = 0.0
        try:
            while (self._todo or running) and link.up:
                if time.monotonic() - looked > _FLEET_SECONDS:
                    if first:
                        self._see(await link.settled(self._has_all))
                    else:
                        self._see(await link.fleet())
                    self._settled = not link.young
                    looked = time.monotonic()
                    if first:
                        first = False
                        self._require_devices()
                        await self._send_ahead(link)
                    self._give_up_hopeless(running)
                for job in self._startable(running.values()):
                    running[asyncio.create_task(self._attempt(link, job))] = job
                if not running:
                    await asyncio.sleep(_TICK_SECONDS)
                    continue
                done, _ = await asyncio.wait(
                    running, timeout=_TICK_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                for one in done:
                    job = running.pop(one)
                    if one.cancelled() or not one.result():
                        self._todo.add(job)
        finally:
            for one, job in running.items():
                self._drop(one)
                self._todo.add(job)
            await asyncio.gather(*running, return_exceptions=True)
        if self._todo and not link.up:
            raise Unreachable("the connection broke")

    def _see(self, fleet: list[LiveDevice]) -> None:
        self._fleet = fleet
        for one in fleet:
            news = (one.name, one.reason)
            if one.state == "quarantined" and news not in self._quarantined:
                self._quarantined.add(news)
                self._watcher.said(f"{one.name} is quarantined: {one.reason}")

    def _has_all(self, fleet: list[LiveDevice]) -> bool:
        return not any(why_none(tag, fleet) for tag in self._todo.tags())

    def _require_devices(self) -> None:
        """At the start, a tag without a device is the request's fault."""
        tags = self._todo.tags()
        tags_of(tags, self._fleet)
        for tag in tags:
            if reason := why_none(tag, self._fleet):
                raise UserError(reason)

    async def _send_ahead(self, link: SchedulerLink) -> None:
        """What jobs need goes to each host that may get one, before the first asks for it."""
        wanted: dict[tuple[str, str], dict[str, None]] = {}
        for job in self._todo:
            place = (job.tag, job.batch.request.folder)
            if place not in wanted:
                wanted[place] = dict.fromkeys(self._contents.digests(job.batch, self._artifacts))
        hosts: dict[str, tuple[LiveDevice, dict[str, None]]] = {}
        for (tag, _), digests in wanted.items():
            for device in self._fleet:
                if device.ready and device.has(tag):
                    hosts.setdefault(device.host, (device, {}))[1].update(digests)
        for device, needed in hosts.values():
            try:
                await link.send(self._contents.packed, needed, device)
            except SrdeployError as error:
                self._watcher.said(str(error))  # its jobs will ask again

    def _eligible(self, job: FarmJob) -> list[LiveDevice]:
        return [
            device
            for device in self._fleet
            if device.ready and device.has(job.tag) and device.name not in job.failed_on
        ]

    def _startable(self, running: Collection[FarmJob]) -> list[FarmJob]:
        """The next jobs, as many per tag as there are devices for them."""
        room: Counter[str] = Counter()
        for device in self._fleet:
            if device.ready:
                room.update({device.name, device.kind, *device.tags})
        handed = Counter(job.tag for job in running)
        ahead = _AHEAD_SHORT if self._usual_seconds < _SHORT_SECONDS else _AHEAD
        started = []
        for tag in self._todo.tags():
            for job in self._todo.take(tag, int(room[tag] * ahead) - handed[tag]):
                if self._eligible(job):
                    started.append(job)
                else:
                    self._todo.add(job)
        return started

    def _give_up_hopeless(self, running: dict[asyncio.Task[bool], FarmJob]) -> None:
        """Jobs that no device is left for: at once if all failed them, else after a while."""
        now = time.monotonic()
        tags = {job.tag for job in (*self._todo, *running.values())}
        reasons = {tag: why_none(tag, self._fleet) for tag in tags}
        for tag in tags:
            if reasons[tag] is None:
                self._gone_since.pop(tag, None)
            else:
                self._gone_since.setdefault(tag, now)
        hopeless = {
            tag
            for tag, since in self._gone_since.items()
            if tag in tags and now - since > self._farm.patience_seconds
        }
        for job in list(self._todo):
            if job.tag in hopeless:
                self._todo.remove(job)
                self._ledger.give_up(job, reasons[job.tag] or "")
            elif self._settled and self._is_out_of_devices(job, reasons[job.tag]):
                self._todo.remove(job)
                self._ledger.give_up(job, _last(job))
        for attempt, job in running.items():
            nowhere = self._settled and job.failed_on and not self._eligible(job)
            if job.tag in hopeless or (nowhere and not self._is_measured_now(job)):
                self._drop(attempt)  # back to the queue, and from there out by the rules above

    def _is_out_of_devices(self, job: FarmJob, reason: str | None) -> bool:
        """Whether all that have the tag and take jobs have failed this one."""
        return bool(job.failed_on) and reason is None and not self._eligible(job)

    def _drop(self, attempt: asyncio.Task[bool]) -> None:
        self._dropped.add(attempt)
        attempt.cancel()

    def _is_measured_now(self, job: FarmJob) -> bool:
        return any(one.running and one.has(job.tag) for one in self._fleet)

    async def _attempt(self, link: SchedulerLink, job: FarmJob) -> bool:
        """Hand a job out once. Returns whether it is finished, for better or worse."""
        job.attempt += 1
        where = [one.address for one in self._eligible(job)] if job.failed_on else None
        future = link.client.submit(
            task.measure,
            self._contents.described(job, self._asked.job_seconds),
            key=f"srdeploy-{job.number}-{job.attempt}-{uuid.uuid4().hex}",
            resources={DEVICE: 1, tag_resource(job.tag): 1},
            workers=where,
            pure=False,
        )
        try:
            answer: dict[str, Any] = await future
        except asyncio.CancelledError:
            if asyncio.current_task() in self._dropped:
                await _forget(future)
                raise
            return self._lost(job)  # cancelled by Dask: the scheduler is gone, or a worker
        except Exception as error:
            return self._lost(job, f"{type(error).__name__}: {error}")
        return await self._hear(link, job, answer)

    async def _hear(self, link: SchedulerLink, job: FarmJob, answer: dict[str, Any]) -> bool:
        name, outcome = answer["name"], answer["outcome"]
        news = _state(answer)  # sooner than the next look at the fleet
        self._see([replace(one, **news) if one.name == name else one for one in self._fleet])
        if outcome == "done":
            usual = self._usual_seconds if math.isfinite(self._usual_seconds) else answer["seconds"]
            self._usual_seconds = 0.8 * usual + 0.2 * answer["seconds"]
            return self._take(job, name, answer["results"])
        if outcome == "missing":
            device = next((one for one in self._fleet if one.name == name), None)
            if device is not None:
                try:
                    await link.send(self._contents.packed, answer["files"], device)
                except SrdeployError as error:
                    return self._lost(job, str(error))
            return False
        if outcome == "refused":
            return False
        if outcome == "wrong":
            self._ledger.give_up(job, answer["reason"])
            return True
        if outcome == "died":
            return self._lost(job, answer["reason"])
        job.hung += outcome == "hung"
        return self._failed_on(job, name, answer["reason"])

    def _take(self, job: FarmJob, name: str, results: list[dict[str, Any]]) -> bool:
        """Results go to the store; what the device failed goes to another one."""
        again = []
        reason = ""
        for result in results:
            artifact = result["name"]
            measurement = Measurement.model_validate(
                {
                    **result["measurement"],
                    "artifact": Path(artifact).name,
                    "scenario": job.batch.request.scenario,
                }
            )
            if result["fault"] == "device":
                again.append(artifact)
                job.last[artifact] = measurement
                reason = result["reason"]
            else:
                self._ledger.keep(job, artifact, measurement)
        job.artifacts = again
        return self._failed_on(job, name, reason) if again else True

    def _failed_on(self, job: FarmJob, name: str, reason: str) -> bool:
        job.failed_on[name] = reason
        self._watcher.said(f"{name} failed {', '.join(job.artifacts)}: {reason}")
        if len(job.failed_on) < TRIES and job.hung < HUNG and self._eligible(job):
            return False
        self._ledger.give_up(job, _last(job))
        return True

    def _lost(self, job: FarmJob, reason: str = "its worker went away") -> bool:
        job.lost += 1
        if job.lost < LOST:
            return False
        self._ledger.give_up(job, f"it was lost {job.lost} times ({reason})")
        return True


def run(
    farm: FarmFile,
    artifacts: Sequence[str],
    batches: Sequence[Batch],
    store: Store,
    *,
    watcher: Watcher | None = None,
    journal: Path | None = None,
    asked: FarmOptions | None = None,
) -> list[Row]:
    """Measure batches on a farm; each batch's ``device`` is a tag, and any device that has it may
    serve.

    What the store has finished is not measured again, what is measured goes there at once. A job
    whose device fails is tried on up to three; one whose worker or scheduler is lost is done again.

    Args:
        farm: The farm's file.
        artifacts: Files, or names of shipped networks; ratios refer to the first.
        batches: See :func:`srdeploy.benchmarking.measuring.plan.plan`.
        store: Keeps the measurements.
        watcher: Hears of every row, and of what happens to devices.
        journal: File that gets every row as a JSON line, with all its samples.
        asked: See :class:`FarmOptions`.

    Returns:
        One row per batch and artifact, in that order.

    Raises:
        UserError: nothing to measure, a tag that no live device has, or certificates that are not
            accepted.
        SrdeployError: the scheduler is not there, or went away and stayed away; or the store cannot
            be written to.
    """
    artifacts = check(artifacts, batches)
    with open_journal(journal) as log:
        watching, how = watcher or Watcher(), asked or FarmOptions()
        campaign = FarmClient(farm, artifacts, batches, store, watching, log, how)
        return asyncio.run(campaign.run())


def _last(job: FarmJob) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in job.failed_on.items())


def _state(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: answer["status"][name] for name in ("state", "reason")}


async def _forget(future: Any) -> None:
    with suppress(Exception):  # a scheduler that is gone has forgotten already
        await asyncio.wait_for(future.cancel(), 5)
