"""Records that others keep cannot be changed by whoever holds them."""

from __future__ import annotations

import pytest

from tests.frozen import assert_frozen

RECORDS = [
    "srdeploy.sparse.backend:Backend",
    "srdeploy.sparse.costs:CostLine",
    "srdeploy.sparse.costs:FormCosts",
    "srdeploy.sparse.engine:FormChoice",
    "srdeploy.sparse.masks:LayerWork",
    "srdeploy.sparse.masks:ModuleMask",
    "srdeploy.sparse.masks:MaskReport",
    "srdeploy.sparse.module:_Layer",
    "srdeploy.sparse.rowconv:Tap",
    "srdeploy.sparse.rowconv:RowConv",
]


@pytest.mark.parametrize("record", RECORDS)
def test_no_value_of_it_changes(record: str) -> None:
    assert_frozen(record)
