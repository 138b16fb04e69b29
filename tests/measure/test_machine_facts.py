"""Where each fact of a machine comes from, system by system."""

from __future__ import annotations

import os
import platform

import pytest

from srdeploy.measure import machine


def test_memory_is_in_10_to_the_9_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2_000_000}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    assert machine.memory_gb() == 8.2
    for error in (ValueError, OSError, AttributeError):

        def unknown(name: str, error: type[Exception] = error) -> int:
            raise error(name)

        monkeypatch.setattr(os, "sysconf", unknown)
        assert machine.memory_gb() is None


def test_cpus_are_those_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    assert machine.usable_cpus() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert machine.usable_cpus() == 7
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert machine.usable_cpus() == 1


def test_the_load_is_that_of_the_last_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (1.234, 9.0, 8.0))
    facts = machine.machine_facts()
    assert facts["load_1min"] == 1.23
    assert facts["cpus"] == os.cpu_count()
    assert (facts["arch"], facts["python"]) == (platform.machine(), platform.python_version())
    monkeypatch.delattr(os, "getloadavg")
    assert "load_1min" not in machine.machine_facts()


def test_a_systems_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"PRETTY_NAME": "Penguin 9"})
    assert machine.operating_system() == "Penguin 9"

    monkeypatch.setattr(platform, "freedesktop_os_release", dict)
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "mac_ver", lambda: ("15.1", ("", "", ""), ""))
    assert machine.operating_system() == "Darwin 15.1"

    def none() -> dict[str, str]:
        raise OSError("no such file")

    monkeypatch.setattr(platform, "freedesktop_os_release", none)
    monkeypatch.setattr(platform, "mac_ver", lambda: ("", ("", "", ""), ""))
    monkeypatch.setattr(platform, "release", lambda: "9.8")
    assert machine.operating_system() == "Darwin 9.8"
    monkeypatch.setattr(platform, "release", lambda: "")
    assert machine.operating_system() == "Darwin"
