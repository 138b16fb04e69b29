from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from srdeploy.devices.browser import phone as module
from srdeploy.devices.browser.phone import Phone
from srdeploy.devices.errors import DeviceError, DeviceLost, DeviceUnfit


@pytest.fixture
def phone() -> Phone:
    return Phone("key", "pixel", "", {}, page="a", wake=lambda: None)


def _ask(phone: Phone, **settings: Any) -> tuple[dict[str, Any], bytes | None]:
    return phone.ask("run", **({"timeout": 10, "patience": 10, "tell": lambda _: None} | settings))


def _soon(action: Any, *arguments: Any, after: float = 0.1) -> None:
    threading.Timer(after, action, arguments).start()


def test_an_answer_comes_with_its_output(phone: Phone) -> None:
    def serve() -> None:
        assert phone.job is not None
        assert not phone.take_output(phone.job["id"] + 1, b"1234")
        assert not phone.take_output(phone.job["id"], b"12345")
        assert phone.take_output(phone.job["id"], b"1234")
        phone.answer(phone.job["id"] - 1, {"ok": False, "error": "an older job's."})
        phone.answer(phone.job["id"], {"ok": True, "ms": 3})

    _soon(serve)
    assert _ask(phone, expected_bytes=4) == ({"ms": 3}, b"1234")
    assert phone.job is None


@pytest.mark.parametrize(
    ("code", "error"), [("no-webgpu", DeviceUnfit), ("memory", DeviceError), (None, DeviceError)]
)
def test_refusals_are_sorted(phone: Phone, code: str | None, error: type[Exception]) -> None:
    _soon(lambda: phone.answer(phone.job["id"], {"ok": False, "code": code, "error": "no."}))
    with pytest.raises(error, match=r"^pixel: no\.$") as caught:
        _ask(phone)
    assert type(caught.value) is error


def test_silence_is_told_once_and_then_the_device_is_lost(
    phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENT_SECONDS", 0.3)
    told: list[str] = []
    phone.beat({"hidden": True})
    with pytest.raises(DeviceLost, match=r"locked.*did not return within 0.5 s"):
        _ask(phone, patience=0.5, tell=told.append)
    assert len(told) == 1
    assert not phone.alive


def test_the_same_job_waits_for_a_reload(phone: Phone) -> None:
    jobs = []

    def reload() -> None:
        jobs.append(phone.job)
        phone.leave()
        phone.met("b", {})
        jobs.append(phone.job)
        phone.answer(phone.job["id"], {"ok": True})

    _soon(reload)
    _ask(phone)
    assert jobs[0] == jobs[1]


def test_a_page_that_dies_of_its_job_is_not_tried_for_ever(phone: Phone) -> None:
    def die() -> None:
        for page in "bcd":
            phone.met(page, {})

    _soon(die)
    with pytest.raises(DeviceError, match=r"started 3 times over one step.*out of memory"):
        _ask(phone)


def test_a_job_that_takes_too_long_is_given_up(phone: Phone) -> None:
    begun = time.monotonic()
    with pytest.raises(DeviceError, match=r"did not finish 'run' within 0.3 s"):
        _ask(phone, timeout=0.3)
    assert time.monotonic() - begun < 3


def test_a_pulse_that_overtakes_the_farewell_does_not_revive(
    phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LEFT_SECONDS", 0.1)
    phone.leave()
    phone.beat({"hidden": True})
    with pytest.raises(DeviceLost, match="was closed and did not return"):
        _ask(phone, patience=0.2)
    phone.met("b", {})
    assert phone.alive
