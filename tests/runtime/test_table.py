from __future__ import annotations

import importlib
import sys

import pytest

from srdeploy.runtime.table import RUNTIMES, Availability, Module, Runtime


def test_rows_are_sound() -> None:
    for name, row in RUNTIMES.items():
        assert row.name == name
        if row.session:
            module, cls = row.session.split(":")
            assert getattr(importlib.import_module(module), cls).runtime == name


def test_availability() -> None:
    assert RUNTIMES["torch"].availability().ready
    assert "onnxruntime 1" in RUNTIMES["onnxruntime"].availability().reason


def test_platform_and_missing_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert RUNTIMES["coreml"].availability().reason == "runs on macOS only"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert RUNTIMES["tensorrt"].availability().reason == "runs on Linux or Windows only"
    without = Runtime("new", "A new one", Module("json", (), ""))
    assert "opens no session in it yet (json unknown version found)" in (
        without.availability().reason
    )


def test_a_missing_driver_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def row() -> Runtime:
        return Runtime("x", "X", Module("json", (), ""), session="a:b", nvidia=True)

    absent = Availability(False, "no NVIDIA driver here")
    monkeypatch.setattr("srdeploy.runtime.table.nvidia_driver", lambda: absent)
    assert row().availability() == Availability(
        False, "json unknown version, but no NVIDIA driver here"
    )
    monkeypatch.setattr("srdeploy.runtime.table.nvidia_driver", lambda: Availability(True, ""))
    assert row().availability().ready


def test_module_versions() -> None:
    absent = Module("no_such_module", ("no-such-distribution",), "pip install it")
    assert absent.version() is None
    assert absent.availability().reason == "no_such_module is not installed: pip install it"
    assert Module("json", (), "").version() == "unknown version"  # importable, no distribution
