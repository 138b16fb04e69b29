"""The parts of this machine as a device, each without a network."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from srdeploy.devices import local
from srdeploy.devices.errors import DeviceError
from srdeploy.devices.local import LocalCommands, LocalDevice, LocalFiles, LocalModel, LocalWatch
from srdeploy.devices.protocol import Completed, Job
from srdeploy.devices.uri import DeviceUri
from srdeploy.errors import SrdeployError, UserError
from srdeploy.models.registry import create
from srdeploy.runtime.session import default_threads

CARD = create("ledsr", n_blocks=1, n_feats=4).card


class Worker:
    """In the place of the process that runs networks: notes what it is asked."""

    def __init__(self, threads: int, timeout: float, **answers: Any) -> None:
        self.made, self.asked, self.closed = (threads, timeout), [], False
        self.answers = {
            "open": {
                "card": CARD.to_json(), "runtime": "onnxruntime", "runtime_version": "9",
                "provider": "p", "precision": "fp16", "threads": 2, "load_ms": 5.0,
                "notes": ["a note"],
            },
            "first": {"first_ms": 7.0}, "warm": {"provider": "q"}, "memory": {"peak_mb": 50.0},
            "turn": {"samples_ms": [1.0, 2.0]}, "feed": {}, "run": {}, **answers,
        }  # fmt: skip

    def ask(self, what: str, **values: Any) -> Any:
        self.asked.append((what, values))
        if isinstance(answer := self.answers[what], Exception):
            raise answer
        if what == "run":
            np.save(values["to"], 2 * np.load(values["path"]))
        if what == "feed":
            self.fed = np.load(values["path"])
        return answer

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have the next model's worker answer so; returns where it will be."""
    made: list[Worker] = []

    def prepare(**answers: Any) -> list[Worker]:
        def make(threads: int, timeout: float) -> Worker:
            made.append(Worker(threads, timeout, **answers))
            return made[-1]

        monkeypatch.setattr(local, "WorkerProcess", make)
        return made

    return prepare


def test_what_the_worker_is_asked(worker: Any) -> None:
    made = worker()
    job = Job("a.onnx", threads=3, runtime="ort", options={"scale": 2}, timeout_seconds=9.0)
    with LocalModel(job, {"provider": "cuda"}) as model:
        (one,) = made
        assert one.made == (3, 9.0)
        assert one.asked[0] == ("open", {
            "artifact": "a.onnx", "runtime": "ort", "threads": 3,
            "options": {"provider": "cuda", "scale": 2},
        })  # fmt: skip
        loaded = model.loaded
        assert (loaded.card, loaded.runtime, loaded.runtime_version) == (CARD, "onnxruntime", "9")
        assert (loaded.provider, loaded.precision, loaded.threads) == ("p", "fp16", 2)
        assert (loaded.load_ms, loaded.timed, loaded.notes) == (5.0, True, ("a note",))
        x = np.ones((1, 3, 2, 2), np.float32)
        assert model.prepare(x, runs=4, seconds=0.5) == 7.0
        np.testing.assert_array_equal(one.fed, x)
        assert [what for what, _ in one.asked] == ["open", "feed", "first", "warm"]
        assert one.asked[-1][1] == {"runs": 4, "seconds": 0.5}
        assert model.loaded.provider == "q"  # known after the first runs
        assert model.turn(0.25).samples_ms == [1.0, 2.0]
        assert one.asked[-1] == ("turn", {"seconds": 0.25})
        assert model.turn(0.25).compute_ms == []
        assert model.peak_mb() == 50.0
        np.testing.assert_array_equal(model.run(x), 2 * x)
        assert not one.closed
    assert one.closed


def test_all_threads_and_no_provider_by_default(worker: Any) -> None:
    made = worker()
    LocalModel(Job("a.onnx")).close()
    assert made[0].made == (default_threads(), 3600.0)
    assert made[0].asked[0][1]["options"] == {}


