"""The kinds that need nothing but this machine keep the contract."""

from __future__ import annotations

import pytest

from srdeploy.testing.devices import (  # noqa: F401
    DeviceContract,
    onnx_artifact,
    small_set,
)


class TestLocalContract(DeviceContract):
    @pytest.fixture
    def uri(self) -> str:
        return "local"


class TestFakeContract(DeviceContract):
    exact = False

    @pytest.fixture
    def uri(self) -> str:
        return "fake://desk?ms=2"
