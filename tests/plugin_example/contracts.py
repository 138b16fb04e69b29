"""The plug-in's rows keep srdeploy's contracts: ``pytest contracts.py`` where it is installed."""

import pytest

from srdeploy.testing.architectures import check_architecture
from srdeploy.testing.devices import DeviceContract, onnx_artifact, small_set  # noqa: F401
from srdeploy.testing.metrics import check_metric
from srdeploy.testing.targets import TargetContract


class TestNpz(TargetContract):
    target = "npz"


class TestOneThread(DeviceContract):
    @pytest.fixture
    def uri(self):
        return "one-thread"


def test_pixelnet():
    check_architecture("pixelnet")


def test_mae():
    check_metric("mae")
