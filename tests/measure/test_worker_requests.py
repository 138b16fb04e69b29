"""What a worker makes of each request, on a clock that only its work moves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from srdeploy.errors import UserError
from srdeploy.measure import worker as module
from srdeploy.measure.worker import Worker, runtime_version, serve
from srdeploy.models.registry import create
from srdeploy.runtime import open as opening
from srdeploy.runtime.session import Session
from tests.video import clips


class Made(Session):
    """A session whose runs take chosen milliseconds."""

    runtime = "made"

    def __init__(self, clock: Clock, **told: Any) -> None:
        super().__init__(create("ledsr", n_blocks=1, n_feats=4).card, threads=3)
        self.clock, self.runs = clock, 0
        for name, value in told.items():
            setattr(self, name, value)

    def _run(self, x: Any) -> Any:
        self.runs += 1
        self.clock.now += self.clock.costs.pop(0) / 1e3 if self.clock.costs else 0.001
        return x.repeat(2, axis=2).repeat(2, axis=3)


class Clock:
    def __init__(self, *costs: float) -> None:
        self.now, self.costs = 50.0, list(costs)

    def __call__(self) -> float:
        return self.now


class Talk:
    """A worker whose session is made up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *costs: float, **told: Any):
        self.clock = Clock(*costs)
        self.worker = Worker(self.clock)
        self.asked: list[Any] = []

        def open_session(artifact: str, **options: Any) -> Made:
            self.asked.append((artifact, options))
            self.clock.now += 0.25
            self.session = Made(self.clock, **told)
            return self.session

        monkeypatch.setattr(opening, "open_session", open_session)
        self.x = tmp_path / "x.npy"
        np.save(self.x, np.arange(48, dtype=np.float32).reshape(1, 3, 4, 4) / 48)
        self.opened = self.ask("open", artifact="a.onnx", runtime="r", threads=3, options={"k": 1})
        self.fed = self.ask("feed", path=str(self.x))

    def ask(self, do: str, **fields: Any) -> dict[str, Any]:
        return self.worker.handle({"do": do, **fields})


def test_opening_passes_everything_on_and_tells_everything(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "runtime_version", lambda runtime: f"{runtime} 9")
    talk = Talk(monkeypatch, tmp_path, notes=("one",), precision="fp16",
                providers=["CUDAExecutionProvider", "CPUExecutionProvider"])  # fmt: skip
    assert talk.asked == [("a.onnx", {"runtime": "r", "threads": 3, "k": 1})]
    assert talk.opened == {
        "card": talk.session.card.to_json(), "runtime": "made", "runtime_version": "made 9",
        "provider": "cuda", "precision": "fp16", "notes": ["one"], "threads": 3,
        "load_ms": pytest.approx(250),
    }  # fmt: skip
    assert talk.fed == {"input": [1, 3, 4, 4]}


def test_one_without_providers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for told in ({}, {"providers": []}):
        assert Talk(monkeypatch, tmp_path, **told).opened["provider"] is None


def test_the_first_run_and_the_warm_up_tell_what_to_expect(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Turns of runs below 100 ms begin with one that does not count."""
    talk = Talk(monkeypatch, tmp_path, 300, 250, 150, 150, 50, 60, 60)
    assert talk.ask("first") == {"first_ms": pytest.approx(300)}
    assert talk.ask("turn", seconds=0.1)["samples_ms"] == pytest.approx([250])
    assert talk.ask("warm", runs=2, seconds=0) == {"notes": []}
    assert talk.session.runs == 4
    assert talk.ask("turn", seconds=0)["samples_ms"] == pytest.approx([50])  # 150 was expected
    assert talk.ask("turn", seconds=0)["samples_ms"] == pytest.approx([60])  # 50: one settles
    assert talk.session.runs == 7


def test_a_warm_up_of_nothing_leaves_the_first_runs_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    talk = Talk(monkeypatch, tmp_path, 20, 10, 10)
    talk.ask("first")
    talk.ask("warm", runs=0, seconds=0)
    talk.ask("turn", seconds=0)
    assert talk.session.runs == 3  # first, settling, sample


def test_warm_up_takes_runs_and_seconds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    talk = Talk(monkeypatch, tmp_path, *[100.0] * 20)
    talk.ask("warm", runs=2, seconds=0.45)
    assert talk.session.runs == 5
    talk.ask("warm", runs=7, seconds=0.45)
    assert talk.session.runs == 12


def test_a_run_goes_from_file_to_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    talk = Talk(monkeypatch, tmp_path)
    assert talk.ask("run", path=str(talk.x), to=str(tmp_path / "y.npy")) == {}
    x, y = np.load(talk.x), np.load(tmp_path / "y.npy")
    np.testing.assert_array_equal(y[:, :, ::2, ::2], x)
    monkeypatch.setattr(module, "peak_mb", lambda: 12.5)
    assert talk.ask("memory") == {"peak_mb": 12.5}


def test_versions_are_the_tables() -> None:
    assert runtime_version("no such runtime") is None
    version = runtime_version("onnxruntime")
    assert version is not None
    assert version[0].isdigit()


def test_a_failed_request_is_one_line() -> None:
    class Broken(Worker):
        def handle(self, request: dict[str, Any]) -> dict[str, Any]:
            raise ValueError(request["say"])

    answers: list[dict[str, Any]] = []
    texts = ("two\n  lines", "", "   ")
    serve([json.dumps({"say": text}) for text in texts], answers.append, Broken())
    assert answers == [
        {"ok": False, "error": "ValueError: two lines"},
        {"ok": False, "error": "ValueError: no reason given"},
        {"ok": False, "error": "ValueError: no reason given"},
    ]


def test_a_sentence_of_ours_is_passed_on_as_it_is() -> None:
    class Refusing(Worker):
        def handle(self, request: dict[str, Any]) -> dict[str, Any]:
            raise UserError("There is no file 'a.onnx'.")

    answers: list[dict[str, Any]] = []
    serve(["{}"], answers.append, Refusing())
    assert answers == [{"ok": False, "error": "There is no file 'a.onnx'."}]


def test_a_turn_of_video_runs_the_network_alone_as_often(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    talk = Talk(monkeypatch, tmp_path)
    path = clips.make(tmp_path / "film.mkv", frames=2)
    for _ in range(2):
        answer = talk.ask("film", path=str(path), seconds=0)
        assert len(answer["samples_ms"]) == len(answer["compute_ms"]) == 2
        assert min(answer["samples_ms"]) > 0
        assert answer["compute_ms"] == pytest.approx([1, 1])
