"""Records that others keep cannot be changed by whoever holds them."""

from __future__ import annotations

import pytest

from tests.frozen import assert_frozen

RECORDS = [
    "srdeploy.train.cache:PackedImages",
    "srdeploy.train.cache:CachedFolder",
    "srdeploy.train.checkpoint:Origin",
    "srdeploy.train.patches:PatchBatch",
    "srdeploy.train.patches:_Pool",
    "srdeploy.train.processes:Processes",
]


@pytest.mark.parametrize("record", RECORDS)
def test_no_value_of_it_changes(record: str) -> None:
    assert_frozen(record)
