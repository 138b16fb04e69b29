"""Records that others keep cannot be changed by whoever holds them."""

from __future__ import annotations

import pytest

from tests.frozen import assert_frozen

RECORDS = [
    "srdeploy.prune.blocks:Block",
    "srdeploy.prune.tracing.groups:Atom",
    "srdeploy.prune.tracing.groups:Grouping",
    "srdeploy.prune.tracing.channel_labels:Axis",
    "srdeploy.prune.tracing.channel_labels:ChannelLabels",
    "srdeploy.prune.methods.regularise:Front",
    "srdeploy.prune.methods.schedule:Ramp",
    "srdeploy.prune.tracing.trace:Trace",
]


@pytest.mark.parametrize("record", RECORDS)
def test_no_value_of_it_changes(record: str) -> None:
    assert_frozen(record)
