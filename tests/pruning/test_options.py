"""How many channels go, and requests that are impossible."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from srdeploy.errors import UserError
from srdeploy.models.registry import create
from srdeploy.pruning.options import (
    PruneOptions,
    count_removed,
    departures,
    group_ratio,
    nothing_to_prune,
    removals,
)
from srdeploy.pruning.tracing.groups import Group, find_groups


@pytest.fixture(scope="module")
def edsr():
    return find_groups(create("edsr", n_blocks=2, n_feats=8))


@given(st.integers(1, 512), st.integers(0, 999))
def test_the_published_count(total, thousandths):
    ratio = thousandths / 1000
    wanted = min(-(-thousandths * total // 1000), total - 1)  # in whole numbers, so exactly
    assert count_removed(total, ratio) == wanted


@pytest.mark.parametrize(
    ("total", "ratio", "kept"),
    [(64, 0.5, 32), (64, 0.3, 44), (256, 0.7, 76), (96, 0.34, 63), (3, 0.9, 1)],
)
def test_familiar_widths(total, ratio, kept):
    assert total - count_removed(total, ratio) == kept


@given(
    st.integers(1, 200),
    st.floats(0, 0.99),
    st.sampled_from([2, 4, 8, 32]),
    st.sampled_from([1, 4, 9]),
)
def test_round_to_keeps_multiples(total, ratio, multiple, block):
    exact = total - count_removed(total, ratio)
    kept = total - count_removed(total, ratio, multiple, block)
    assert 1 <= kept <= total
    if kept < total:
        assert kept * block % multiple == 0
        unit = multiple // math.gcd(multiple, block)
        assert kept == unit or abs(kept - exact) <= unit / 2
    if exact == total:
        assert kept == total


def test_round_to_goes_up_on_a_tie():
    assert 64 - count_removed(64, 0.4375, 8) == 40  # 36 is as near to 32


def test_ratios_reach_every_group_but_the_untouchable_and_excluded(edsr):
    counts = removals(edsr, PruneOptions(ratio=0.5))
    assert counts == {"g2": 4, "g3": 4, "g4": 4, "g5": 4}
    assert removals(edsr, PruneOptions(ratio=0.5, exclude=("tail.*",))).keys() == {"g2", "g3", "g4"}
    assert removals(edsr, PruneOptions(ratio=0.5, exclude=("head.0",))).keys() == {"g3", "g4", "g5"}
    assert removals(edsr, PruneOptions(ratio=0.0)) == {}


def test_a_layer_ratio_overrides_the_common_one(edsr):
    options = PruneOptions(ratio=0.5, layer_ratios={"body.0.body.0": 0.25, "tail.*": 0.0})
    assert removals(edsr, options) == {"g2": 4, "g3": 2, "g4": 4}


def test_coupled_layers_need_one_ratio(edsr):
    with pytest.raises(UserError, match=r"coupled and need one ratio.*'head.0' 0.3, 'body.2' 0.4"):
        removals(edsr, PruneOptions(ratio=0.5, layer_ratios={"head.0": 0.3, "body.2": 0.4}))
    same = PruneOptions(ratio=0.5, layer_ratios={"head.0": 0.25, "body.2": 0.25})
    assert removals(edsr, same)["g2"] == 2


@pytest.mark.parametrize(("count", "named"), [(2, "a, b"), (3, "a, b, c"), (4, "a, b, c...")])
def test_of_many_coupled_layers_three_are_named(count, named):
    group = Group("g1", "coupled", [], list("abcd")[:count], [], [])
    options = PruneOptions(ratio=0.5, layer_ratios={"a": 0.3, "b": 0.4, "x": 0.7})
    sentence = f"Layers {named} are coupled and need one ratio, but the patterns give several"
    with pytest.raises(UserError) as error:
        group_ratio(group, options)
    assert str(error.value) == f"{sentence} ('a' 0.3, 'b' 0.4)."


@pytest.mark.parametrize("options", [{"exclude": ("tial.*",)}, {"layer_ratios": {"tial.*": 0.1}}])
def test_a_pattern_that_matches_nothing_lists_the_layers(edsr, options):
    with pytest.raises(UserError, match=r"No layer matches 'tial.\*'; the layers are: .*head.0"):
        removals(edsr, PruneOptions(ratio=0.5, **options))


@pytest.mark.parametrize("ratio", [math.nan, -0.1, 1.0, 1.5, math.inf, -math.inf])
def test_impossible_ratios(ratio):
    with pytest.raises(UserError, match="is impossible"):
        PruneOptions(ratio=ratio)
    with pytest.raises(UserError, match="is impossible"):
        PruneOptions(ratio=0.5, layer_ratios={"a": ratio})


def test_other_impossible_options():
    with pytest.raises(UserError, match="--round-to 0"):
        PruneOptions(ratio=0.5, round_to=0)
    with pytest.raises(UserError, match="did you mean 'fpgm'"):
        PruneOptions(ratio=0.5, criterion="fpmg")


def test_long_lists_of_layers_are_cut_short(edsr):
    with pytest.raises(UserError, match=r"the layers are: .*tail.1, add_mean\.$"):
        removals(edsr, PruneOptions(ratio=0.5, exclude=("x",)))
    many = find_groups(create("edsr", n_blocks=7, n_feats=4))
    with pytest.raises(UserError, match=r" \.\.\. \(\d+ layers\)\.$") as error:
        removals(many, PruneOptions(ratio=0.5, exclude=("x",)))
    shown = str(error.value).partition("the layers are: ")[2].partition(" ...")[0]
    assert shown.split(", ") == many.layer_names()[:12]
    assert f"({len(many.layer_names())} layers)" in str(error.value)


def test_options_are_checked_and_cannot_be_changed():
    with pytest.raises(ValidationError, match="Extra inputs"):
        PruneOptions(ratio=0.5, rate=0.5)
    options = PruneOptions(ratio=0.5)
    with pytest.raises(ValidationError, match="frozen"):
        options.ratio = 0.6
    assert options.model_dump() == {
        "ratio": 0.5, "layer_ratios": {}, "exclude": (), "round_to": 1, "criterion": "l1",
        "seed": 0,
    }  # fmt: skip


@pytest.fixture(scope="module")
def wide():
    return find_groups(create("ledsr", n_blocks=1, n_feats=32))


@pytest.mark.parametrize(
    ("ratio", "round_to", "told"),
    [
        (0.3, 16, ["of 32 channels 50% go where 30% was asked for: --round-to 16 keeps a multiple "
                   "of 16; --round-to 8 would remove 25%"]),
        (0.2, 16, ["of 32 channels 0% go where 20% was asked for: --round-to 16 keeps a multiple "
                   "of 16; --round-to 8 would remove 25%"]),
        (0.4, 32, ["of 32 channels 0% go where 40% was asked for: --round-to 32 keeps a multiple "
                   "of 32; --round-to 4 would remove 38%"]),
        (0.5, 16, []), (0.3, 8, []), (0.3, 1, []), (0.0, 16, []),
    ],
)  # fmt: skip
def test_another_ratio_than_was_asked_for_is_told(wide, ratio, round_to, told):
    options = PruneOptions(ratio=ratio, round_to=round_to, exclude=("tail.*",))
    assert departures(wide, options) == told


def test_of_few_channels_there_is_no_choice():
    few = find_groups(create("ledsr", n_blocks=1, n_feats=3))
    (told,) = departures(few, PruneOptions(ratio=0.5, exclude=("tail.*",)))
    assert told == (
        "of 3 channels 67% go where 50% was asked for: the number is rounded up, and one always "
        "stays"
    )
    mixed = PruneOptions(ratio=0.5, layer_ratios={"body.0.body.0": 0.4}, exclude=("tail.*",))
    assert len(departures(few, mixed)) == 2  # each group by its own ratio


def test_what_nothing_is_pruned_for(wide):
    coarse = PruneOptions(ratio=0.2, round_to=16, exclude=("tail.*",))
    assert removals(wide, coarse) == {}
    (why,) = departures(wide, coarse)
    assert str(nothing_to_prune(wide, coarse)) == f"Nothing to prune: {why}."
    excluded = PruneOptions(ratio=0.2, round_to=16, exclude=("*",))
    assert "every group is untouchable, excluded" in str(nothing_to_prune(wide, excluded))
    barely = PruneOptions(ratio=0.03, round_to=16, exclude=("tail.*",))
    assert str(nothing_to_prune(wide, barely)) == (
        "Nothing to prune: --round-to 16 keeps all channels."
    )
