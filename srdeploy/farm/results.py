"""A campaign's results: each into the store once, and told to whoever watches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from srdeploy.benchmarking.measuring.journal import Journal
from srdeploy.benchmarking.measuring.plan import Batch, Watcher, unreached
from srdeploy.benchmarking.measuring.row import Row, row_of
from srdeploy.errors import SrdeployError
from srdeploy.farm.jobs import Contents, FarmJob
from srdeploy.measure.measurement import Measurement
from srdeploy.measure.store import Store


class Results:
    """Keeps and tells measurements.

    Attributes:
        store: Where they go.
        watcher: Hears of them.
    """

    def __init__(self, store: Store, contents: Contents, watcher: Watcher, journal: Journal):
        self.store, self.watcher = store, watcher
        self._contents, self._journal = contents, journal
        self._measured: dict[tuple[int, str], Measurement] = {}
        self._kept: set[str] = set()

    def __len__(self) -> int:
        return len(self._measured)

    def recall(self, batches: Sequence[Batch], artifacts: Sequence[str]) -> None:
        """Tell what the store has finished already."""
        for batch in batches:
            for artifact in artifacts:
                found = self.store.get(self._contents.key(batch, artifact))
                if found is not None and found.error is None:
                    self._tell(batch, artifact, found, stored=True)

    def keep(self, job: FarmJob, artifact: str, measurement: Measurement) -> None:
        """Store a measurement, unless another client was first: then that one counts.

        Two artifacts of one name and content share a place in the store: the first takes it, and
        each has its own result here.
        """
        key = self._contents.key(job.batch, artifact)
        if self.store.add(measurement, key):
            self._kept.add(key)
        elif key not in self._kept:
            measurement = self.store.get(key) or measurement
        self._tell(job.batch, artifact, measurement, stored=False)

    def give_up(self, job: FarmJob, reason: str) -> None:
        """What is left of a job failed: as its last device had it, or for this reason."""
        for artifact in job.artifacts:
            measurement = job.last.get(artifact)
            if measurement is None:
                error = SrdeployError(reason)
                measurement = unreached(job.batch, artifact, error).measurement
            self.keep(job, artifact, measurement)

    def rows(self, batches: Sequence[Batch], artifacts: Sequence[str]) -> list[Row]:
        """All results, in order; each artifact's ratio is to the first of its batch."""
        rows = []
        for batch in batches:
            measured = [self._measured[id(batch), one] for one in artifacts]
            rows += [row_of(one, measured[0]) for one in measured]
        return rows

    def _tell(self, batch: Batch, artifact: str, measurement: Measurement, stored: bool) -> None:
        self._measured[id(batch), artifact] = measurement
        row = row_of(measurement, measurement)
        self._journal.write("row", **row.model_dump(mode="json"))
        self.watcher.row(replace(batch, device=measurement.device), artifact, row, stored)
