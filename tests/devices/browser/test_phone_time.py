"""A page's pulse and its job, on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from srdeploy.devices.browser import phone as module
from srdeploy.devices.browser.phone import Phone
from srdeploy.devices.errors import DeviceError, DeviceLost, DeviceUnfit


class Clock:
    """Time, and a condition whose every wait takes a quarter of a second of it.

    Attributes:
        now: Seconds.
        events: What happens at which time.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.events: dict[float, Callable[[], Any]] = {}

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        assert seconds == 0.25
        self.now += seconds
        assert self.now < 1100, "it waits for ever"
        self.events.get(self.now - 1000, lambda: None)()

    def notify_all(self) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *details: object) -> None:
        pass


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def phone(clock: Clock) -> Phone:
    return Phone(
        "key",
        "pixel",
        "",
        {},
        page="a",
        wake=lambda: None,
        changed=clock,
        _seen=clock.now,  # type: ignore[arg-type]
    )


def ask(phone: Phone, **settings: Any) -> tuple[list[str], float]:
    """Have it asked, to no avail: the error's own sentence, and what was told before."""
    told: list[str] = []
    given: dict[str, Any] = {"timeout": 50, "patience": 50, "tell": told.append} | settings
    with pytest.raises(DeviceError) as caught:
        phone.ask("turn", **given)
    assert phone.job is None
    return [*told, f"{type(caught.value).__name__}: {caught.value}"], module.time.monotonic() - 1000


def test_silence(phone: Phone) -> None:
    gone = "The page on pixel has been silent for 10 s (closed, asleep or off the network)"
    assert ask(phone, patience=1.0) == (
        [f"{gone}; open the address again and it goes on (nothing is lost).",
         f"DeviceLost: {gone} and did not return within 1 s."],
        11.25,
    )  # fmt: skip


def test_a_page_behind_another(phone: Phone) -> None:
    phone.beat({"hidden": True})
    told, _ = ask(phone, patience=1.0)
    assert "silent for 10 s (locked, or showing something else)" in told[0]
    phone.beat({"hidden": False})
    assert "(closed, asleep or off the network)" in ask(phone, patience=1.0)[0][0]


def test_a_farewell(phone: Phone, clock: Clock) -> None:
    clock.events[1.0] = phone.leave
    told, ended = ask(phone, patience=0.5)
    assert told[0].startswith("The page on pixel was closed; open the address again")
    assert told[1] == "DeviceLost: The page on pixel was closed and did not return within 0.5 s."
    assert ended == 1.0 + 2.25 + 0.5


def test_absences_are_not_counted(phone: Phone, clock: Clock) -> None:
    for time in range(17, 100, 5):
        clock.events[time] = lambda: phone.beat({})
    told, ended = ask(phone, timeout=12.0, patience=7.0)
    assert told[1] == "pixel is back and goes on."
    assert told[2].startswith("DeviceError: pixel did not finish 'turn' within 12 s; use a smaller")
    assert ended == 17.0 + 2.0  # there for 10 s, and from the 17th on
    assert len(told) == 3


def test_every_absence_has_all_the_patience(phone: Phone, clock: Clock) -> None:
    clock.events[17.0] = lambda: phone.beat({})
    told, ended = ask(phone, patience=8.0)
    assert [one.split(";")[0].split(" (")[0] for one in told] == [
        "The page on pixel has been silent for 10 s", "pixel is back and goes on.",
        "The page on pixel has been silent for 10 s",
        "DeviceLost: The page on pixel has been silent for 10 s",
    ]  # fmt: skip
    assert ended == 17.0 + 10.0 + 8.25


def test_a_job_that_takes_too_long(phone: Phone, clock: Clock) -> None:
    told, ended = ask(phone, timeout=1.0)
    assert told == [
        "DeviceError: pixel did not finish 'turn' within 1 s; use a smaller input, or a scenario "
        "with a longer timeout."
    ]
    assert ended == 1.25


