"""Records that others keep cannot be changed by whoever holds them."""

from __future__ import annotations

import pytest

from tests.frozen import assert_frozen

RECORDS = [
    "srdeploy.pruning.blocks:Block",
    "srdeploy.pruning.tracing.groups:Atom",
    "srdeploy.pruning.tracing.groups:Grouping",
    "srdeploy.pruning.tracing.channel_labels:Axis",
    "srdeploy.pruning.tracing.channel_labels:ChannelLabels",
    "srdeploy.pruning.methods.regularise:Front",
    "srdeploy.pruning.methods.schedule:Ramp",
    "srdeploy.pruning.tracing.trace:Trace",
]


@pytest.mark.parametrize("record", RECORDS)
def test_no_value_of_it_changes(record: str) -> None:
    assert_frozen(record)
