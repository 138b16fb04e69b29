"""Each limit that a verdict on a layer's time turns on, on both sides of it."""

from __future__ import annotations

from typing import Any

import pytest

from srdeploy.benchmarking.deciding.why import aligned, explain, judge, padded_macs
from srdeploy.benchmarking.measuring.profile import LayerTime, Profile


def layer(
    macs: int = 1_000_000, ms: float = 1.0, inputs: int = 64, outputs: int = 64,
    bytes: int = 1000, operator: str = "Conv", name: str = "body",
) -> LayerTime:  # fmt: skip
    return LayerTime(name, inputs, outputs, macs, ms, bytes, outputs, operator)


PEAK = (2_000_000.0, 10_000.0)
HALF = {"macs": 500_000, "inputs": 32}


@pytest.mark.parametrize(
    ("after", "kind"),
    [
        (layer(981_000), "unchanged"),  # 1.019 times fewer
        (layer(980_000), "pays"),  # 1.0204: at most 0.85 of it was asked for
        (layer(980_000, ms=1.16), "overhead"),
        (layer(ms=0.905, operator="QLinearConv"), "pays"),
        (layer(ms=0.915, operator="QLinearConv"), "overhead"),
        (layer(**HALF, ms=0.588), "pays"),  # 0.85 of 2
        (layer(**HALF, ms=0.589), "overhead"),
        (layer(**HALF, ms=0.9, bytes=4500), "memory"),  # half the best rate
        (layer(**HALF, ms=0.9, bytes=4499), "overhead"),
        (layer(400_000, ms=0.9, inputs=25, bytes=9000), "blocks"),  # 25 compute as 32
        (layer(750_000, ms=0.9, inputs=48, bytes=9000), "memory"),
    ],
)
def test_what_a_layer_follows(after: LayerTime, kind: str) -> None:
    assert judge(layer(), after, 16, PEAK) == kind


def test_computing_at_half_the_best_rate_is_not_waiting_for_memory() -> None:
    after = layer(**HALF, ms=0.9, bytes=9000)
    assert judge(layer(), after, 16, (500_000 / 0.9 / 0.5, 10_000)) == "overhead"
    assert judge(layer(), after, 16, (500_000 / 0.9 / 0.49, 10_000)) == "memory"


def test_very_short_layers_are_starting_up() -> None:
    for ms, kind in ((0.05, "overhead"), (0.0501, "memory")):
        assert judge(layer(ms=0.06), layer(**HALF, ms=ms, bytes=9000), 16, (1e9, 1000)) == kind


@pytest.mark.parametrize(
    ("inputs", "outputs", "filled", "whole"),
    [(64, 64, 64 * 64, True), (3, 64, 3 * 64, True), (4, 48, 4 * 48, True), (5, 64, 16 * 64, False),
     (64, 1, 64, True), (64, 33, 64 * 48, False), (17, 31, 32 * 32, False)],
)  # fmt: skip
def test_widths_are_filled_up_to_blocks(
    inputs: int, outputs: int, filled: int, whole: bool
) -> None:
    one = layer(inputs * outputs * 10, inputs=inputs, outputs=outputs)
    assert padded_macs(one, 16) == pytest.approx(filled * 10)
    assert aligned(one, 16) is whole


def explained(*pairs: tuple[LayerTime, LayerTime], **others: Any) -> Any:
    first = Profile([before for before, _ in pairs], others.get("before", {}))
    second = Profile([after for _, after in pairs], others.get("after", {}))
    return explain(first, second, 16)


def test_ratios_are_of_the_first_over_the_second() -> None:
    found = explained((layer(ms=3.0, bytes=900), layer(250_000, ms=1.0, bytes=300)),
                      before={"Add": 1.0}, after={"Add": 0.6, "Mul": 0.4})  # fmt: skip
    assert found.speedup == pytest.approx(2)
    assert found.macs_ratio == pytest.approx(4)
    assert found.others == {"Add": (1.0, 0.6), "Mul": (0.0, 0.4)}
    (row,) = found.to_dict()["pairs"]
    assert (row["macs_ratio"], row["time_ratio"], row["bytes_ratio"]) == (4, 3, 3)
    assert row["lost_ms"] == pytest.approx(0.25)  # a quarter of 3 ms was promised
    assert row["aligned"] is True
    assert explained((layer(ms=4.0), layer(250_000, ms=0.9))).pairs[0].lost_ms == 0


