"""How a session of AWS Device Farm is awaited and ended; no boto3 is needed."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml

pytest.importorskip("tornado", reason="tornado is not installed: pip install 'srdeploy[browser]'")

from srdeploy.devices.errors import DeviceError, DeviceRefused
from srdeploy.devices.hosted import device_farm as module
from srdeploy.devices.hosted.device_farm import DeviceFarmDevice
from srdeploy.devices.uri import DeviceUri
from srdeploy.errors import UserError

CONFIG = {"project": "arn:project", "device": "arn:device", "page": "https://tunnel.example"}
ENDPOINTS = {"remoteDriverEndpoint": "https://farm.example/wd"}


class BotoCoreError(Exception):
    """botocore's error on this side."""


class ClientError(Exception):
    """botocore's error for what AWS refuses."""


class Clock:
    """Time that only sleeping moves."""

    def __init__(self) -> None:
        self.now, self.slept = 50.0, []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)


class Aws:
    """boto3's client: one session, which passes through states."""

    def __init__(self, *states: dict[str, Any]) -> None:
        self.states, self.asked = list(states), []

    def create_remote_access_session(self, **given: Any) -> dict[str, Any]:
        self.asked.append(("create", given))
        return self._next()

    def get_remote_access_session(self, **given: Any) -> dict[str, Any]:
        self.asked.append(("get", given))
        return self._next()

    def stop_remote_access_session(self, **given: Any) -> None:
        self.asked.append(("stop", given))

    def _next(self) -> dict[str, Any]:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if "error" in state:
            raise state["error"]
        return {"remoteAccessSession": {"arn": "arn:session", **state}}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Also puts botocore's errors in place."""
    errors: Any = ModuleType("botocore.exceptions")
    errors.BotoCoreError, errors.ClientError = BotoCoreError, ClientError
    monkeypatch.setitem(sys.modules, "botocore", ModuleType("botocore"))
    monkeypatch.setitem(sys.modules, "botocore.exceptions", errors)
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def device(folder: Path, **more: Any) -> DeviceFarmDevice:
    (folder / "aws.yaml").write_text(yaml.safe_dump(CONFIG | more))
    return DeviceFarmDevice(DeviceUri.parse(f"aws-device-farm?config={folder / 'aws.yaml'}"))


def endpoint(folder: Path, aws: Aws, **more: Any) -> str:
    one = device(folder, **more)
    one.client = lambda: aws  # type: ignore[method-assign]
    with ExitStack() as stack:
        url = one.endpoint(stack)
        assert ("stop", {"arn": "arn:session"}) not in aws.asked
    return url


def test_a_session_is_awaited_and_ended(tmp_path: Path, clock: Clock) -> None:
    running = {"status": "RUNNING", "endpoints": ENDPOINTS}
    aws = Aws({"status": "PENDING"}, {"status": "PREPARING"}, running)
    assert endpoint(tmp_path, aws) == "https://farm.example/wd"
    created = {"projectArn": "arn:project", "deviceArn": "arn:device", "name": "srdeploy"}
    one = {"arn": "arn:session"}
    assert aws.asked == [("create", created), ("get", one), ("get", one), ("stop", one)]
    assert clock.slept == [5.0, 5.0]


@pytest.mark.parametrize("state", ["STOPPING", "COMPLETED"])
@pytest.mark.parametrize("at", [0, 1])
def test_a_session_that_ends_first(tmp_path: Path, state: str, at: int) -> None:
    aws = Aws(*([{"status": "SCHEDULING"}] * at), {"status": state, "message": "it is offline"})
    with pytest.raises(DeviceError, match=r"ended the session .* \(it is offline\); try another"):
        endpoint(tmp_path, aws)
    assert aws.asked[-1] == ("stop", {"arn": "arn:session"})
    with pytest.raises(DeviceError, match=r"before it ran \(no reason given\)"):
        endpoint(tmp_path, Aws({"status": state}))


def test_a_session_has_some_time_to_start(tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(DeviceRefused, match="started no session within 12 s; the device is busy"):
        endpoint(tmp_path, Aws({"status": "PENDING"}), start_seconds=12.0)
    assert clock.slept == [5.0] * 3
    with pytest.raises(DeviceRefused, match="within 900 s"):
        endpoint(tmp_path, Aws({"status": "PENDING"}))
    assert len(clock.slept) == 3 + 181  # at the 900th second there is still hope


@pytest.mark.parametrize("session", [{}, {"endpoints": {}}])
def test_a_device_without_endpoint(tmp_path: Path, session: dict[str, Any]) -> None:
    with pytest.raises(DeviceError, match="no WebDriver endpoint; choose a device that"):
        endpoint(tmp_path, Aws({"status": "RUNNING", **session}))


@pytest.mark.parametrize("kind", [BotoCoreError, ClientError])
def test_refusals_of_aws_are_one_sentence(tmp_path: Path, kind: type[Exception]) -> None:
    said = r"AWS Device Farm refused \(No such project\); check credentials, ARNs and quota\."
    with pytest.raises(UserError, match=said):
        endpoint(tmp_path, Aws({"error": kind("No such\n  project")}))
    with pytest.raises(UserError, match="refused"):
        endpoint(tmp_path, Aws({"status": "PENDING"}, {"error": kind("gone")}))


def test_the_client_is_that_of_the_only_region(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def client(service: str, region_name: str) -> Any:
        return service, region_name

    monkeypatch.setitem(sys.modules, "boto3", SimpleNamespace(client=client))
    assert device(tmp_path).client() == ("devicefarm", "us-west-2")


def test_what_its_file_may_hold(tmp_path: Path) -> None:
    one = device(tmp_path, capabilities={"browserName": "Chrome"})
    assert one.config.capabilities == {"browserName": "Chrome"}
    assert device(tmp_path).config.capabilities == {}
    with pytest.raises(UserError, match="did you mean 'project'"):
        device(tmp_path, projekt="x")
