"""The agent by itself; coremltools is played by its interface, programs by scripts."""

from __future__ import annotations

import asyncio
import io
import json
import os
import platform
import runpy
import sys
import zipfile
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from srdeploy.devices.apple import agent as module
from srdeploy.devices.apple.agent import (
    Agent,
    Refusal,
    explained,
    find_devicectl,
    milliseconds,
    placement,
    serve,
    sysctl,
    unpacked,
    whole,
)

_EXPERIMENTAL = "coremltools.models.ml_program.experimental"


class State(Enum):
    """Of a device, in coremltools' words."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"


class BuildError(Exception):
    """coremltools' error when the app cannot be built."""

    error_code = 65


class Phone(SimpleNamespace):
    """A device as coremltools lists it."""

    def __init__(self, name: str = "My iPhone", **changes: Any) -> None:
        super().__init__(
            name=name, identifier="ID-1", udid="UDID-1", developer_mode_state="enabled",
            state=State.CONNECTED, type=SimpleNamespace(value="iphone"), os_version="26.1",
            os_build_number="23B85", fails=False, **changes,
        )  # fmt: skip
        self.session = SimpleNamespace(stop=lambda: setattr(self, "stopped", True))

    async def prepare_for_model_debugging(self, **given: Any) -> Phone:
        self.given = given
        if self.fails:
            raise BuildError
        return self


class Service:
    """coremltools' way to a device, which has its patience among its defaults."""

    def __init__(self, device: Any, seconds: float = 0.5, looks: int = 20) -> None: ...


class Model:
    """A model that doubles what it is given; every prediction takes 2 ms more than the last."""

    def __init__(self, path: str, **given: Any) -> None:
        self.path, self.given = path, given
        self.load_duration_in_nano_seconds: int | None = 12_500_000
        self.last_predict_duration_in_nano_seconds: int | None = 0
        self.dtypes: list[str] = []
        self.unloaded = False

    async def load(self) -> None:
        self.loaded = True

    async def predict(self, inputs: dict[str, Any]) -> dict[str, Any]:
        ((name, x),) = inputs.items()
        self.dtypes.append(f"{name} {x.dtype} {x.shape[0]}")
        assert self.last_predict_duration_in_nano_seconds is not None
        self.last_predict_duration_in_nano_seconds += 2_000_000
        return {"sr": x * 2, "other": x}

    async def unload(self) -> None:
        self.unloaded = True


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> Any:
    """coremltools, with a list of ``devices`` and of the models that were ``made``."""
    parts = ["coremltools", "coremltools.models", "coremltools.models.ml_program", _EXPERIMENTAL]
    for name in parts:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.delitem(sys.modules, f"{_EXPERIMENTAL}.remote_device", raising=False)
    experimental: Any = sys.modules[_EXPERIMENTAL]
    remote, wrapper = (ModuleType(f"{_EXPERIMENTAL}.{n}") for n in ("remote", "async_wrapper"))
    devices: list[Phone] = []
    vars(remote).update(
        Device=SimpleNamespace(get_devices=lambda: devices), DeviceState=State,
        AppSigningCredentials=dict, _AppBuilder=SimpleNamespace(Error=BuildError),
        _DeviceCtlRemoteService=Service,
    )  # fmt: skip
    made: list[Model] = []

    def from_spec_or_path(path: str, **given: Any) -> Model:
        made.append(Model(path, **given))
        return made[-1]

    vars(wrapper)["MLModelAsyncWrapper"] = SimpleNamespace(from_spec_or_path=from_spec_or_path)
    experimental.remote_device = remote
    monkeypatch.setitem(sys.modules, f"{_EXPERIMENTAL}.async_wrapper", wrapper)
    coremltools: Any = sys.modules["coremltools"]
    coremltools.__version__ = "9.0"
    coremltools.ComputeUnit = {"CPU_AND_NE": "cpu and ne"}
    coremltools.proto = SimpleNamespace(
        FeatureTypes_pb2=SimpleNamespace(ArrayFeatureType=SimpleNamespace(FLOAT16=16))
    )
    array = SimpleNamespace(dataType=32)
    entry = SimpleNamespace(name="lr", type=SimpleNamespace(multiArrayType=array))
    description = SimpleNamespace(input=[entry], output=[SimpleNamespace(name="sr")])

    def ml_model(path: str, skip_model_load: bool) -> Any:
        assert skip_model_load
        assert Path(path).name == "net.mlpackage"
        return SimpleNamespace(get_spec=lambda: SimpleNamespace(description=description))

    sys.modules["coremltools.models"].MLModel = ml_model  # type: ignore[attr-defined]
    coremltools.models = sys.modules["coremltools.models"]
    monkeypatch.setattr(Service.__init__, "__defaults__", (0.5, 20))
    return SimpleNamespace(devices=devices, made=made, array=array, experimental=experimental)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for programs, the only one on PATH; ``xcrun`` finds devicectl."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    script(folder, "xcrun", '[ "$1 $2" = "--find devicectl" ] && echo /xcode/bin/devicectl')
    return folder