def test_pages_that_start_again_and_again(phone: Phone, clock: Clock) -> None:
    clock.events[0.25] = lambda: [phone.met(page, {}) for page in "abb"]  # only b is another
    clock.events[0.5] = lambda: phone.met("c", {})
    clock.events[2.0] = lambda: phone.met("d", {})
    told, ended = ask(phone)
    assert told[0].startswith(
        "DeviceError: The page on pixel was started 3 times over one step ('t"
    )
    assert ended == 2.0
    clock.events[3.0] = lambda: phone.met("e", {})
    assert "did not finish" in ask(phone, timeout=2.0)[0][0]  # the count begins anew


def test_how_long_a_page_counts_as_there(phone: Phone, clock: Clock) -> None:
    clock.now += 10.0
    assert phone.alive
    clock.now += 0.01
    assert not phone.alive
    phone.beat({})
    phone.leave()
    clock.now += 2.0
    assert phone.alive
    clock.now += 0.01
    assert not phone.alive
    phone.beat({})
    assert not phone.alive
    phone.met("b", {"cores": 2})
    assert (phone.alive, phone.page, phone.told) == (True, "b", {"cores": 2})


def test_jobs_and_answers(phone: Phone, clock: Clock) -> None:
    woken: list[Any] = []
    phone.wake = lambda: woken.append(phone.job)
    jobs = []

    def answer() -> None:
        assert phone.job is not None
        jobs.append(phone.job)
        number = phone.job["id"]
        assert not phone.take_output(number + 1, b"1234")
        assert not phone.take_output(number, b"123")
        assert phone.take_output(number, b"1234")
        phone.answer(number + 1, {"ok": False})
        phone.answer(number, {"ok": True, "ms": 3})
        assert not phone.take_output(number, b"1234")

    clock.events[0.25] = answer
    clock.events[0.5] = lambda: phone.answer(phone.job["id"], {"ok": True})  # type: ignore[index]
    more = {"timeout": 5, "patience": 5, "tell": print}
    assert phone.ask("run", expected_bytes=4, model="m", **more) == ({"ms": 3}, b"1234")
    assert phone.ask("turn", **more) == ({}, None)  # and nothing of the job before
    assert jobs == [{"id": 1, "do": "run", "model": "m"}]
    assert woken == [jobs[0], {"id": 2, "do": "turn"}]
    assert phone.expected_bytes == 0


def test_without_a_job_no_output_is_expected() -> None:
    assert Phone("key", "pixel", "", {}, page="a", wake=lambda: None).expected_bytes == 0


def test_a_pulse_tells_only_what_it_holds(phone: Phone, clock: Clock) -> None:
    phone.beat({"battery": 5})
    clock.now += 7
    phone.beat({})
    assert (phone.state, phone._seen) == ({"battery": 5}, 1007)
    phone.job = {"id": 1}
    clock.now += 1
    phone.answer(1, {})
    assert phone._seen == 1008


@pytest.mark.parametrize(
    ("reply", "kind", "sentence"),
    [
        ({"ok": False, "code": code, "error": "no."}, DeviceUnfit, "pixel: no.")
        for code in ("unsupported", "insecure", "no-webgpu", "no-adapter")
    ]
    + [
        ({"error": "x" * 600, "code": "memory"}, DeviceError, f"pixel: {'x' * 500}"),
        ({}, DeviceError, "pixel: the page failed without a reason."),
    ],
)
def test_refusals(
    phone: Phone, clock: Clock, reply: dict[str, Any], kind: type, sentence: str
) -> None:
    clock.events[0.25] = lambda: phone.answer(phone.job["id"], reply)  # type: ignore[index]
    assert ask(phone)[0] == [f"{kind.__name__}: {sentence}"]


def test_lost_is_lost(phone: Phone) -> None:
    with pytest.raises(DeviceLost):
        phone.ask("turn", timeout=50, patience=1, tell=lambda sentence: None)
