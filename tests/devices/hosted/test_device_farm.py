"""AWS Device Farm at boto3's own seam: botocore's Stubber checks every call against AWS's model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("tornado", reason="tornado is not installed: pip install 'srdeploy[hosted]'")
pytest.importorskip("boto3", reason="boto3 is not installed: pip install 'srdeploy[hosted]'")

import boto3
from botocore.stub import Stubber

from srdeploy.devices.errors import DeviceError, DeviceRefused
from srdeploy.devices.hosted.device_farm import REGION, DeviceFarmDevice
from srdeploy.devices.open import open_device
from srdeploy.errors import UserError

PROJECT = "arn:aws:devicefarm:us-west-2:111122223333:project:1234"
DEVICE = "arn:aws:devicefarm:us-west-2::device:5678"
SESSION = "arn:aws:devicefarm:us-west-2:111122223333:session:1234/9abc/00000"


@pytest.fixture
def aws() -> Iterator[Stubber]:
    client = boto3.client(
        "devicefarm", region_name=REGION, aws_access_key_id="x", aws_secret_access_key="y"
    )
    with Stubber(client) as stub:
        yield stub


@pytest.fixture
def device(aws: Stubber, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DeviceFarmDevice:
    config = tmp_path / "aws.yaml"
    values = {"project": PROJECT, "device": DEVICE, "page": "https://tunnel.example"}
    config.write_text(yaml.safe_dump(values | {"start_seconds": 5}))
    device = open_device(f"aws-device-farm?config={config}")
    assert isinstance(device, DeviceFarmDevice)
    monkeypatch.setattr(device, "client", lambda: aws.client)
    monkeypatch.setattr(device, "poll_seconds", 0.01)
    return device


def _answer(status: str, **more: Any) -> dict[str, Any]:
    return {"remoteAccessSession": {"arn": SESSION, "status": status, **more}}


def _created(aws: Stubber, status: str = "PENDING") -> None:
    asked = {"projectArn": PROJECT, "deviceArn": DEVICE, "name": "srdeploy"}
    aws.add_response("create_remote_access_session", _answer(status), asked)


def _stopped(aws: Stubber) -> None:
    aws.add_response("stop_remote_access_session", _answer("STOPPING"), {"arn": SESSION})


def test_a_session_is_awaited_and_ended(aws: Stubber, device: DeviceFarmDevice) -> None:
    _created(aws)
    aws.add_response("get_remote_access_session", _answer("PREPARING"), {"arn": SESSION})
    running = _answer("RUNNING", endpoints={"remoteDriverEndpoint": "https://farm.example/wd"})
    aws.add_response("get_remote_access_session", running, {"arn": SESSION})
    _stopped(aws)
    with ExitStack() as stack:
        assert device.endpoint(stack) == "https://farm.example/wd"
    aws.assert_no_pending_responses()


def test_a_session_that_never_runs(aws: Stubber, device: DeviceFarmDevice) -> None:
    _created(aws)
    ended = _answer("COMPLETED", message="device offline")
    aws.add_response("get_remote_access_session", ended, {"arn": SESSION})
    _stopped(aws)
    with pytest.raises(DeviceError, match="device offline"), ExitStack() as stack:
        device.endpoint(stack)
    aws.assert_no_pending_responses()


def test_a_session_that_takes_too_long_is_stopped(aws: Stubber, device: DeviceFarmDevice) -> None:
    device.config = device.config.model_copy(update={"start_seconds": 0.0})
    _created(aws)
    _stopped(aws)
    with pytest.raises(DeviceRefused, match="started no session within 0 s"), ExitStack() as stack:
        device.endpoint(stack)
    aws.assert_no_pending_responses()


def test_a_device_without_endpoint(aws: Stubber, device: DeviceFarmDevice) -> None:
    _created(aws, "RUNNING")
    _stopped(aws)
    with pytest.raises(DeviceError, match="no WebDriver endpoint"), ExitStack() as stack:
        device.endpoint(stack)


def test_refusals_of_aws_are_one_sentence(aws: Stubber, device: DeviceFarmDevice) -> None:
    aws.add_client_error("create_remote_access_session", "NotFoundException", "No such project")
    with pytest.raises(UserError, match=r"No such project.*check cred"), ExitStack() as stack:
        device.endpoint(stack)
