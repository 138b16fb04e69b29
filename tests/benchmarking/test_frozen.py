"""Records that others may keep: nobody changes them afterwards."""

from __future__ import annotations

import pytest

from tests.frozen import assert_frozen

RECORDS = (
    "srdeploy.benchmarking.deciding.compare:OutputDifference",
    "srdeploy.benchmarking.deciding.compare:Comparison",
    "srdeploy.benchmarking.measuring.row:Drift",
    "srdeploy.benchmarking.measuring.plan:Batch",
    "srdeploy.benchmarking.measuring.profile:LayerTime",
    "srdeploy.benchmarking.measuring.profile:Profile",
    "srdeploy.benchmarking.measuring.request:Request",
    "srdeploy.benchmarking.measuring.request:Outcome",
    "srdeploy.benchmarking.deciding.baseline:BaselinePair",
    "srdeploy.benchmarking.measuring.smsr_forms:Form",
    "srdeploy.benchmarking.measuring.smsr_forms:SizeResult",
    "srdeploy.benchmarking.measuring.sparse:BreakEven",
    "srdeploy.benchmarking.measuring.stats:Latency",
    "srdeploy.benchmarking.measuring.stats:Ratio",
    "srdeploy.util.svg_plot:PlotSeries",
    "srdeploy.benchmarking.measuring.tiles:TimedInput",
    "srdeploy.benchmarking.deciding.verdict:Limits",
    "srdeploy.benchmarking.deciding.verdict:Verdict",
    "srdeploy.benchmarking.deciding.why:LayerPair",
    "srdeploy.benchmarking.deciding.why:Why",
    "srdeploy.benchmarking.measuring.zoo:Shipped",
)


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_does_not_change(record: str) -> None:
    assert_frozen(record)
