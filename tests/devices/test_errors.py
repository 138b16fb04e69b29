"""Whose fault an error is."""

from __future__ import annotations

from typing import Any

import pytest

from srdeploy.devices.errors import (
    DeviceError,
    DeviceFull,
    DeviceLost,
    DeviceRefused,
    DeviceUnfit,
)
from srdeploy.errors import UserError


@pytest.mark.parametrize(
    ("error", "code", "of_the_device"),
    [(DeviceRefused, 2, True), (DeviceUnfit, 2, True), (DeviceFull, 1, True), (DeviceLost, 1, True),
     (DeviceError, 1, True), (UserError, 2, False)],
)  # fmt: skip
def test_whose_fault_an_error_is(error: Any, code: int, of_the_device: bool) -> None:
    assert error("x").exit_code == code
    assert issubclass(error, DeviceError) == of_the_device
