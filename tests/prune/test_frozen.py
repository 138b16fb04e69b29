"""Records that others keep cannot be changed by whoever holds them."""

from __future__ import annotations

import pytest

from tests.frozen import assert_frozen

RECORDS = [
    "srdeploy.prune.blocks:Block",
    "srdeploy.prune.groups:Atom",
    "srdeploy.prune.groups:Grouping",
    "srdeploy.prune.channel_labels:Axis",
    "srdeploy.prune.channel_labels:ChannelLabels",
    "srdeploy.prune.regularise:Front",
    "srdeploy.prune.schedule:Ramp",
    "srdeploy.prune.trace:Trace",
]


@pytest.mark.parametrize("record", RECORDS)
def test_no_value_of_it_changes(record: str) -> None:
    assert_frozen(record)
