"""Measure artifacts against each other under one scenario: one row each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from srdeploy.benchmarking.measuring.plan import Batch, Watcher, run
from srdeploy.benchmarking.measuring.request import Request
from srdeploy.benchmarking.measuring.row import Row
from srdeploy.measure.scenario import Scenario


def bench(
    artifacts: Sequence[str],
    *,
    data: str | Path,
    scale: int,
    scenario: Scenario | None = None,
    runtime: str | None = None,
    threads: int | None = None,
    options: dict[str, Any] | None = None,
    dense: str | None = None,
    device: str = "local",
    journal: Path | None = None,
    on_row: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Measure artifacts in turns on a device (:mod:`srdeploy.benchmarking.measuring.on_device`).

    Args:
        artifacts: Files, or names of shipped networks; the first is what speed-ups refer to.
        data: Benchmark folder, or ``builtin``.
        scale: Upscaling factor.
        scenario: Conditions; default: ``Scenario()``.
        runtime: Runtime that must run all of them; default: the one that fits each file.
        threads: CPU threads for each; default: ``OMP_NUM_THREADS``, else all usable CPUs.
        options: More of what opens an artifact (``arch``, ``value_range``).
        dense: The network from which they were made, for the metrics that compare with it.
        device: Its URI.
        journal: File that gets every turn and row as a JSON line the moment it is there, so that
            an interrupted run loses nothing.
        on_row: Called with each row as soon as it is complete.

    Returns:
        One row per artifact, in the order given.

    Raises:
        UserError: no artifact, no such device, or a benchmark set that cannot be read.
    """

    class Teller(Watcher):
        def row(self, batch: Batch, artifact: str, row: Row, stored: bool) -> None:
            on_row(row)

    request = Request(
        scenario=scenario or Scenario(),
        scale=scale,
        data=str(data),
        runtime=runtime,
        threads=threads,
        options=options or {},
        dense=dense,
    )
    return run(artifacts, [Batch(device, request)], journal=journal, watcher=Teller())
