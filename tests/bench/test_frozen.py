"""Records that others may keep: nobody changes them afterwards."""

from __future__ import annotations

import pytest

from tests.frozen import assert_frozen

RECORDS = (
    "srdeploy.bench.compare:OutputDifference",
    "srdeploy.bench.compare:Comparison",
    "srdeploy.bench.drift:Drift",
    "srdeploy.bench.plan:Batch",
    "srdeploy.bench.profile:LayerTime",
    "srdeploy.bench.profile:Profile",
    "srdeploy.bench.request:Request",
    "srdeploy.bench.request:Outcome",
    "srdeploy.bench.baseline:BaselinePair",
    "srdeploy.bench.sparse:BreakEven",
    "srdeploy.bench.stats:Latency",
    "srdeploy.bench.stats:Ratio",
    "srdeploy.bench.svg_plot:PlotSeries",
    "srdeploy.bench.tiles:TimedInput",
    "srdeploy.bench.verdict:Limits",
    "srdeploy.bench.verdict:Verdict",
    "srdeploy.bench.why:LayerPair",
    "srdeploy.bench.why:Why",
    "srdeploy.bench.zoo:Shipped",
)


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_does_not_change(record: str) -> None:
    assert_frozen(record)
