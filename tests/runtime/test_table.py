from __future__ import annotations

import importlib
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest

from srdeploy.runtime import table
from srdeploy.runtime.onnx.providers import REMEDIES
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


@pytest.mark.parametrize(
    ("system", "library"), [("linux", "libcuda.so.1"), ("win32", "nvcuda.dll")]
)
def test_the_driver_is_looked_for(
    system: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(table, "ctypes", SimpleNamespace(CDLL=loaded.append))
    for _ in range(2):
        assert table.nvidia_driver.__wrapped__() == Availability(True, "NVIDIA driver")
    assert loaded == [library] * 2

    def absent(name: str) -> None:
        raise OSError

    monkeypatch.setattr(table, "ctypes", SimpleNamespace(CDLL=absent))
    found = table.nvidia_driver.__wrapped__()
    assert not found.ready
    assert found.reason.startswith("no NVIDIA driver here: run on a machine with an NVIDIA GPU")


@pytest.mark.parametrize(
    ("name", "file", "ready"),
    [
        ("cuda", "libonnxruntime_providers_cuda.so", True),
        ("tensorrt", "libonnxruntime_providers_cuda.so", False),
        ("directml", "DirectML.dll", True),
        ("openvino", "onnxruntime_providers_openvino.dll", True),
        ("coreml", "libonnxruntime.so", False),
    ],
)
def test_providers_are_files_of_onnxruntime(
    name: str, file: str, ready: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "capi").mkdir()
    (tmp_path / "capi" / file).touch()
    spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(table.importlib.util, "find_spec", lambda module: spec)
    monkeypatch.setattr(sys, "platform", "linux")
    found = table.provider_availability(name)
    assert found.ready == ready
    assert found.reason.startswith("onnxruntime ")
    if not ready:
        assert f" has no {name} provider: {REMEDIES[name]}" in found.reason
    monkeypatch.setattr(sys, "platform", "darwin")
    assert table.provider_availability(name).ready == (ready or name == "coreml")


def test_the_first_distribution_that_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name in here:
            return here[name]
        raise PackageNotFoundError

    here = {"b": "2", "c": "3"}
    monkeypatch.setattr(table, "version", version)
    module = Module("json", ("a", "b", "c"), "get it")
    assert module.version() == "2"
    assert module.availability() == Availability(True, "json 2")
    gone = Module("no_such_module", ("b",), "get it")
    assert gone.version() == "2"
    assert not gone.availability()
    for error in (ImportError, ValueError):

        def fails(name: str, error: type[Exception] = error) -> None:
            raise error

        monkeypatch.setattr(table.importlib.util, "find_spec", fails)
        assert not module.availability()


def test_what_rows_need() -> None:
    """Hardware, systems, and what has no speed."""
    gpus = {
        "onnxruntime-cuda", "onnxruntime-tensorrt", "tensorrt", "tensorrt_rtx", "sparse-cuda",
    }  # fmt: skip
    assert {n for n, row in RUNTIMES.items() if row.nvidia} == gpus
    assert {n for n, row in RUNTIMES.items() if row.platforms == ("linux", "win32")} == gpus
    assert {n for n, row in RUNTIMES.items() if row.platforms == ("darwin",)} == {
        "coreml", "onnxruntime-coreml",
    }  # fmt: skip
    assert [n for n, row in RUNTIMES.items() if row.platforms == ("win32",)] == [
        "onnxruntime-directml"
    ]
    assert {n for n, row in RUNTIMES.items() if not row.timed} == {
        "onnx-reference", "coreml-reference",
    }  # fmt: skip
    assert {n for n, row in RUNTIMES.items() if not row.suffixes} == {"torch", "sparse-cuda"}
    for suffix in (".onnx", ".mlpackage", ".engine", ".tflite", ".smsr", ".dispatch"):
        assert any(row.card for row in RUNTIMES.values() if suffix in row.suffixes)
    assert RUNTIMES["onnxruntime-cuda"].title == "ONNX Runtime, NVIDIA GPUs"


def test_systems() -> None:
    found = table.platform_availability(())
    assert found == Availability(True, sys.platform)
    assert table.platform_availability(("beos", "win32")).reason == "runs on beos or Windows only"
    assert not Availability(False, "x")
    assert Availability(True, "x")


@pytest.mark.parametrize(
    ("text", "parts"),
    [("a.onnx", ("a.onnx", None)), ("a.onnx@torch", ("a.onnx", "torch")),
     ("a@b@litert", ("a@b", "litert")), ("a@b", ("a@b", None)), ("litert", ("litert", None))],
)  # fmt: skip
def test_a_runtime_named_with_a_file(text: str, parts: tuple) -> None:
    assert table.split_runtime(text) == parts
