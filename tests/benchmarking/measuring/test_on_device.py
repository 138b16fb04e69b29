"""What is asked of a device, what it is given, and what becomes of its answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from srdeploy.benchmarking.measuring import on_device
from srdeploy.benchmarking.measuring.inputs import median_image
from srdeploy.benchmarking.measuring.on_device import check_artifacts, measure_on, now
from srdeploy.benchmarking.measuring.request import Outcome, Request
from srdeploy.data.images import write_png
from srdeploy.devices.errors import DeviceError
from srdeploy.devices.fake import FakeDevice, FakeModel
from srdeploy.devices.protocol import Job, Turn
from srdeploy.devices.uri import DeviceUri
from srdeploy.errors import SrdeployError, UserError
from srdeploy.measure.measurement import Conditions, DeviceFacts, Reading
from srdeploy.measure.scenario import Scenario
from srdeploy.util.shipped import shipped_networks

NAME = "edsr-s-x2"
SHORT = Scenario(
    inputs=((6, 9),), min_runs=4, min_seconds=0, turn_seconds=0.01, warmup_runs=5,
    warmup_seconds=0.25, quality=False, sensor_seconds=0.02, timeout_seconds=77,
)  # fmt: skip


class Model(FakeModel):
    """Answers what its device says, and writes down what it is asked."""

    device: Desk

    def __init__(self, device: Desk, model: FakeModel) -> None:
        super().__init__(device, replace(model.loaded, **device.loaded), model._artifact)
        self.device = device

    def prepare(self, x: Any, *, runs: int, seconds: float) -> float | None:
        self.device.heard.append(("prepare", x.shape, runs, seconds))
        self.loaded = replace(self.loaded, **self.device.later)
        return 12.5

    def turn(self, seconds: float) -> Turn:
        self.device.heard.append(("turn", seconds))
        time.sleep(0.01)
        self.device.during.append(time.monotonic())
        time.sleep(0.01)
        return Turn([10.00004, 20.0], [8.00004, 16.0])

    def peak_mb(self) -> float | None:
        self.device.heard.append(("memory",))
        if self.device.breaks == "memory":
            raise DeviceError("It fell.")
        return 99.0

    def close(self) -> None:
        self.device.heard.append(("close",))


class Desk(FakeDevice):
    """A fake device whose answers are chosen, with two rails and a GPU."""

    def __init__(self, **loaded: Any) -> None:
        super().__init__(DeviceUri.parse("fake://desk"))
        self.loaded, self.heard, self.jobs, self.during = loaded, [], [], []
        self.kind, self.breaks = "fake", ""
        self.later: dict[str, Any] = {}
        self.sensors = self  # type: ignore[assignment]
        self.total_rails = ("a", "b")

    heard: list[tuple[Any, ...]]
    jobs: list[Job]
    during: list[float]

    @property
    def facts(self) -> DeviceFacts:
        return super().facts.model_copy(update={"kind": self.kind})

    def load(self, job: Job) -> Model:
        self.jobs.append(job)
        return Model(self, super().load(job))

    def conditions(self) -> Conditions:
        if self.breaks == "conditions":
            raise SrdeployError("It is gone.")
        return Conditions(
            thermal="cool", temperatures_c={"t": -400.0 if self.breaks == "cold" else 1}
        )

    @contextmanager
    def watch(self, seconds: float) -> Iterator[Any]:
        self.heard.append(("watch", seconds))
        begun = time.monotonic()
        yield SimpleNamespace(readings=_Readings(self, begun))


class _Readings(list[Reading]):
    """One before any turn, one during each, one long after, of other power but during turns."""

    def __init__(self, desk: Desk, begun: float) -> None:
        self.desk, self.begun = desk, begun

    def __iter__(self) -> Iterator[Reading]:
        for moment in (0.0, *(at - self.begun for at in self.desk.during), 99.0):
            watts = 2.0 if 0 < moment < 99 else 500.0
            yield Reading(seconds=moment, power_w={"a": watts, "b": 3.0})

    def __len__(self) -> int:
        return len(self.desk.during) + 2


def ask(device: Desk, *artifacts: str, scenario: Scenario = SHORT, **more: Any) -> list[Outcome]:
    request = Request(scenario, 2, **more.pop("request", {}))
    return measure_on(device, artifacts or (NAME,), request, **more)


def test_a_device_with_a_screen_is_shown_what_came_of_it() -> None:
    class Screen(Desk):
        def show(self, figures: Any) -> None:
            self.heard.append(("show", figures))

    desk = Screen()
    ask(desk, NAME, "edsr-s-x2-p50", scenario=SHORT.model_copy(update={"quality": True}))
    ((_, (first, second)),) = [told for told in desk.heard if told[0] == "show"]
    assert (first.artifact, first.faster, first.interval) == (NAME, None, None)
    assert first.p50_ms == pytest.approx(15.0)
    assert first.psnr > 0
    assert second.artifact == "edsr-s-x2-p50"
    assert second.faster == 1.0  # the fake device is as fast with any


def test_what_only_a_run_tells_is_in_the_measurement() -> None:
    """The native runner reads back what it computed in when it has run."""
    desk = Desk(precision=None, load_ms=None, notes=("before",))
    desk.later = {"precision": "fp16", "load_ms": 6.0, "notes": ("before", "after")}
    one = ask(desk)[0].measurement
    assert (one.precision, one.load_ms, one.notes) == ("fp16", 6.0, ["before", "after"])


def test_everything_a_device_tells_is_in_the_measurement() -> None:
    desk = Desk(runtime="engine", runtime_version="7", provider="gpu", precision="fp16", threads=3,
                build_ms=5.0, load_ms=6.0, notes=("it said so",))  # fmt: skip
    began = datetime.now(timezone.utc) - timedelta(seconds=1)
    (outcome,) = ask(desk, name="orin", repeat=4)
    one = outcome.measurement
    assert (outcome.artifact, outcome.failure, one.error) == (NAME, None, None)
    assert (one.artifact, one.device, one.repeat, one.scale) == (NAME, "orin", 4, 2)
    assert (one.runtime, one.runtime_version, one.provider, one.precision) == (
        *("engine", "7", "gpu", "fp16"),
    )  # fmt: skip
    assert (one.threads, one.build_ms, one.load_ms, one.first_ms, one.peak_mb) == (
        3,
        5,
        6,
        12.5,
        99,
    )
    assert (one.input, one.lr_size, one.scenario) == ((1, 3, 6, 9), (6, 9), SHORT)
    assert (one.samples_ms, one.turns) == ([10.0, 20.0] * 2, [2, 2])
    assert one.compute_ms == [8.0, 16.0] * 2
    assert one.notes == ["it said so"]
    assert one.sha256 is not None
    assert (one.params, one.quality) == (one.params, None)
    assert one.params
    assert one.params > 1000
    assert one.before == one.after == Conditions(thermal="cool", temperatures_c={"t": 1})
    assert one.power is not None
    assert (one.power.mean_w, one.power.rails, len(one.readings)) == (5, ("a", "b"), 2)
    assert one.power.energy_j_per_frame == pytest.approx(5 * 0.015)
    assert one.ended is not None
    for moment in (one.started, one.ended):
        assert began <= datetime.fromisoformat(moment) + timedelta(seconds=1)
        assert datetime.fromisoformat(moment) <= datetime.now(timezone.utc)
    assert desk.heard == [
        ("prepare", (1, 3, 6, 9), 5, 0.25), ("watch", 0.02), ("turn", 0.01), ("turn", 0.01),
        ("memory",), ("close",),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "more", "threads", "runtime", "shapes"),
    [
        ("fake", {}, None, None, ((1, 3, 6, 9),)),
        ("local", {}, None, None, ()),  # files are opened as they are
        ("fake", {"threads": 3, "runtime": "torch"}, 3, "torch", ((1, 3, 6, 9),)),
    ],
)
def test_the_job(kind: str, more: Any, threads: Any, runtime: Any, shapes: Any) -> None:
    desk = Desk()
    desk.kind = kind
    ask(desk, request=more | {"options": {"value_range": 255.0}})
    (job,) = desk.jobs
    assert (job.artifact, job.threads, job.runtime, job.shapes) == (NAME, threads, runtime, shapes)
    assert job.options == {"scale": 2, "value_range": 255.0}
    assert job.timeout_seconds == 77
    assert job.picture == median_image("builtin", 2).shape[:2]


def test_a_scenario_and_a_name_go_before_the_request(tmp_path: Path) -> None:
    desk = Desk()
    fixed = SHORT.model_copy(update={"threads": 2, "batch": 3})
    ask(desk, f"{NAME}@onnxruntime", scenario=fixed, request={"threads": 5, "runtime": "torch"})
    (job,) = desk.jobs
    assert (job.artifact, job.runtime, job.threads) == (NAME, "onnxruntime", 2)
    assert job.shapes == ((3, 3, 6, 9),)


def test_quality_asks_for_the_shapes_of_the_set_and_is_told_in_full(tmp_path: Path) -> None:
    for name, size in (("a", (24, 32)), ("b", (24, 32)), ("c", (40, 24))):
        pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
        write_png(tmp_path / "set" / f"{name}.png", pixels)
    desk = Desk()
    scenario = SHORT.model_copy(update={"quality": True})
    (outcome,) = ask(desk, scenario=scenario, request={"data": str(tmp_path / "set")})
    assert desk.jobs[0].shapes == ((1, 3, 6, 9), (1, 3, 12, 16), (1, 3, 20, 12))
    found = outcome.measurement.quality
    assert found is not None
    assert (found.data, found.n_images, found.colour) == ("set", 3, "y")
    assert found.protocol == "psnr[y, crop=2, u8, matlab]"
    assert found.bicubic is not None
    assert found.psnr < found.bicubic  # nearest neighbours are worse
    assert [image["name"] for image in found.per_image] == ["a", "b", "c"]
    named = scenario.model_copy(update={"protocol": "rgb"})
    (outcome,) = ask(Desk(), scenario=named, request={"data": str(tmp_path / "set")})
    assert outcome.measurement.quality is not None
    assert outcome.measurement.quality.protocol.startswith("psnr[rgb")


def test_without_memory_sensors_or_time_nothing_of_it_is_asked() -> None:
    desk = Desk()
    (outcome,) = ask(desk, scenario=SHORT.model_copy(update={"memory": False, "sensors": False}))
    one = outcome.measurement
    assert (one.peak_mb, one.power, one.readings) == (None, None, [])
    assert {what for what, *_ in desk.heard} == {"prepare", "turn", "close"}
    quiet = Desk()
    quiet.sensors = None  # type: ignore[assignment]
    (outcome,) = ask(quiet)
    assert (outcome.measurement.power, outcome.measurement.before) == (None, Conditions())


def test_an_interpreter_is_not_timed() -> None:
    desk = Desk(timed=False, runtime="reference", notes=("quality only",))
    (outcome,) = ask(desk)
    assert outcome.measurement.error == (
        f"{NAME}: the runtime reference computes results only, its speed means nothing; measure on "
        "a device, or measure quality."
    )
    assert outcome.measurement.notes == ["quality only"]
    (outcome,) = ask(Desk(timed=False), request={"runtime": "named"})
    assert "the runtime named computes" in str(outcome.failure)


def test_what_fails_late_keeps_its_samples_and_closes() -> None:
    desk = Desk()
    desk.breaks = "memory"
    (outcome,) = ask(desk)
    assert str(outcome.failure) == "It fell."
    assert outcome.measurement.error == f"{NAME}: It fell."
    assert len(outcome.measurement.samples_ms) == 4
    assert desk.heard[-1] == ("close",)
    assert desk.heard.count(("close",)) == 1


def test_a_device_that_tells_what_cannot_be_fails_all() -> None:
    desk = Desk()
    desk.breaks = "cold"
    assert all(o.failure is not None for o in ask(desk, NAME, NAME))
    gone = Desk()
    gone.breaks = "conditions"  # it says so when it is asked to run
    (outcome,) = ask(gone)
    assert (outcome.failure, outcome.measurement.before) == (None, Conditions())


def test_together_or_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[float] = []
    monkeypatch.setattr(
        on_device, "time", SimpleNamespace(sleep=rests.append, monotonic=time.monotonic)
    )
    turns: list[tuple[int, int, int]] = []
    told: list[str] = []
    desk = Desk()
    scenario = SHORT.model_copy(update={"rest_seconds": 3.0})
    both = ask(
        desk, NAME, NAME, scenario=scenario, on_outcome=lambda o: told.append(o.artifact),
        on_turn=lambda index, number, samples: turns.append((index, number, len(samples))),
    )  # fmt: skip
    assert len({o.measurement.session for o in both}) == 1
    assert turns == [(0, 0, 2), (1, 0, 2), (1, 1, 2), (0, 1, 2)]
    assert (told, rests) == ([NAME, NAME], [3.0])
    turns.clear()
    alone = ask(
        desk, NAME, NAME, scenario=scenario.model_copy(update={"sustained": True}),
        on_turn=lambda index, number, samples: turns.append((index, number, len(samples))),
    )  # fmt: skip
    assert len({o.measurement.session for o in alone}) == 2
    assert turns == [(0, 0, 2), (0, 1, 2), (1, 0, 2), (1, 1, 2)]
    assert rests == [3.0] * 3
    assert [o.measurement.device for o in alone] == ["fake://desk"] * 2  # where no name is given


def test_tiles_are_told(tmp_path: Path) -> None:
    desk = Desk()
    tiled = SHORT.model_copy(update={"inputs": ((200, 200),), "tile": 100})
    (outcome,) = ask(desk, scenario=tiled)
    (prepared,) = (told[1] for told in desk.heard if told[0] == "prepare")
    assert outcome.measurement.input == prepared == desk.jobs[0].shapes[0]
    assert max(prepared[2:]) <= 100
    assert " tiles of " in outcome.measurement.notes[-1]


def test_the_median_image_is_the_sets_own() -> None:
    (outcome,) = ask(Desk(), scenario=SHORT.model_copy(update={"inputs": ("median",)}))
    assert outcome.measurement.lr_size not in (None, (6, 9))


def test_what_cannot_be_measured() -> None:
    with pytest.raises(UserError, match="nothing to measure; name at least one"):
        check_artifacts([])
    with pytest.raises(UserError, match=r"Bicubic is the baseline .*srdeploy eval"):
        check_artifacts([NAME, "bicubic"])
    assert check_artifacts([NAME, f"{NAME}@openvino"]) == [NAME, f"{NAME}@openvino"]


def test_files_of_the_hub_are_measured_where_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("srdeploy.models.card_file.fetch", lambda wanted: tmp_path / wanted.file)
    asked = ["hf:org/repo@v1/net.onnx@openvino", "hf:org/repo/net.onnx", NAME]
    assert check_artifacts(asked) == [
        f"{tmp_path}/net.onnx@openvino", f"{tmp_path}/net.onnx", NAME
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"There is no file 'absent\.onnx'"):
        ask(Desk(), NAME, "absent.onnx")
    with pytest.raises(UserError, match=f"did you mean '{NAME}'"):
        check_artifacts([NAME, NAME.replace("-s-", "-")])


def test_now_is_utc_to_the_second() -> None:
    moment = datetime.fromisoformat(now())
    assert moment.utcoffset() == timedelta(0)
    assert abs(moment - datetime.now(timezone.utc)) < timedelta(seconds=5)
    assert moment.microsecond == 0
    assert NAME in shipped_networks()
