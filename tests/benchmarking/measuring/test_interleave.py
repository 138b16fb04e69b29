from __future__ import annotations

import pytest

from srdeploy.benchmarking.measuring import interleave as module
from srdeploy.benchmarking.measuring.interleave import interleave
from srdeploy.measure.process import WorkerFailed
from srdeploy.measure.scenario import Scenario


class Fake:
    def __init__(self, name: str, log: list[str], ms: float, dies_at: int | None = None) -> None:
        self.name, self.log, self.ms, self.dies_at, self.turns = name, log, ms, dies_at, 0

    def turn(self, seconds: float) -> list[float]:
        self.turns += 1
        if self.turns == self.dies_at:
            raise WorkerFailed("its process died.")
        self.log.append(self.name)
        return [self.ms] * max(1, int(seconds * 1e3 // self.ms))


def test_turns_alternate_and_turn_round() -> None:
    log: list[str] = []
    takers = {name: Fake(name, log, 100) for name in "ABC"}
    series = interleave(takers, Scenario(min_runs=15, min_seconds=0, turn_seconds=0.5))
    assert "".join(log) == "ABCCBAABC"
    assert [len(one) for one in series["A"].rounds] == [5, 5, 5]


def test_all_go_on_until_the_last_is_satisfied() -> None:
    log: list[str] = []
    takers = {"slow": Fake("s", log, 1000), "fast": Fake("f", log, 10)}
    series = interleave(takers, Scenario(min_runs=4, min_seconds=0, turn_seconds=0.1))
    assert len(series["slow"].samples) == 4
    assert len(series["fast"].rounds) == 4  # every round of the one has its neighbour
    assert len(series["fast"].samples) == 40


def test_runs_and_seconds_are_both_needed() -> None:
    takers = {1: Fake("a", [], 10)}
    series = interleave(takers, Scenario(min_runs=5, min_seconds=1.0, turn_seconds=0.1))
    assert sum(series[1].samples) == 1000


def test_who_dies_is_left_out_and_keeps_what_it_had() -> None:
    log: list[str] = []
    takers = {"A": Fake("A", log, 100), "B": Fake("B", log, 100, dies_at=2)}
    seen: list[tuple[str, int]] = []
    series = interleave(
        takers,
        Scenario(min_runs=4, min_seconds=0, turn_seconds=0.1),
        lambda key, number, samples: seen.append((key, number)),
    )
    assert str(series["B"].failure) == "its process died."
    assert len(series["B"].samples) == 1
    assert len(series["A"].samples) == 4
    assert seen == [("A", 0), ("B", 0), ("A", 1), ("A", 2), ("A", 3)]


def test_nobody_left() -> None:
    takers = {"A": Fake("A", [], 100, dies_at=1)}
    assert interleave(takers, Scenario())["A"].samples == []
    assert interleave({}, Scenario()) == {}


def test_there_is_a_rest_before_every_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.05)  # other tests have none
    events: list[str] = []
    takers = {name: Fake(name, events, 100) for name in "AB"}
    scenario = Scenario(min_runs=1, min_seconds=0, turn_seconds=0.1)
    interleave(takers, scenario, sleep=lambda seconds: events.append(f"{seconds:g}"))
    assert events == ["0.05", "A", "0.05", "B"]


def test_times_that_never_add_up_end_the_loop() -> None:
    tiny, good = Fake("t", [], 1e-6), Fake("g", [], 100)
    tiny.turn = lambda seconds: [1e-6]  # type: ignore[method-assign]
    scenario = Scenario(min_runs=3, min_seconds=1, turn_seconds=0.5)
    series = interleave({"t": tiny, "g": good}, scenario, sleep=lambda seconds: None)
    assert "its times cannot be right" in str(series["t"].failure)
    assert len(series["t"].rounds) < 1000
    assert series["g"].failure is None
