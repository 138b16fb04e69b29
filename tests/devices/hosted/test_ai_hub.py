"""Qualcomm AI Hub: the real client, answered at the library's own seam."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("qai_hub", reason="qai-hub is not installed: pip install 'srdeploy[ai-hub]'")

from srdeploy.cli.main import run
from srdeploy.devices.errors import DeviceError, DeviceRefused, DeviceUnfit
from srdeploy.devices.hosted.ai_hub import AiHubDevice
from srdeploy.devices.open import open_device
from srdeploy.devices.protocol import Job
from srdeploy.errors import UserError
from srdeploy.testing.devices import (  # noqa: F401
    SHAPE,
    DeviceContract,
    onnx_artifact,
    small_set,
)
from tests.devices.hosted.ai_hub_service import PHONE, Service

URI = f"qai-hub://{PHONE}"


@pytest.fixture(autouse=True)
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    service = Service(tmp_path)
    service.install(monkeypatch)
    monkeypatch.setattr(AiHubDevice, "client", lambda self: service.client())
    return service


class TestAiHubContract(DeviceContract):
    runs_commands = False

    @pytest.fixture
    def uri(self) -> str:
        return URI


def test_its_facts_are_the_labs() -> None:
    with open_device(URI) as device:
        facts = device.facts
    assert (facts.kind, facts.model, facts.os) == ("hosted", PHONE, "android 14")
    assert facts.cpu == "qualcomm-snapdragon-8gen3"


def test_a_turn_is_one_job(service: Service, onnx_artifact: Path) -> None:  # noqa: F811
    job = Job(str(onnx_artifact), shapes=(SHAPE,))
    with open_device(f"{URI}?runtime=qnn_dlc&unit=npu") as device, device.load(job) as model:
        assert model.prepare(np.zeros(SHAPE, np.float32), runs=3, seconds=1) is None
        assert model.turn(0.5).samples_ms == [9.0, 9.1, 8.9]
        loaded = model.loaded
        assert (loaded.load_ms, loaded.build_ms, model.peak_mb()) == (500.0, None, 61.0)
        assert loaded.provider == "npu (3 of 4 layers), cpu (1 of 4 layers)"
    compile_job, timing = service.jobs  # compiled once, for load and prepare
    assert compile_job.options == "--target_runtime qnn_dlc"
    assert timing.options == (
        "--compute_unit npu --max_profiler_time 5 --max_profiler_iterations 1000"
    )


def test_bench(
    onnx_artifact: Path,  # noqa: F811
    small_set: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["bench", str(onnx_artifact), "--device", URI, "--input", "24x16", "--json"]
    assert run([*command, "--data", str(small_set), "--scale", "2", "--seconds", "0"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["p50_ms"] == 9.0
    assert 22 < row["psnr_y"] < 60


def test_no_such_device(service: Service) -> None:
    with pytest.raises(DeviceRefused, match=r"Galaxy S25.*did you mean 'Samsung Galaxy S24'"):
        open_device("qai-hub://Samsung Galaxy S25").__enter__()
    with pytest.raises(DeviceRefused, match="has no 'Samsung Galaxy S24' with os 9"):
        open_device(f"{URI}?os=9").__enter__()


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("qai-hub", "names no device"),
        (f"{URI}?runtime=qnn", "no runtime of AI Hub named 'qnn'"),
        (f"{URI}?unit=dsp", "no unit of AI Hub named 'dsp'"),
        (f"{URI}?ox=14", "no option of qai-hub devices named 'ox'"),
    ],
)
def test_bad_uris(uri: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        open_device(uri)


@pytest.mark.parametrize(
    ("status", "kind", "sentence"),
    [(401, UserError, "refuses: Failed to authenticate"), (503, DeviceError, "run again later")],
)
def test_a_service_that_refuses(
    service: Service, status: int, kind: type[Exception], sentence: str
) -> None:
    service.refusing = status
    with pytest.raises(kind, match=sentence) as caught:
        open_device(URI).__enter__()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("uri", [URI, f"{URI}?profile=work"])
def test_nobody_without_a_token(uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"\.ini not found.* configuring the API key\.$") as caught:
        open_device(uri).__enter__()
    assert "\n" not in str(caught.value)


def test_a_network_that_does_not_compile(service: Service, onnx_artifact: Path) -> None:  # noqa: F811
    service.failing = "compile"
    with open_device(URI) as device, pytest.raises(UserError, match="Unsupported layer") as caught:
        device.load(Job(str(onnx_artifact), shapes=(SHAPE,)))
    assert not isinstance(caught.value, DeviceError)  # no other device would do better


def test_a_device_that_fails(service: Service, onnx_artifact: Path) -> None:  # noqa: F811
    job = Job(str(onnx_artifact), shapes=(SHAPE,))
    with open_device(URI) as device, device.load(job) as model:
        model.prepare(np.zeros(SHAPE, np.float32), runs=0, seconds=0)
        service.failing = "inference"
        with pytest.raises(DeviceUnfit, match="failed \\(Device lost; "):
            model.turn(1)


def test_a_job_that_takes_too_long(
    service: Service,
    onnx_artifact: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def waiting(config: object, job_id: str) -> object:
        answer = type(service).get_job(service, config, job_id)
        answer.compile_job.job_state = 1
        return answer

    monkeypatch.setattr("qai_hub.public_rest_api.get_job", waiting)
    job = Job(str(onnx_artifact), shapes=(SHAPE,), timeout_seconds=0.5)
    with open_device(URI) as device, pytest.raises(DeviceError, match="is late: Waiting for"):
        device.load(job)
