"""Records that others may keep: nobody changes them afterwards."""

from __future__ import annotations

import pytest

from tests.frozen import assert_frozen

RECORDS = (
    "srdeploy.bench.deciding.compare:OutputDifference",
    "srdeploy.bench.deciding.compare:Comparison",
    "srdeploy.bench.measuring.drift:Drift",
    "srdeploy.bench.measuring.plan:Batch",
    "srdeploy.bench.measuring.profile:LayerTime",
    "srdeploy.bench.measuring.profile:Profile",
    "srdeploy.bench.measuring.request:Request",
    "srdeploy.bench.measuring.request:Outcome",
    "srdeploy.bench.deciding.baseline:BaselinePair",
    "srdeploy.bench.measuring.sparse:BreakEven",
    "srdeploy.bench.measuring.stats:Latency",
    "srdeploy.bench.measuring.stats:Ratio",
    "srdeploy.util.svg_plot:PlotSeries",
    "srdeploy.bench.measuring.tiles:TimedInput",
    "srdeploy.bench.deciding.verdict:Limits",
    "srdeploy.bench.deciding.verdict:Verdict",
    "srdeploy.bench.deciding.why:LayerPair",
    "srdeploy.bench.deciding.why:Why",
    "srdeploy.bench.measuring.zoo:Shipped",
)


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_does_not_change(record: str) -> None:
    assert_frozen(record)