def test_a_runtime_that_is_not_timed_says_so(worker: Any) -> None:
    answer = {**Worker(1, 1).answers["open"], "runtime": "onnx-reference", "precision": None}
    worker(open=answer)
    with LocalModel(Job("edsr-s-x2")) as model:
        loaded = model.loaded
    assert (loaded.timed, loaded.load_ms) == (False, None)
    assert loaded.notes[-1] == "onnx-reference: quality only, its speed would mean nothing"


def test_a_worker_that_cannot_open_is_ended(worker: Any) -> None:
    made = worker(open=SrdeployError("It is broken."))
    with pytest.raises(SrdeployError, match="It is broken"):
        LocalModel(Job("a.onnx"))
    assert made[0].closed


@pytest.mark.parametrize("text", ["local://host", "local://me@", "local://:22", "local?ms=5"])
def test_this_machine_has_no_other_name(text: str) -> None:
    with pytest.raises(UserError):
        LocalDevice(DeviceUri.parse(text))


def test_its_facts() -> None:
    device = LocalDevice(DeviceUri.parse("local"))
    facts = device.facts
    assert device.facts is facts
    assert facts.kind == "local"
    assert facts.model == facts.cpu
    assert facts.cpus == default_threads() or facts.cpus >= 1
    assert facts.versions["onnxruntime"]
    assert facts.extra["python"] == sys.version.split()[0]


def test_programs() -> None:
    def said(code: str, **options: Any) -> Completed:
        return LocalCommands().run([sys.executable, "-c", code], **options)

    found = said("import sys; print(sys.stdin.read()); print('e', file=sys.stderr); sys.exit(3)",
                 stdin=b"in")  # fmt: skip
    assert found == Completed(3, "in\n", "e\n")
    assert said("import os; os.write(1, b'\\xff')").stdout == "\ufffd"
    with pytest.raises(DeviceError, match=r"did not end within 0\.2 s; it was ended"):
        said("import time; time.sleep(60)", timeout=0.2)
    absent = LocalCommands().run(["no-such-program"])
    assert (absent.code, absent.stderr) == (127, "no-such-program: No such file or directory")


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "cache_dir", lambda: tmp_path / "cache")
    (tmp_path / "a.bin").write_bytes(b"content")
    path = Path(LocalFiles().push(tmp_path / "a.bin"))
    assert (path.suffix, path.read_bytes()) == (".bin", b"content")
    before = path.stat().st_mtime_ns
    assert LocalFiles().push(tmp_path / "a.bin") == str(path)
    assert path.stat().st_mtime_ns == before  # it did not travel again
    path.write_bytes(b"damaged")
    LocalFiles().push(tmp_path / "a.bin")
    assert path.read_bytes() == b"content"
    LocalFiles().pull(str(path), tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"content"
    LocalFiles().remove(str(path))
    LocalFiles().remove(str(path))
    with pytest.raises(DeviceError, match="There is no file"):
        LocalFiles().pull(str(path), tmp_path / "c")
    with pytest.raises(UserError, match="There is no file"):
        LocalFiles().push(tmp_path)


def test_sensors_are_read_until_the_end() -> None:
    found = iter(["one", None, "two"])
    reader: Any = SimpleNamespace(read=lambda seconds: next(found, None))
    watch = LocalWatch(reader, 0.001)
    deadline = time.monotonic() + 10
    while len(watch.readings) < 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    watch.stop()
    assert watch.readings == ["one", "two"]
    assert not watch._thread.is_alive()


@pytest.mark.parametrize(
    ("program", "code", "said", "gpu"),
    [(None, 0, "X\n", None), ("/bin/nvidia-smi", 0, " A100 \nH100\n", "A100"),
     ("/bin/nvidia-smi", 9, "X\n", None), ("/bin/nvidia-smi", 0, "", None),
     ("/bin/nvidia-smi", 0, " \n", None)],
)  # fmt: skip
def test_the_gpu(
    program: str | None, code: int, said: str, gpu: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = subprocess.CompletedProcess([], code, said.encode(), b"")
    monkeypatch.setattr("shutil.which", lambda name: program)
    monkeypatch.setattr("subprocess.run", lambda *_, **__: done)
    assert local._nvidia_gpu() == gpu
