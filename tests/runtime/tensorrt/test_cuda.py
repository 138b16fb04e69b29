"""The driver's calls against a fake library that keeps GPU memory in a dict."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from srdeploy.errors import SrdeployError, UserError
from srdeploy.runtime.tensorrt import cuda as cuda_module
from srdeploy.runtime.tensorrt.cuda import Cuda, find_gpu
from tests.runtime.fake_cuda import FakeDriver


def test_facts_of_the_gpu() -> None:
    gpu = Cuda(FakeDriver(capability=(8, 9))).gpu()
    assert (gpu.name, gpu.capability, gpu.driver, gpu.memory_mb) == (
        "Fake RTX",
        "8.9",
        "12.4",
        1024,
    )


def test_a_round_trip_and_an_end() -> None:
    driver = FakeDriver()
    cuda = Cuda(driver)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    address = cuda.allocate(x.nbytes)
    cuda.upload(x, address)
    np.testing.assert_array_equal(cuda.download(address, (2, 3), np.float32), x)
    other = cuda.allocate(4)
    cuda.free(other)
    cuda.close()
    assert driver.memory == {}
    assert driver.calls[-2:] == ["cuStreamDestroy_v2", "cuDevicePrimaryCtxRelease_v2"]


def test_no_gpu_and_no_memory() -> None:
    with pytest.raises(UserError, match="finds no GPU"):
        Cuda(FakeDriver(init=100))
    with pytest.raises(UserError, match="has no 2048 MiB left"):
        Cuda(FakeDriver()).allocate(2 << 30)


def test_failures_name_the_call() -> None:
    cuda = Cuda(FakeDriver())
    with pytest.raises(SrdeployError, match=r"cuMemFree_v2 failed with code 1 \(made up\)"):
        cuda._call("cuMemFree_v2", ctypes.c_uint64(7))


class Noting(FakeDriver):
    """Notes the arguments of calls; fails where told."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, list[Any]]] = []
        self.fails = ""

    def __getattr__(self, name: str) -> Any:
        real = super().__getattr__(name)

        def call(*arguments: Any) -> int:
            self.seen.append((name, [getattr(a, "value", a) for a in arguments]))
            return 7 if name == self.fails else real(*arguments)

        return call

    def _cuStreamCreate(self, stream: Any, flags: int) -> int:
        stream._obj.value = 99
        return 0

    def _cuDeviceGet(self, device: Any, number: int) -> int:
        device._obj.value = 5
        return 0

    def _cuDevicePrimaryCtxRetain(self, context: Any, device: int) -> int:
        context._obj.value = 77
        return 0


def test_calls_and_their_arguments() -> None:
    driver = Noting()
    cuda = Cuda(driver)
    assert cuda.stream == 99
    told = dict(driver.seen)
    assert told["cuInit"] == [0]
    assert told["cuDeviceGet"][1] == 0  # the first visible one
    assert told["cuDevicePrimaryCtxRetain"][1] == 5
    assert told["cuCtxSetCurrent"] == [77]
    assert told["cuStreamCreate"][1] == 0
    x = np.arange(6, dtype=np.float16).reshape(2, 3)
    address = cuda.allocate(12)
    cuda.upload(x, address)
    np.testing.assert_array_equal(cuda.download(address, (2, 3), np.float16), x)
    told = dict(driver.seen)
    assert told["cuMemAlloc_v2"][1] == 12
    assert told["cuMemcpyHtoDAsync_v2"] == [address, x.ctypes.data, 12, 99]
    assert told["cuMemcpyDtoHAsync_v2"][1:] == [address, 12, 99]
    assert told["cuStreamSynchronize"] == [99]
    cuda.allocate(0)
    assert driver.seen[-1][1][1] == 1  # nothing cannot be allocated
    cuda.close()
    told = dict(driver.seen)
    assert told["cuStreamDestroy_v2"] == [99]
    assert told["cuDevicePrimaryCtxRelease_v2"] == [5]
    assert driver.memory == {}
    driver.fails = "cuMemcpyHtoDAsync_v2"
    with pytest.raises(
        SrdeployError, match=r"CUDA's cuMemcpyHtoDAsync_v2 failed with code 7 \(made"
    ):
        cuda.upload(x, address)


@pytest.mark.parametrize(("capability", "told"), [((12, 0), "12.0"), ((7, 5), "7.5")])
def test_capabilities(capability: tuple[int, int], told: str) -> None:
    assert Cuda(FakeDriver(capability)).gpu().capability == told


def test_memory_that_is_not_there_is_told_in_mebibytes() -> None:
    with pytest.raises(UserError, match=r"The GPU has no 1536 MiB left; use a smaller image"):
        Cuda(FakeDriver()).allocate(3 << 29)


def test_finding_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = FakeDriver()
    monkeypatch.setattr(cuda_module, "_load", lambda: driver)
    found = find_gpu()
    assert found is not None
    assert found.name == "Fake RTX"
    assert driver.calls[-1] == "cuDevicePrimaryCtxRelease_v2"
    driver.init = 3
    assert find_gpu() is None


@pytest.mark.parametrize(("system", "name"), [("linux", "libcuda.so.1"), ("win32", "nvcuda.dll")])
def test_the_drivers_library(system: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_module, "sys", SimpleNamespace(platform=system))
    monkeypatch.setattr(cuda_module.ctypes, "CDLL", lambda asked: asked)
    assert cuda_module._load() == name

    def absent(asked: str) -> None:
        raise OSError

    monkeypatch.setattr(cuda_module.ctypes, "CDLL", absent)
    with pytest.raises(UserError, match="There is no NVIDIA driver here, so no engine can run"):
        cuda_module._load()
    assert find_gpu() is None


@pytest.mark.gpu
def test_the_real_driver() -> None:
    gpu = find_gpu()
    if gpu is None:
        pytest.skip("there is no NVIDIA GPU here")
    cuda: Any = Cuda()
    x = np.random.default_rng(0).random((3, 5)).astype(np.float32)
    address = cuda.allocate(x.nbytes)
    cuda.upload(x, address)
    np.testing.assert_array_equal(cuda.download(address, x.shape, np.float32), x)
    cuda.close()