def script(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def connect(agent: Agent, folder: Path, device: str | None = "My iPhone", **more: Any) -> Any:
    told = {"device": device, "folder": str(folder / "a" / "b"), **more}
    return asyncio.run(agent.connect(told))


def refusal(agent: Agent, folder: Path, **more: Any) -> str:
    with pytest.raises(Refusal) as caught:
        connect(agent, folder, **more)
    return f"{caught.value.kind}: {caught.value}"


def test_the_mac_itself_needs_no_app(tmp_path: Path) -> None:
    assert connect(Agent(), tmp_path, None) == {}
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("word", ["My iPhone", "ID-1", "UDID-1"])
def test_a_phone_is_connected(tools: Any, programs: Path, tmp_path: Path, word: str) -> None:
    phone = Phone()
    tools.devices += [_other(), phone]
    agent = Agent()
    for _ in range(2):  # its folder may be there
        assert connect(agent, tmp_path, word) == {
            "name": "My iPhone", "type": "iphone", "os": "26.1 (23B85)",
        }  # fmt: skip
    assert agent.device is phone
    assert phone.given == {
        "credentials": {
            "development_team": "", "provisioning_profile_uuid": None, "bundle_identifier": None,
        },
        "working_directory": tmp_path / "a" / "b",
    }  # fmt: skip
    assert (tmp_path / "a" / "b").is_dir()
    assert Service.__init__.__defaults__ == (0.5, 120)  # a minute for a large network
    assert os.environ["PATH"].split(os.pathsep)[:2] == [str(programs), "/xcode/bin"]
    agent.end()
    assert phone.stopped


def _other() -> Phone:
    phone = Phone("Other")
    phone.identifier = phone.udid = "other"
    return phone


def test_of_two_of_one_name_the_first_is_taken(tools: Any, programs: Path, tmp_path: Path) -> None:
    tools.devices += [_other(), Phone(), Phone(), Phone()]
    agent = Agent()
    connect(agent, tmp_path, team="T", profile="P", bundle="B")
    assert agent.device is tools.devices[1]
    assert agent.device.given["credentials"] == {
        "development_team": "T", "provisioning_profile_uuid": "P", "bundle_identifier": "B",
    }  # fmt: skip


def test_phones_that_cannot_be_used(tools: Any, programs: Path, tmp_path: Path) -> None:
    agent = Agent()
    assert refusal(agent, tmp_path) == (
        "refused: The Mac knows no device 'My iPhone'; it knows none."
    )
    tools.devices += [_other(), phone := Phone()]
    assert "it knows 'Other', 'My iPhone'." in refusal(agent, tmp_path, device="x")
    phone.developer_mode_state = "disabled"
    assert refusal(agent, tmp_path).startswith("refused: 'My iPhone' is not in developer mode; sw")
    phone.developer_mode_state, phone.state = "", State.DISCONNECTED  # older phones tell none
    assert refusal(agent, tmp_path) == (
        "refused: 'My iPhone' is disconnected; plug it in, unlock it, trust the Mac, and wake the "
        "link (`xcrun devicectl device info details -d ID-1`)."
    )
    phone.state, phone.fails = State.CONNECTED, True
    assert "modelrunner app (exit code 65); give your ?team=" in refusal(agent, tmp_path).lower()
    assert agent.device is None
    agent.end()  # nothing to stop
    phone.fails = False
    connect(agent, tmp_path)
    assert agent.device is phone


def test_a_coremltools_without_device_tools(tools: Any, tmp_path: Path) -> None:
    del tools.experimental.remote_device
    assert refusal(Agent(), tmp_path).startswith("unfit: This coremltools has no device tools (")


def test_without_xcode(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.environ["PATH"]
    script(programs, "xcrun", "exit 72")
    for _ in range(2):
        with pytest.raises(Refusal, match="There is no devicectl; install Xcode 15") as caught:
            find_devicectl()
        assert caught.value.kind == "unfit"
        (programs / "xcrun").unlink(missing_ok=True)
    assert os.environ["PATH"] == before


def test_what_the_mac_is(tools: Any, programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "mac_ver", lambda: ("15.1", (), "arm64"))
    script(programs, "sysctl", '[ "$1" = -n ] && echo " of $2 "')
    assert asyncio.run(Agent().hello({})) == {
        "coremltools": "9.0", "python": platform.python_version(), "os": "macOS 15.1",
        "arch": platform.machine(), "model": "of hw.model", "cpu": "of machdep.cpu.brand_string",
        "cpus": os.cpu_count(), "memory": "of hw.memsize",
    }  # fmt: skip
    monkeypatch.setattr(platform, "mac_ver", lambda: ("", (), ""))
    assert asyncio.run(Agent().hello({}))["os"] == "macOS"


def test_a_system_without_sysctl(programs: Path) -> None:
    assert sysctl("hw.model") == ""


def test_milliseconds() -> None:
    assert milliseconds(2_500_000) == 2.5
    assert milliseconds(0) == 0.0
    with pytest.raises(Refusal, match="tells no durations; it takes 9") as caught:
        milliseconds(None)
    assert caught.value.kind == "unfit"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "abc.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("net.mlpackage/Manifest.json", "{}")
        packed.writestr("net.mlpackage/Data/weights", "weights" * 9)
    return path


@pytest.fixture
def opened(tools: Any, archive: Path, tmp_path: Path) -> Agent:
    agent = Agent()
    agent.device = "the phone"
    told = {"id": "m", "package": str(archive), "folder": str(tmp_path / "f"),
            "units": "CPU_AND_NE"}  # fmt: skip
    assert asyncio.run(agent.open(told)) == {"load_ms": 12.5, "units": {}}
    return agent


def test_a_package_is_opened(tools: Any, opened: Agent, tmp_path: Path) -> None:
    (model,) = tools.made
    path = str(tmp_path / "f" / "abc" / "net.mlpackage")
    assert model.path == path
    assert model.given == {
        "weights_dir": path, "compute_units": "cpu and ne", "device": "the phone",
    }  # fmt: skip
    assert model.loaded
    assert opened.models["m"] == (model, "lr", "sr", "float32")


def asked(agent: Agent, do: str, folder: Path, **more: Any) -> Any:
    x = np.arange(48, dtype="<f4").reshape(2, 3, 2, 4)
    x.tofile(folder / "x.bin")
    told = {"id": "m", "input": str(folder / "x.bin"), "shape": [2, 3, 2, 4], **more}
    return asyncio.run(getattr(agent, do)(told))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_one_image_at_a_time_is_predicted(
    tools: Any, archive: Path, tmp_path: Path, dtype: str
) -> None:
    tools.array.dataType = {"float32": 32, "float16": 16}[dtype]
    agent = Agent()
    told = {"id": "m", "package": str(archive), "folder": str(tmp_path / "f")}
    asyncio.run(agent.open({**told, "units": "CPU_AND_NE"}))
    assert asked(agent, "run", tmp_path, output=str(tmp_path / "y.bin")) == {"ms": 2.0 + 4.0}
    assert tools.made[0].dtypes == [f"lr {dtype} 1"] * 2
    assert np.array_equal(np.fromfile(tmp_path / "y.bin", "<f4"), np.arange(48) * 2)


def test_as_many_times_as_were_asked_for(opened: Agent, tools: Any, tmp_path: Path) -> None:
    told = asked(opened, "turn", tmp_path, runs=3, seconds=0)
    assert told == {"samples_ms": [2.0 + 4.0, 6.0 + 8.0, 10.0 + 12.0]}
    assert asked(opened, "turn", tmp_path, runs=0, seconds=0) == {"samples_ms": []}


@pytest.mark.parametrize(("seconds", "count"), [(2.0, 2), (2.5, 3), (0.0, 1)])
def test_for_as_long_as_was_asked(
    opened: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, count: int
) -> None:
    clock = SimpleNamespace(now=100.0)
    predict = Agent._predict

    async def slow(self: Agent, *words: Any) -> Any:
        clock.now += 1.0
        return await predict(self, *words)

    monkeypatch.setattr(Agent, "_predict", slow)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    told = asked(opened, "turn", tmp_path, runs=1, seconds=seconds)
    assert len(told["samples_ms"]) == count


def test_a_model_is_let_go(opened: Agent, tools: Any) -> None:
    assert asyncio.run(opened.close({"id": "another"})) == {}
    assert not tools.made[0].unloaded
    for _ in range(2):
        assert asyncio.run(opened.close({"id": "m"})) == {}
    assert tools.made[0].unloaded
    assert opened.models == {}


def plan(*kinds: str | None) -> Any:
    """A model whose operations Core ML means to run on these kinds of device."""
    usages = [
        None if kind is None else SimpleNamespace(preferred_compute_device=type(kind, (), {})())
        for kind in kinds
    ]
    main = SimpleNamespace(block=SimpleNamespace(operations=usages))
    structure = SimpleNamespace(program=SimpleNamespace(functions={"main": main}))

    async def retrieve() -> Any:
        return SimpleNamespace(
            model_structure=structure,
            get_compute_device_usage_for_mlprogram_operation=lambda operation: operation,
        )

    return SimpleNamespace(retrieve_compute_plan=retrieve)


def test_where_it_is_to_run() -> None:
    engine = "MLNeuralEngineComputeDevice"
    found = asyncio.run(placement(plan("MLCPUComputeDevice", engine, None, engine)))
    assert list(found.items()) == [("neuralengine", 2), ("cpu", 1)]
    assert asyncio.run(placement(plan())) == {}
    assert asyncio.run(placement(object())) == {}  # a coremltools that does not tell


def test_a_package_is_unpacked_once(archive: Path, tmp_path: Path) -> None:
    folder = tmp_path / "f"
    package = unpacked(archive, folder)
    assert package == folder / "abc" / "net.mlpackage"
    assert (package / "Data" / "weights").read_text() == "weights" * 9
    (package / "Data" / "more").touch()
    assert unpacked(archive, folder) == package
    assert (package / "Data" / "more").exists()  # it was left alone
    for damage in ("weights" * 8, "Weights" * 9):
        (package / "Data" / "weights").write_text(damage)
        assert unpacked(archive, folder) == package
        assert (package / "Data" / "weights").read_text() == "weights" * 9
    (package / "Manifest.json").unlink()
    assert unpacked(archive, folder) == package
    assert [path.name for path in folder.iterdir()] == ["abc"]


def test_somebody_else_may_be_faster(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(source: Path, target: Path) -> None:
        assert source.name.startswith("abc.part")
        source.with_name("theirs").mkdir()
        (source / "net.mlpackage").replace(source.with_name("theirs") / "net.mlpackage")
        source.with_name("theirs").replace(target)
        raise OSError("Directory not empty")

    monkeypatch.setattr(module.os, "rename", taken)
    assert unpacked(archive, tmp_path / "f") == tmp_path / "f" / "abc" / "net.mlpackage"
    assert [path.name for path in (tmp_path / "f").iterdir()] == ["abc"]


def test_whole(archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive) as packed:
        assert not whole(packed, tmp_path / "f")
        packed.extractall(tmp_path / "f")
        assert whole(packed, tmp_path / "f")


class Devicectl(Exception):
    """An error with devicectl's exit code."""

    def __init__(self, code: int | None, message: Any = None) -> None:
        super().__init__("as text")
        self.error_code = code
        if message is not None:
            self.message = message


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (Refusal("unfit", "No.  Xcode"), "unfit", "No.  Xcode"),
        (ModuleNotFoundError("x", name="coremltools"), "unfit",
         f"There is no coremltools in {sys.executable}; install it there (`pip install "
         "coremltools==9.0`), or name another Python by ?python=."),
        (Devicectl(1), "lost",
         "The device went away (as text); connect and unlock it, then run again."),
        (Devicectl(0, b"odd \xff\n  thing."), "job", "odd \ufffd thing."),
        (Devicectl(-5, "its own"), "job", "its own."),
        (Devicectl(None), "job", "as text."),
        (RuntimeError("the session is not active"), "lost",
         "The device went away (the session is not active); connect and unlock it, then run "
         "again."),
        (ValueError("x" * 400), "job", "x" * 300 + "."),
        (ValueError(" .. "), "job", "ValueError."),
    ],
)  # fmt: skip
def test_errors_are_sentences(error: Exception, kind: str, sentence: str) -> None:
    assert explained(error) == {"error": sentence, "kind": kind}


def test_each_question_has_its_answer_at_once() -> None:
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, write_through=False)
    seen: list[Any] = []

    def lines() -> Iterator[str]:
        for do in ("connect", "turn", "connect"):
            yield json.dumps({"do": do, "device": None, "id": "nobody's", "input": "/nowhere"})
            seen.append(json.loads(written.getvalue().splitlines()[-1]))

    ended: list[Agent] = []
    end = Agent.end
    try:
        Agent.end = lambda self: ended.append(self)  # type: ignore[method-assign]
        asyncio.run(serve(lines(), stream))
        assert len(ended) == 1
        with pytest.raises(json.JSONDecodeError):
            asyncio.run(serve(["no JSON"], stream))
        assert len(ended) == 2
    finally:
        Agent.end = end  # type: ignore[method-assign]
    assert seen[0] == seen[2] == {"ok": {}}
    assert seen[1]["kind"] == "job"
    assert "/nowhere" in seen[1]["error"]


def test_as_a_program_it_answers_on_stdout_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"do": "connect", "device": null}\n'))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    runpy.run_path(module.__file__, run_name="agent")
    assert (sys.stdout, out.getvalue()) == (out, "")
    runpy.run_path(module.__file__, run_name="__main__")
    assert sys.stdout is err  # what libraries print
    assert out.getvalue() == '{"ok": {}}\n'
