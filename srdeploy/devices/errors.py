"""What goes wrong with devices, by what can be done about it.

A farm asks one question of an error: would the job succeed on another device? It would after a
:class:`DeviceError`; any other :class:`srdeploy.errors.SrdeployError` is the job's own.
"""

from __future__ import annotations

from srdeploy.errors import SrdeployError, UserError


class DeviceError(SrdeployError):
    """The device, not the job, is what failed; another device may serve."""


class DeviceRefused(DeviceError, UserError):
    """It cannot be reached or does not let us in: no such host, a refused or changed key..."""


class DeviceUnfit(DeviceError, UserError):
    """It answers, but cannot do this: a tool is missing there, its architecture is another."""


class DeviceFull(DeviceError):
    """No space is left on it."""


class DeviceLost(DeviceError):
    """It was there and went away in the middle of something."""
