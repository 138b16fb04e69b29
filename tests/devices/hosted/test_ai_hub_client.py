"""What is asked of AI Hub's client, and what is made of its answers; no library is needed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from srdeploy.devices.errors import DeviceError, DeviceRefused, DeviceUnfit
from srdeploy.devices.hosted.ai_hub import AiHubDevice, AiHubModel, _input_name, refusals
from srdeploy.devices.protocol import Job
from srdeploy.devices.uri import DeviceUri
from srdeploy.errors import UserError
from tests.devices.hosted import ai_hub_client as library
from tests.devices.hosted.ai_hub_client import PROFILE, Client
from tests.devices.tiny_onnx import OPTIONS, tiny_onnx

SHAPE, OTHER = (1, 3, 5, 7), (1, 3, 4, 6)
X = np.arange(105, dtype=np.float64).reshape(SHAPE)


@pytest.fixture(autouse=True)
def profiles(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    return library.install(monkeypatch)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    client = Client()
    monkeypatch.setattr(AiHubDevice, "client", lambda self: client)
    return client


def device(text: str = "qai-hub://Galaxy S24") -> AiHubDevice:
    return AiHubDevice(DeviceUri.parse(text))


@pytest.fixture
def network(tmp_path: Path) -> str:
    return str(tiny_onnx(tmp_path / "net.onnx", entry="picture"))


@pytest.fixture
def load(client: Client, network: str) -> Callable[..., AiHubModel]:
    def load(options: str = "", **more: Any) -> AiHubModel:
        with device(f"qai-hub://Galaxy S24{options}") as entered:
            return entered.load(Job(network, options=OPTIONS, **more))

    return load


def summary(**changes: Any) -> dict[str, Any]:
    return PROFILE | {"execution_summary": PROFILE["execution_summary"] | changes}  # type: ignore[operator]


def test_the_client_is_the_users_own(profiles: list[Any]) -> None:
    assert device().client() == "a client"
    device("qai-hub://x?profile=work").client()
    assert profiles == [None, "work"]


def test_the_newest_system_is_taken(client: Client) -> None:
    with device() as entered:
        facts = entered.facts
    assert facts.model_dump(exclude_defaults=True) == {
        "kind": "hosted",
        "model": "Galaxy S24",
        "arch": "aarch64",
        "os": "android-14 14",
        "cpu": "8",
        "versions": {"qai-hub": "0.40.0"},
    }
    assert client.asked == [
        ("set_verbose", {"verbose": False}),
        ("get_devices", {"name": "Galaxy S24", "os": ""}),
    ]
    assert (entered.commands, entered.files, entered.sensors) == (None, None, None)


def test_a_device_that_tells_little(client: Client) -> None:
    with device("qai-hub://Galaxy S24?os=13") as entered:
        assert entered.facts.os == "android-13 13"
        entered._device.attributes, entered._device.os = [], ""
        assert (entered.facts.os, entered.facts.cpu) == ("unknown", None)


def test_no_such_device(client: Client) -> None:
    with pytest.raises(DeviceRefused, match=r"no 'Galaxy S24' with os 9; leave os out, or see"):
        device("qai-hub://Galaxy S24?os=9").__enter__()
    with pytest.raises(DeviceRefused, match=r"Galaxy S25.*did you mean 'Galaxy S24'"):
        device("qai-hub://Galaxy S25").__enter__()


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("qai-hub", "'qai-hub' names no device; write e.g. 'qai-hub://Samsung Galaxy S24'."),
        ("qai-hub://x?runtime=qnn", "There is no runtime of AI Hub named 'qnn'"),
        ("qai-hub://x?unit=dsp", "There is no unit of AI Hub named 'dsp'"),
        ("qai-hub://x?ox=14", "no option of qai-hub devices named 'ox'"),
    ],
)
def test_bad_uris(uri: str, sentence: str) -> None:
    with pytest.raises(UserError, match=re.escape(sentence)):
        device(uri)


def test_it_is_compiled_once_for_each_size(client: Client, load: Callable[..., AiHubModel]) -> None:
    model = load(shapes=(SHAPE, OTHER), timeout_seconds=6.5)
    assert client.did("upload_model")[0]["name"] == "net"
    (compiled,) = client.did("compile")
    assert compiled == {
        "model": "source of net",
        "os": "14",
        "input_specs": {"picture": SHAPE},
        "options": "--target_runtime onnx",
    }
    assert client.waited == [7]
    for x in (X, np.zeros(OTHER), X):
        assert model.prepare(x, runs=3, seconds=1) is None
    assert [one["input_specs"]["picture"] for one in client.did("compile")] == [SHAPE, OTHER]


def test_without_sizes_nothing_is_compiled_ahead(
    client: Client, load: Callable[..., AiHubModel]
) -> None:
    load(runtime="onnx")
    assert client.did("compile") == []


def test_another_runtime_is_asked_for_by_the_uri(load: Callable[..., AiHubModel]) -> None:
    load("?runtime=tflite", runtime="tflite")
    with pytest.raises(UserError, match=r"runs onnx; name another by \?runtime=, one of onnx, tf"):
        load(runtime="tflite")


@pytest.mark.parametrize(("seconds", "limit"), [(0.5, 5), (5.0, 5), (7.2, 8)])
def test_a_turn_is_one_timed_job(
    client: Client, load: Callable[..., AiHubModel], seconds: float, limit: int
) -> None:
    model = load("?runtime=qnn_dlc&unit=npu", timeout_seconds=9)
    before = model.loaded
    assert (before.runtime, before.provider, before.load_ms) == ("qnn_dlc", "npu", None)
    assert before.notes[0].startswith("timed by Qualcomm AI Hub, which tells neither")
    model.prepare(X, runs=0, seconds=0)
    assert model.turn(seconds).samples_ms == [9.0, 9.1, 8.9]
    (asked,) = client.did("inference")
    assert asked["options"] == (
        f"--compute_unit npu --max_profiler_time {limit} --max_profiler_iterations 1000"
    )
    assert (asked["profile"], asked["os"]) == (True, "14")
    assert asked["model"] == f"target {{'picture': {SHAPE}}}"
    ((sent,),) = asked["inputs"].values()
    assert (sent.dtype, sent.shape, list(asked["inputs"])) == (np.float32, SHAPE, ["picture"])
    assert client.waited == [9, 9]
    loaded = model.loaded
    assert (loaded.load_ms, loaded.build_ms, model.peak_mb()) == (500.0, None, 61.0)
    assert loaded.provider == "npu (2 of 3 layers), cpu (1 of 3 layers)"
    assert (loaded.runtime, loaded.runtime_version) == ("qnn_dlc", "aihub-2026.10")
    assert loaded.notes == before.notes


def test_a_profile_that_tells_little(client: Client, load: Callable[..., AiHubModel]) -> None:
    model = load("?unit=gpu")
    model.prepare(X, runs=0, seconds=0)
    client.hub_version = None
    client.profile = {
        "execution_summary": {"estimated_inference_time": 2500, "first_load_time": "soon"},
        "execution_detail": [],
    }
    assert model.turn(1).samples_ms == [2.5]
    loaded = model.loaded
    assert (loaded.provider, loaded.runtime_version, loaded.load_ms, model.peak_mb()) == (
        "gpu", None, None, None,
    )  # fmt: skip
    client.hub_version = ""
    client.profile = summary(compile_time=1)
    model.turn(1)
    assert (model.loaded.runtime_version, model.loaded.build_ms) == (None, 0.001)


def test_the_most_memory_of_all_turns_counts(
    client: Client, load: Callable[..., AiHubModel]
) -> None:
    model = load()
    assert model.peak_mb() is None
    model.prepare(X, runs=0, seconds=0)
    for told, peak in ((500_000, 0.5), (61_000_000, 61.0), (7_000_000, 61.0), (0, 61.0)):
        client.profile = summary(estimated_inference_peak_memory=told)
        model.turn(1)
        assert model.peak_mb() == peak


@pytest.mark.parametrize(
    "told", [{}, {"all_inference_times": [], "estimated_inference_time": None},
             {"all_inference_times": [9000, 0]}],
)  # fmt: skip
def test_a_job_without_times(
    client: Client, load: Callable[..., AiHubModel], told: dict[str, Any]
) -> None:
    model = load()
    model.prepare(X, runs=0, seconds=0)
    client.profile = {"execution_summary": told, "execution_detail": []}
    with pytest.raises(DeviceError, match=r"AI Hub's job j7 brought no times; run again\."):
        model.turn(1)
    del client.profile["execution_summary"]
    with pytest.raises(DeviceError, match="brought no times"):
        model.turn(1)


def test_a_turn_comes_after_its_tensor(load: Callable[..., AiHubModel]) -> None:
    with pytest.raises(AssertionError, match="prepare"):
        load().turn(1)


def test_outputs_come_from_the_device(client: Client, load: Callable[..., AiHubModel]) -> None:
    client.output = {"output_0": [X * 2]}
    with load() as model:
        y = model.run(X)
    assert y.dtype == np.float32
    assert np.array_equal(y, X * 2)
    (asked,) = client.did("inference")
    assert (asked["options"], asked["profile"]) == ("--compute_unit all ", False)


def test_a_network_that_does_not_compile(client: Client, load: Callable[..., AiHubModel]) -> None:
    client.failures["compile"] = "┌───┐\n| Unsupported\n  layer. |\n└───┘"
    sentence = (
        r"AI Hub cannot compile the network for onnx \(Unsupported layer; "
        r"https://hub\.example/jobs/j7\)\."
    )
    with pytest.raises(UserError, match=sentence) as caught:
        load(shapes=(SHAPE,))
    assert not isinstance(caught.value, DeviceError)  # no other device would do better


def test_a_job_that_fails(client: Client, load: Callable[..., AiHubModel]) -> None:
    model = load()
    client.failures["inference"] = ""
    with pytest.raises(DeviceUnfit, match=r"'Galaxy S24' failed \(it gave no reason; https://hub"):
        model.run(X)


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (library.LibraryUserError("bad\n key."), UserError, "Qualcomm AI Hub refuses: bad key."),
        (FileNotFoundError("no client.ini"), UserError, "Qualcomm AI Hub refuses: no client.ini."),
        (TimeoutError("5 s"), DeviceError, "Qualcomm AI Hub is late: 5 s; the job goes on there."),
        (library.Error("oh"), DeviceError, "Qualcomm AI Hub fails: oh; run again later."),
        (library.APIException("503"), DeviceError, "Qualcomm AI Hub fails: 503; run again later."),
        (library.Error("x" * 500), DeviceError, f"AI Hub fails: {'x' * 400}; run again later."),
    ],
)  # fmt: skip
def test_what_the_library_raises(error: Exception, kind: type[Exception], sentence: str) -> None:
    with pytest.raises(kind) as caught, refusals():
        raise error
    assert str(caught.value).endswith(sentence)
    assert isinstance(caught.value, DeviceError) == (kind is DeviceError)


@pytest.mark.parametrize(
    "call", ["set_verbose", "upload_model", "submit_compile_job", "submit_inference_job"]
)
def test_every_call_may_be_refused(
    client: Client,
    load: Callable[..., AiHubModel],
    call: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*words: Any, **named: Any) -> None:
        raise library.APIException("down")

    monkeypatch.setattr(client, call, refuse)
    with pytest.raises(DeviceError, match="Qualcomm AI Hub fails: down"):
        load(shapes=(SHAPE,)).run(X)


def test_the_input_is_named_without_reading_weights(network: str, tmp_path: Path) -> None:
    model = onnx.load(network)
    onnx.save(
        model, tmp_path / "large.onnx", save_as_external_data=True, location="w", size_threshold=0
    )
    (tmp_path / "w").unlink()
    assert _input_name(tmp_path / "large.onnx") == "picture"
