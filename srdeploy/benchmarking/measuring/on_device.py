"""Artifacts on one device: interleaved, watched by the device's sensors, quality last.

This is the one way in which anything is timed: a laptop, a board at the end of an ssh line and a
phone's browser differ in their :class:`srdeploy.devices.protocol.Device` only.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srdeploy.benchmarking.measuring.artifact_run import ArtifactRun
from srdeploy.benchmarking.measuring.inputs import fitted, median_image
from srdeploy.benchmarking.measuring.interleave import Series, interleave, progress
from srdeploy.benchmarking.measuring.request import Outcome, Request
from srdeploy.benchmarking.measuring.row import row_of
from srdeploy.devices.answers import Implausible
from srdeploy.devices.checked import CheckedDevice, CheckedWatch, checked
from srdeploy.devices.protocol import Device, Figures
from srdeploy.errors import SrdeployError, UserError
from srdeploy.measure.measurement import Conditions, Measurement
from srdeploy.measure.scenario import Scenario
from srdeploy.models.card_file import find_file
from srdeploy.models.hub_file import hub_file
from srdeploy.runtime.bicubic_session import NAME as BICUBIC
from srdeploy.runtime.table import split_runtime
from srdeploy.util.progress import track

OnTurn = Callable[[int, int, list[float]], None]
OnOutcome = Callable[[Outcome], None]


def measure_on(
    device: Device,
    artifacts: Sequence[str],
    request: Request,
    *,
    name: str = "",
    repeat: int = 0,
    on_turn: OnTurn = lambda index, number, samples: None,
    on_outcome: OnOutcome = lambda outcome: None,
) -> list[Outcome]:
    """Measure artifacts on a device whose context has been entered.

    All are loaded and take turns, one running at a time, until each has the scenario's runs and
    seconds; then memory is read and quality computed from what the device puts out. A sustained
    scenario has them run one after another instead, each alone and without a pause. One that fails
    says so in its outcome, the others finish.

    Args:
        device: Where.
        artifacts: Files, or names of shipped networks.
        request: What is asked.
        name: What the results call the device; default: its URI.
        repeat: Number of the repetition.
        on_turn: Called with index, round and samples (ms) after each turn.
        on_outcome: Called with each outcome as soon as it is there.

    Returns:
        One outcome per artifact, in the order given.

    Raises:
        UserError: no artifact, or a benchmark set that cannot be read.
    """
    artifacts = check_artifacts(artifacts)
    device = checked(device)
    scenario = request.scenario
    size = None if scenario.input == "median" else scenario.input
    image = median_image(request.folder, request.scale)
    lr = fitted(image, size)
    picture = image.shape[0], image.shape[1]
    contestants = {i: ArtifactRun(device, a, request, picture) for i, a in enumerate(artifacts)}
    together = [[i] for i in contestants] if scenario.sustained else [list(contestants)]
    outcomes: list[Outcome] = []
    for group in together:
        time.sleep(scenario.rest_seconds)
        common = {
            "device": name or device.uri,
            "facts": device.facts,
            "scenario": scenario,
            "session": uuid.uuid4().hex,
            "repeat": repeat,
            "scale": request.scale,
            "lr_size": lr.shape[:2],
        }
        ours = {i: contestants[i] for i in group}
        outcomes += _measure_together(device, ours, scenario, lr, common, on_turn, on_outcome)
    device.show([_figures(one.measurement, outcomes[0].measurement) for one in outcomes])
    return outcomes


def _figures(measurement: Measurement, base: Measurement) -> Figures:
    row = row_of(measurement, base)
    low, high = row.speedup_low, row.speedup_high
    return Figures(
        artifact=row.artifact,
        p50_ms=row.p50_ms,
        faster=row.speedup,
        interval=None if low is None or high is None else (low, high),
        psnr=None if measurement.quality is None else measurement.quality.psnr,
    )


def check_artifacts(artifacts: Sequence[str]) -> list[str]:
    """See that there is something to measure, and that all of it is there.

    Returns:
        The artifacts, with files of the hub as they lie on this machine.

    Raises:
        UserError: nothing is named, bicubic is, or a file or shipped network that does not exist.
    """
    if not artifacts:
        raise UserError("There is nothing to measure; name at least one network or artifact.")
    if BICUBIC in artifacts:
        raise UserError(
            "Bicubic is the baseline of quality, not a network with a latency; use `srdeploy eval`."
        )
    return [_on_this_machine(artifact) for artifact in artifacts]


def _on_this_machine(artifact: str) -> str:
    name, _ = split_runtime(artifact)
    file = find_file(name)
    return f"{file}{artifact.removeprefix(name)}" if hub_file(name) else artifact


def now() -> str:
    """The time, UTC, as results give it."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _measure_together(
    device: CheckedDevice,
    contestants: dict[int, ArtifactRun],
    scenario: Scenario,
    lr: NDArray[np.uint8],
    common: dict[str, Any],
    on_turn: OnTurn,
    on_outcome: OnOutcome,
) -> list[Outcome]:
    with ExitStack() as stack:
        for contestant in contestants.values():
            stack.callback(contestant.close)
        common |= {"before": _conditions(device, contestants), "started": now()}
        with track("load and warm up", len(contestants)) as bar:
            for contestant in contestants.values():
                contestant.load(lr)
                bar.update()
        zero = time.monotonic()
        watch: CheckedWatch | None = None
        with ExitStack() as watching:
            if scenario.sensors and device.sensors is not None:
                watch = watching.enter_context(device.sensors.watch(scenario.sensor_seconds))
            series = _take_turns(contestants, scenario, on_turn)
        common |= {"after": _conditions(device, contestants), "ended": now()}
        outcomes = []
        with track("quality", len(contestants)) as bar:
            for index, contestant in contestants.items():
                contestant.finish()
                rounds = series.get(index, Series()).rounds
                outcomes.append(contestant.outcome(rounds, common, watch, zero))
                on_outcome(outcomes[-1])
                bar.update()
        return outcomes


def _take_turns(
    contestants: dict[int, ArtifactRun], scenario: Scenario, on_turn: OnTurn
) -> dict[int, Series]:
    takers = {i: c for i, c in contestants.items() if c.timed}
    runs, seconds, done = (dict.fromkeys(takers, 0.0) for _ in range(3))
    with track("measure", len(takers)) as bar:

        def turned(index: int, number: int, samples: list[float]) -> None:
            on_turn(index, number, samples)
            runs[index] += len(samples)
            seconds[index] += sum(samples) / 1e3
            share = progress(scenario, int(runs[index]), seconds[index])
            bar.update(share - done[index], ms=f"{np.median(samples):.1f}")
            done[index] = share

        series = interleave(takers, scenario, turned)
    for index, one in series.items():
        contestants[index].failure = one.failure
    return series


def _conditions(device: CheckedDevice, contestants: dict[int, ArtifactRun]) -> Conditions:
    """What the device tells; one that tells what cannot be fails all that is measured on it."""
    if device.sensors is not None:
        try:
            return device.sensors.conditions()
        except Implausible as error:
            for contestant in contestants.values():
                contestant.failure = contestant.failure or error
        except SrdeployError:  # a device that is gone says so when it is asked to run
            pass
    return Conditions()
