"""Records that others may keep: nobody changes them afterwards."""

from __future__ import annotations

import pytest

from tests.frozen import assert_frozen

RECORDS = (
    "srdeploy.line.artifacts:Exported",
    "srdeploy.line.networks:Networks",
    "srdeploy.line.run:Planned",
    "srdeploy.line.run:Done",
    "srdeploy.line.stage:StageState",
    "srdeploy.line.stage:Stage",
)


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_does_not_change(record: str) -> None:
    assert_frozen(record)
