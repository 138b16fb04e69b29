"""Records that others may keep: nobody changes them afterwards."""

from __future__ import annotations

from tests.frozen import assert_frozen


def test_a_source_does_not_change() -> None:
    assert_frozen("srdeploy.devices.shell.watch:SensorSource")
