"""Records that others may keep: nobody changes them afterwards."""

from __future__ import annotations

import pytest

from tests.frozen import assert_frozen

RECORDS = (
    "srdeploy.farm.client:FarmOptions",
    "srdeploy.farm.certificates:Issued",
    "srdeploy.farm.fleet:LiveDevice",
    "srdeploy.farm.content_store:StoredContent",
)


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_does_not_change(record: str) -> None:
    assert_frozen(record)
