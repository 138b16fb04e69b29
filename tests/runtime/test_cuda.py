"""The driver's calls against a fake library that keeps GPU memory in a dict."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

from srdeploy.errors import SrdeployError, UserError
from srdeploy.runtime.cuda import Cuda, find_gpu
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
