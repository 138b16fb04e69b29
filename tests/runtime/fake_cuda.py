"""CUDA's driver without a GPU: what the package calls of it, on ordinary memory."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any


class FakeDriver:
    """Every function returns a code like the real one's: 0 is success."""

    def __init__(self, capability: tuple[int, int] = (8, 9), init: int = 0) -> None:
        self.capability = capability
        self.init = init
        self.memory: dict[int, bytes] = {}
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            self.calls.append(name)
            return getattr(self, f"_{name}", lambda *_: 0)(*arguments)

        if not name.startswith("cu"):
            raise AttributeError(name)
        return call

    def _cuInit(self, flags: int) -> int:
        return self.init

    def _cuDeviceGetName(self, name: Any, size: int, device: int) -> int:
        name.value = b"Fake RTX"
        return 0

    def _cuDeviceGetAttribute(self, value: Any, attribute: int, device: int) -> int:
        value._obj.value = self.capability[attribute - 75]
        return 0

    def _cuDriverGetVersion(self, value: Any) -> int:
        value._obj.value = 12040
        return 0

    def _cuDeviceTotalMem_v2(self, value: Any, device: int) -> int:
        value._obj.value = 1 << 30
        return 0

    def _cuMemAlloc_v2(self, address: Any, size: Any) -> int:
        if size.value > 1 << 30:
            return 2
        address._obj.value = 4096 * (len(self.calls) + 1)
        self.memory[address._obj.value] = bytes(size.value)
        return 0

    def _cuMemFree_v2(self, address: Any) -> int:
        return 0 if self.memory.pop(address.value, None) is not None else 1

    def _cuMemcpyHtoDAsync_v2(self, address: Any, source: Any, size: Any, stream: Any) -> int:
        self.memory[address.value] = ctypes.string_at(source.value, size.value)
        return 0

    def _cuMemcpyDtoHAsync_v2(self, target: Any, address: Any, size: Any, stream: Any) -> int:
        ctypes.memmove(target.value, self.memory[address.value], size.value)
        return 0

    def _cuGetErrorString(self, code: int, text: Any) -> int:
        text._obj.value = b"made up"
        return 0
