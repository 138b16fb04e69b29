from __future__ import annotations

import importlib
import sys

import pytest

from srdeploy.runtime.table import RUNTIMES, Module, onnx_providers


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
    assert "opens no session" in RUNTIMES["coreml"].availability().reason


def test_module_versions() -> None:
    absent = Module("no_such_module", ("no-such-distribution",), "pip install it")
    assert absent.version() is None
    assert absent.availability().reason == "no_such_module is not installed: pip install it"
    assert Module("json", (), "").version() == "unknown version"  # importable, no distribution


def test_onnx_providers() -> None:
    assert "CPUExecutionProvider" in onnx_providers()
