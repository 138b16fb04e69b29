"""Measure artifacts against each other: latency interleaved, memory, quality, one row each."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srdeploy.bench.describe import content_hash, counts
from srdeploy.bench.feed import choose_image, network_input
from srdeploy.bench.interleave import Series, interleave
from srdeploy.bench.row import Row
from srdeploy.bench.stats import Latency, Ratio, paired_speedup
from srdeploy.errors import SrdeployError, UserError
from srdeploy.measure.machine import machine_facts
from srdeploy.measure.process import WorkerFailed, WorkerProcess
from srdeploy.measure.scenario import Scenario
from srdeploy.models.card import Card
from srdeploy.progress import track
from srdeploy.runtime.bicubic_session import NAME as BICUBIC
from srdeploy.runtime.session import default_threads
from srdeploy.runtime.table import RUNTIMES


def bench(
    artifacts: Sequence[str],
    *,
    data: str | Path,
    scale: int,
    scenario: Scenario | None = None,
    runtime: str | None = None,
    threads: int | None = None,
    options: dict[str, Any] | None = None,
    journal: Path | None = None,
    on_row: Callable[[Row], None] | None = None,
) -> list[Row]:
    """Measure each artifact in a fresh process of its own.

    All stay loaded and take turns, one running at a time, until each has the scenario's runs and
    seconds; then memory is read and quality measured. An artifact that fails gets a row saying so,
    the others finish.

    Args:
        artifacts: Files, or names of shipped networks; the first is what speed-ups refer to.
        data: Benchmark folder, or ``builtin``.
        scale: Upscaling factor.
        scenario: Conditions; default: ``Scenario()``.
        runtime: Runtime that must run all of them; default: the one that fits each file.
        threads: CPU threads for each; default: ``OMP_NUM_THREADS``, else all usable CPUs.
        options: More arguments of ``open_session`` (``arch``, ``value_range``).
        journal: File that gets every turn and row as a JSON line the moment it is there, so that
            an interrupted run loses nothing.
        on_row: Called with each row as soon as it is complete.

    Returns:
        One row per artifact, in the order given.

    Raises:
        UserError: no artifact, or a benchmark set that cannot be read.
    """
    if not artifacts:
        raise UserError("There is nothing to measure; name at least one network or artifact.")
    if BICUBIC in artifacts:
        raise UserError(
            "Bicubic is the baseline of quality, not a network with a latency; use `srdeploy eval`."
        )
    scenario = scenario or Scenario()
    size = None if scenario.input == "median" else scenario.input
    lr = choose_image(data, scale, size)
    conditions: dict[str, Any] = {
        "scenario": scenario.model_dump(mode="json"),
        "machine": machine_facts(),
        "scale": scale,
        "data": Path(data).name,
        "lr_size": lr.shape[:2],
    }
    threads = threads or default_threads()
    with ExitStack() as stack:
        log = _Journal(stack.enter_context(open(journal, "a")) if journal else None)
        log.write("start", artifacts=[Path(a).name for a in artifacts], **conditions)
        contestants = []
        with track("load and warm up", len(artifacts)) as bar:
            for artifact in artifacts:
                process = WorkerProcess(threads, scenario.timeout_seconds)
                stack.enter_context(process)
                contestant = _Contestant(artifact, process)
                contestant.prepare(lr, scale, runtime, threads, options or {}, scenario)
                contestants.append(contestant)
                bar.update()
        series = _take_turns(contestants, scenario, log)
        rows = []
        with track("quality", len(contestants)) as bar:
            for index, contestant in enumerate(contestants):
                one = series.get(index, Series())
                contestant.finish(one, series.get(0), str(data), scale, scenario)
                row = Row(**conditions, **contestant.facts)
                log.write("row", **row.model_dump(mode="json"))
                if on_row:
                    on_row(row)
                rows.append(row)
                bar.update()
        return rows


class _Contestant:
    """One artifact on its way through the measurement; ``facts`` become its row."""

    def __init__(self, artifact: str, process: WorkerProcess) -> None:
        self.artifact = artifact
        self.process = process
        self.facts: dict[str, Any] = {"artifact": Path(artifact).name}

    @property
    def failed(self) -> bool:
        return "error" in self.facts

    @property
    def timed(self) -> bool:
        """Whether its runtime's speed is that of the artifact."""
        row = RUNTIMES.get(self.facts.get("runtime", ""))
        return row is None or row.timed

    def prepare(
        self,
        lr: NDArray[np.uint8],
        scale: int,
        runtime: str | None,
        threads: int,
        options: dict[str, Any],
        scenario: Scenario,
    ) -> None:
        """Open, first run, warm-up."""
        try:
            self.facts["sha256"] = content_hash(self.artifact)
            opened = self.process.ask(
                "open",
                artifact=self.artifact,
                runtime=runtime,
                threads=threads,
                options={"scale": scale, **options},
            )
            card = Card.from_json(opened.pop("card"))
            self.facts |= opened | counts(card)
            if not self.timed:
                self._leave_untimed(scenario)
                return
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "input.npy"
                np.save(path, network_input(card, lr, scale, scenario.batch))
                self.facts |= self.process.ask("feed", path=str(path))
            self.facts |= self.process.ask("first")
            self.process.ask("warm", runs=scenario.warmup_runs, seconds=scenario.warmup_seconds)
        except SrdeployError as error:
            self._fail(error)

    def _leave_untimed(self, scenario: Scenario) -> None:
        del self.facts["load_ms"]
        runtime = self.facts["runtime"]
        if not scenario.quality:
            raise UserError(
                f"the runtime {runtime} computes results only, its speed means nothing; measure "
                "on a device, or measure quality."
            )
        self.facts["note"] = f"{runtime}: quality only, its speed would mean nothing"

    def turn(self, seconds: float) -> list[float]:
        """One turn of sampling (see :class:`srdeploy.bench.interleave.TurnTaker`)."""
        return self.process.ask("turn", seconds=seconds)["samples_ms"]

    def finish(
        self, own: Series, base: Series | None, data: str, scale: int, scenario: Scenario
    ) -> None:
        """Memory, quality and the figures; the process is ended, its memory free for the rest."""
        if own.samples:
            self.facts |= Latency.of(own.samples).as_dict()
            self.facts |= {
                "n_samples": len(own.samples),
                "samples_ms": [round(sample, 4) for sample in own.samples],
                "turns": [len(one) for one in own.rounds],
            }
        if own.rounds and base is not None and base is not own:
            self.facts |= _speedup(paired_speedup(base.rounds, own.rounds))
        if own.error:
            self._fail(WorkerFailed(own.error))
        try:
            if not self.failed:
                if self.timed:
                    self.facts |= self.process.ask("memory")
                if scenario.quality:
                    asked = {"data": data, "scale": scale, "protocol": scenario.protocol}
                    self.facts |= self.process.ask("quality", **asked)["quality"]
        except WorkerFailed as error:
            self._fail(error)
        self.process.close()

    def _fail(self, error: SrdeployError) -> None:
        self.facts["error"] = f"{self.facts['artifact']}: {error}"


class _Journal:
    """JSON lines, each on the disk before the next thing happens."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, event: str, **fields: Any) -> None:
        if self._stream is not None:
            self._stream.write(json.dumps({"event": event, **fields}) + "\n")
            self._stream.flush()


def _take_turns(
    contestants: list[_Contestant], scenario: Scenario, log: _Journal
) -> dict[int, Series]:
    takers = {i: c for i, c in enumerate(contestants) if c.timed and not c.failed}
    done = dict.fromkeys(takers, 0.0)
    with track("measure", len(takers)) as bar:

        def on_turn(index: int, number: int, samples: list[float]) -> None:
            log.write("turn", artifact=index, round=number, samples_ms=samples)
            share = max(len(samples) / scenario.min_runs, 0.0)
            if scenario.min_seconds:
                share = min(share, sum(samples) / (scenario.min_seconds * 1e3))
            share = min(share, 1 - done[index])
            done[index] += share
            bar.update(share, ms=f"{np.median(samples):.1f}")

        return interleave(takers, scenario, on_turn)


def _speedup(ratio: Ratio | None) -> dict[str, float]:
    if ratio is None:
        return {}
    return {"speedup": ratio.median, "speedup_low": ratio.low, "speedup_high": ratio.high}
