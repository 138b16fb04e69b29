"""Records that others keep cannot be changed by whoever holds them."""

from __future__ import annotations

import pytest

from tests.frozen import assert_frozen

RECORDS = [
    "srdeploy.models.architecture:Architecture",
    "srdeploy.models.card_file:Header",
    "srdeploy.models.count:Counts",
    "srdeploy.models.quantised:Range",
    "srdeploy.models.smsr.pack:PackedLayer",
    "srdeploy.models.smsr.pack:PackedModule",
]


@pytest.mark.parametrize("record", RECORDS)
def test_no_value_of_it_changes(record: str) -> None:
    assert_frozen(record)
