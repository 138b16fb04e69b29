"""Batches made in the background while the network trains on the one before."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from srdeploy.train.cache import ahead
from srdeploy.train.patches import PatchBatch, PatchSource


@dataclass
class LoaderTimes:
    """Seconds since the last reset: waited for by the training thread, worked by the loader's."""

    waited: float = 0.0
    worked: float = 0.0


class Loader:
    """Iterate over the batches of iterations ``start`` to ``stop - 1``, in order.

    With no workers a batch is made when it is asked for; the batches are the same either way.
    Threads suffice: cutting patches is copying, during which numpy holds no lock for long, and a
    thread shares the decoded images with the process at no cost. With ``pin`` the batches lie in
    page-locked memory.
    """

    def __init__(
        self, source: PatchSource, start: int, stop: int, workers: int, pin: bool = False
    ) -> None:
        self.times = LoaderTimes()
        self._pin = pin
        self._source, self._range, self._workers = source, range(start, stop), workers

    def __iter__(self) -> Iterator[PatchBatch]:
        """Yield each batch, adding up the times."""
        if not self._workers:
            for iteration in self._range:
                batch, seconds = self._make(iteration)
                self.times.worked += seconds
                self.times.waited += seconds
                yield batch
            return
        with ThreadPoolExecutor(self._workers, thread_name_prefix="patches") as pool:
            made = ahead(pool, self._make, self._range, depth=2 * self._workers + 1)
            try:
                while True:
                    asked = time.perf_counter()
                    result = next(made, None)
                    if result is None:
                        return
                    self.times.waited += time.perf_counter() - asked
                    self.times.worked += result[1]
                    yield result[0]
            finally:
                made.close()

    def reset_times(self) -> LoaderTimes:
        """The times so far; counting starts again."""
        times, self.times = self.times, LoaderTimes()
        return times

    def _make(self, iteration: int) -> tuple[PatchBatch, float]:
        started = time.thread_time()
        batch = self._source.batch(iteration)
        if self._pin:
            batch = batch.pinned()
        return batch, time.thread_time() - started
