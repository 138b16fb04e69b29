"""Records that others may keep: nobody changes them afterwards."""

from __future__ import annotations

import pytest

pytest.importorskip("tornado", reason="tornado is not installed: pip install 'srdeploy[browser]'")

from tests.frozen import assert_frozen


@pytest.mark.parametrize(
    "record",
    [
        "srdeploy.devices.browser.certificate:Certificate",
        "srdeploy.devices.browser.hub:ServerAddress",
    ],
)
def test_a_record_does_not_change(record: str) -> None:
    assert_frozen(record)