def test_nothing_is_divided_by_nothing() -> None:
    found = explained((layer(ms=1.0), layer(ms=0.0, bytes=0)))
    assert found.pairs[0].time_ratio == pytest.approx(1e6)
    assert found.pairs[0].bytes_ratio == 1000
    assert explain(Profile([]), Profile([]), 16).verdicts == [
        "the time follows the MACs in every layer"
    ]


def test_what_costs_most_is_told_first() -> None:
    found = explained(
        (layer(name="a"), layer(400_000, ms=0.9, inputs=25, name="a")),
        (layer(name="b"), layer(ms=2.0, name="b")),
        (layer(name="c"), layer(**HALF, ms=0.9, name="c")),
        before={"Resize": 0.5, "Add": 0.2}, after={"Add": 0.3, "Resize": 1.0},
    )  # fmt: skip
    assert found.verdicts == [
        "2.00 ms (39%): layers that are as they were (b)",
        "1.30 ms (25%): between the convolutions (Resize, Add); it was 0.70 ms",
        "0.50 ms (10%): the runtime computes blocks of 16 channels, and these widths fill none (a)",
        "0.40 ms (8%): too little work per run, starting it on all threads costs as much (c)",
    ]
    assert found.round_to == 16
    few = explained((layer(), layer(**HALF, ms=0.5)), after={"Add": 0.026})
    assert few.verdicts == ["the time follows the MACs in every layer"]
    more = explained((layer(), layer(**HALF, ms=0.5)), after={"Add": 0.027})
    assert more.verdicts[0].startswith("0.03 ms (5%): between the convolutions (Add)")


def test_memory_is_told_in_its_own_words() -> None:
    found = explained(
        (layer(ms=0.2, bytes=1000, name="a"), layer(**HALF, ms=0.19, bytes=900, name="a")),
        (layer(50_000_000, ms=1.0, name="b"), layer(50_000_000, ms=1.0, name="b")),
    )
    assert found.pairs[0].kind == "memory"
    assert found.verdicts[1] == (
        "0.09 ms (8%): reading and writing the tensors takes the time, not the arithmetic (a)"
    )


def test_many_layers_are_named_by_the_ends() -> None:
    def told(count: int) -> str:
        pairs = [(layer(name=f"l{n}"), layer(name=f"l{n}")) for n in range(count)]
        return str(explained(*pairs).verdicts[0])

    assert told(3).endswith("(l0, l1, l2)")
    assert told(4).endswith("(l0 ... l3, 4 layers)")


def test_advice_on_widths() -> None:
    def after(name: str, outputs: int) -> LayerTime:
        return layer(100_000, ms=0.9, inputs=25, outputs=outputs, name=name)

    found = explained(*((layer(name=n), after(n, w)) for n, w in (("a", 40), ("b", 12), ("c", 40))))
    assert found.advice == [
        "12 channels cost what 16 cost",
        "40 channels cost what 48 cost; 32 would take 2.25 times less",
        "prune with --round-to 16 (or --round-to auto)",
    ]
    whole = explained((layer(), layer(400_000, ms=0.9, inputs=25)))  # outputs as they were
    assert (whole.advice, whole.round_to) == ([], 16)


def test_a_float_among_eight_bits_is_float_whatever_its_time() -> None:
    found = explained(
        (layer(name="a"), layer(ms=0.5, operator="QLinearConv", name="a")),
        (layer(name="b"), layer(**HALF, ms=0.4, name="b")),
    )
    assert [pair.kind for pair in found.pairs] == ["pays", "float"]
    assert found.verdicts == ["0.40 ms (44%): layers still computed in floats (b)"]


def test_only_layers_that_both_have_are_paired() -> None:
    found = explain(Profile([layer(name="a"), layer(name="b")]),
                    Profile([layer(name="c"), layer(name="b")]), 16)  # fmt: skip
    assert [pair.before.layer for pair in found.pairs] == ["b"]
