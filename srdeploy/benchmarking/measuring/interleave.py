"""Artifacts taking turns, so that a ratio compares neighbours in time and not noon with night."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from srdeploy.devices.errors import DeviceError
from srdeploy.errors import SrdeployError
from srdeploy.measure.scenario import Scenario

PAUSE_SECONDS = 0.05
"""Rest between turns: onnxruntime's threads spin for some 30 ms after their last run (measured),
and would take a core from the next artifact."""


_PATIENCE = 100
"""Times as many turns as should be needed; on some devices a turn covers little of its time."""

_SHORTEST_SECONDS = 1e-3
"""Of a run, where turns are asked to be shorter."""


class TurnTaker(Protocol):
    """Something that measures itself for a while."""

    def turn(self, seconds: float) -> list[float]:
        """Samples (ms) of one turn, at least one.

        Raises:
            SrdeployError: it cannot go on.
        """


@dataclass
class Series:
    """The samples of one artifact, by round."""

    rounds: list[list[float]] = field(default_factory=list)
    failure: SrdeployError | None = None

    @property
    def samples(self) -> list[float]:
        """All samples in the order taken."""
        return [sample for one in self.rounds for sample in one]

    def satisfies(self, scenario: Scenario) -> bool:
        """Whether there are enough runs, covering enough time, or as much time as may be."""
        return progress(scenario, len(self.samples), sum(self.samples) / 1e3) >= 1


def progress(scenario: Scenario, runs: int, seconds: float) -> float:
    """How far runs that cover so many seconds are on their way, 1 being enough."""
    share = runs / scenario.min_runs
    if scenario.min_seconds:
        share = min(share, seconds / scenario.min_seconds)
    if scenario.max_seconds:
        share = max(share, seconds / scenario.max_seconds)
    return min(share, 1.0)


Key = TypeVar("Key", int, str)


def interleave(
    takers: Mapping[Key, TurnTaker],
    scenario: Scenario,
    on_turn: Callable[[Key, int, list[float]], None] = lambda key, number, samples: None,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[Key, Series]:
    """Let all take turns, one at a time, until every one has enough samples.

    The order is turned round every round (A B, B A, A B...), so that a steady drift, a processor
    warming up for instance, favours nobody. All keep taking turns until the last is satisfied:
    ratios pair the turns of a round. Who fails is left out from then on.

    Args:
        takers: The artifacts.
        scenario: Length of a turn, and how much is enough.
        on_turn: Called with key, round and samples after each turn.
        sleep: Waits that many seconds; called before each turn, with 0 where nobody else
            has run.
    """
    series = {key: Series() for key in takers}
    number = 0
    pause = PAUSE_SECONDS if len(takers) > 1 else 0.0
    while True:
        alive = [key for key in takers if series[key].failure is None]
        if all(series[key].satisfies(scenario) for key in alive):
            return series
        for key in alive if number % 2 == 0 else reversed(alive):
            sleep(pause)
            try:
                samples = takers[key].turn(scenario.turn_seconds)
            except SrdeployError as error:
                series[key].failure = error
                continue
            series[key].rounds.append(samples)
            on_turn(key, number, samples)
            if number > most_turns(scenario) and not series[key].satisfies(scenario):
                series[key].failure = DeviceError(
                    f"{number + 1} turns hold only {sum(series[key].samples) / 1e3:.3g} s of runs; "
                    "its times cannot be right."
                )
        number += 1


def most_turns(scenario: Scenario) -> int:
    """Turns after which an artifact that still has not enough samples never will.

    A turn holds at least one sample, and covers about ``turn_seconds``.
    """
    needed = scenario.min_seconds
    if scenario.max_seconds:
        needed = min(needed, scenario.max_seconds)
    covered = max(scenario.turn_seconds, _SHORTEST_SECONDS)
    return scenario.min_runs + _PATIENCE * (1 + round(needed / covered))
