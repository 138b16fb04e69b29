"""A campaign's jobs: what is left to do of batches, and what their answers mean."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from srdeploy.benchmarking.measuring.describe import content_hash
from srdeploy.benchmarking.measuring.plan import Batch
from srdeploy.farm.content_store import PackedContents, StoredContent
from srdeploy.measure.measurement import Measurement
from srdeploy.measure.store import Store

TRIES = 3
"""Devices that a job is tried on before its failure is believed."""

LOST = 20
"""Times that a job may be lost with its worker before it is given up."""

HUNG = 2
"""Devices that a job may hang on."""


@dataclass(eq=False)
class FarmJob:
    """Artifacts that take turns on one device that has the tag, under one scenario.

    Attributes:
        number: In the campaign.
        batch: What is asked; its ``device`` is the tag.
        artifacts: Those still to be measured.
        failed_on: Devices that failed it, and why: they do not get it again.
        last: Of each artifact that a device failed, the measurement with that failure.
        hung: How often it did not end.
        lost: How often its worker went away with it.
        attempt: How often it was handed out.
    """

    number: int
    batch: Batch
    artifacts: list[str]
    failed_on: dict[str, str] = field(default_factory=dict)
    last: dict[str, Measurement] = field(default_factory=dict)
    hung: int = 0
    lost: int = 0
    attempt: int = 0

    @property
    def tag(self) -> str:
        """What a device must have."""
        return self.batch.device


class Queue:
    """Jobs that wait, by tag, in the order they came."""

    def __init__(self) -> None:
        self._jobs: dict[str, deque[FarmJob]] = {}

    def add(self, job: FarmJob) -> None:
        """Put a job at the end."""
        self._jobs.setdefault(job.tag, deque()).append(job)

    def take(self, tag: str, count: int) -> list[FarmJob]:
        """The first jobs of a tag, at most ``count``."""
        jobs = self._jobs[tag]
        return [jobs.popleft() for _ in range(min(count, len(jobs)))]

    def remove(self, job: FarmJob) -> None:
        """Take a job out."""
        self._jobs[job.tag].remove(job)

    def tags(self) -> list[str]:
        """Those that jobs wait for."""
        return [tag for tag, jobs in self._jobs.items() if jobs]

    def __iter__(self) -> Iterator[FarmJob]:
        return chain.from_iterable(list(self._jobs.values()))

    def __len__(self) -> int:
        return sum(map(len, self._jobs.values()))


class Contents:
    """Artifacts and benchmark sets as parcels, each hashed once."""

    def __init__(self, artifacts: Sequence[str]) -> None:
        self.packed = PackedContents()
        self._parcels: dict[str, StoredContent] = {}
        self._hashes = {artifact: content_hash(artifact) for artifact in artifacts}
        for artifact in artifacts:
            self.parcel(artifact)

    def parcel(self, what: str) -> StoredContent:
        """The parcel of an artifact or folder."""
        if what not in self._parcels:
            self._parcels[what] = self.packed.pack(what)
        return self._parcels[what]

    def key(self, batch: Batch, artifact: str) -> str:
        """Under which the store keeps its measurement."""
        return batch.request.key(
            artifact, batch.device, batch.repeat, sha256=self._hashes[artifact]
        )

    def described(self, job: FarmJob, seconds: float) -> dict[str, Any]:
        """A job as plain data, see :mod:`srdeploy.farm.job`."""
        request = job.batch.request
        folder = request.folder
        return {
            "artifacts": [
                {"name": artifact, "parcel": self.parcel(artifact).as_dict()}
                for artifact in job.artifacts
            ],
            "data": self.parcel(folder).as_dict() if Path(folder).exists() else folder,
            "scenario": request.scenario.model_dump(mode="json", exclude={"data"}),
            "scale": request.scale,
            "runtime": request.runtime,
            "threads": request.threads,
            "options": dict(request.options),
            "repeat": job.batch.repeat,
            "seconds": seconds,
            "blame": job.hung == 0,
        }

    def digests(self, batch: Batch, artifacts: Sequence[str]) -> list[str]:
        """All contents that a job opens."""
        parcels = [self.parcel(artifact) for artifact in artifacts]
        if Path(folder := batch.request.folder).exists():
            parcels.append(self.parcel(folder))
        return [digest for parcel in parcels for _, digest in parcel.files]


def open_jobs(
    batches: Sequence[Batch],
    artifacts: Sequence[str],
    contents: Contents,
    store: Store,
    apart: bool,
) -> list[FarmJob]:
    """What the store has not finished, as jobs.

    Args:
        batches: See :func:`srdeploy.benchmarking.measuring.plan.plan`.
        artifacts: To be measured in each.
        contents: Their parcels and keys.
        store: What is finished.
        apart: One job per artifact; otherwise the artifacts of a batch take turns on one device.
    """
    jobs: list[FarmJob] = []
    for batch in batches:
        missing = [one for one in artifacts if not store.done(contents.key(batch, one))]
        groups = [[one] for one in missing] if apart else [missing] if missing else []
        jobs += [FarmJob(len(jobs) + n, batch, group) for n, group in enumerate(groups)]
    return jobs
