"""What the measurements say: what to ship, fronts, sentences."""

from __future__ import annotations

from pathlib import Path

import pytest

from srdeploy.benchmarking.measuring.row import Row, row_of
from srdeploy.measure.measurement import Measurement
from srdeploy.reporting.figures import (
    FigureGroup,
    base_of,
    below_bicubic,
    change_of,
    front_of,
    groups_of,
    name_of,
    psnr_of,
    quantity,
    scenario_of,
    stages_of,
    summarise,
    told_apart,
)
from srdeploy.reporting.run_folder import RunFolder
from srdeploy.reporting.sources import Evidence, SourceEntry
from tests.reporting.material import measurement

BICUBIC = 30.5


def made(artifact: str, ms: float, psnr: float | None, **changes: object) -> Measurement:
    one = measurement(artifact, ms, psnr, 80e9, **changes)
    if one.quality is not None:
        one = one.model_copy(update={"quality": one.quality.model_copy(
            update={"bicubic": BICUBIC})})  # fmt: skip
    return one


def evidence_of(*found: Measurement) -> Evidence:
    return Evidence([SourceEntry(row_of(one, found[0]), one, Path()) for one in found])


def only_group(*found: Measurement) -> FigureGroup:
    (group,) = groups_of(evidence_of(*found))
    return group


DENSE, PRUNED, TUNED = (
    made("dense.onnx", 41.0, 33.4),
    made("pruned.onnx", 16.0, 19.9),
    made("tuned.onnx", 16.4, 32.9),
)


def row_named(group: FigureGroup, name: str) -> Row:
    return next(entry.row for entry in group.entries if entry.row.artifact == name)


def test_the_fastest_that_beats_bicubic_is_shipped() -> None:
    group = only_group(DENSE, PRUNED, TUNED)
    assert group.shipped is not None
    assert group.shipped.artifact == "tuned.onnx"
    assert below_bicubic(row_named(group, "pruned.onnx"))
    assert not below_bicubic(row_named(group, "tuned.onnx"))


def test_as_good_as_bicubic_is_not_below_it() -> None:
    group = only_group(DENSE, made("even.onnx", 5, BICUBIC))
    assert group.shipped is not None
    assert group.shipped.artifact == "even.onnx"


def test_where_all_are_below_bicubic_the_fastest_stands() -> None:
    group = only_group(made("a.onnx", 9, 20.0), made("b.onnx", 5, 19.0))
    assert group.shipped is not None
    assert group.shipped.artifact == "b.onnx"
    assert group.front == frozenset()


def test_without_times_there_is_nothing_to_ship() -> None:
    silent = made("a.onnx", 9, 33.0, samples_ms=[], turns=[])
    group = only_group(silent)
    assert group.shipped is None
    assert summarise(evidence_of(silent), [group]) == []


def test_the_front_holds_what_no_other_beats() -> None:
    group = only_group(
        DENSE, PRUNED, TUNED, made("slow.onnx", 50.0, 33.0), made("twin.onnx", 16.4, 32.8)
    )
    on = {e.row.artifact for e in group.entries if group.on_front(e)}
    assert on == {"dense.onnx", "tuned.onnx"}


def test_only_figures_of_the_usual_kind_are_compared() -> None:
    other = made("other.onnx", 1.0, 40.0)
    assert other.quality is not None
    other = other.model_copy(
        update={"quality": other.quality.model_copy(update={"data": "another set"})}
    )
    group = only_group(DENSE, TUNED, other)
    assert {e.row.artifact for e in group.entries if group.on_front(e)} == {
        "dense.onnx",
        "tuned.onnx",
    }
    assert change_of(row_named(group, "other.onnx"), row_named(group, "dense.onnx")) is None


def test_sentences_lead_with_what_is_shipped() -> None:
    evidence = evidence_of(DENSE, PRUNED, TUNED)
    first, second = summarise(evidence, groups_of(evidence))
    assert first.startswith("On local (default), tuned.onnx takes 16.")
    assert "2.49 times as fast as dense.onnx (95 % interval 2.4" in first
    assert first.endswith("at 32.90 dB (−0.50 dB).")
    assert second == "Below bicubic (30.50 dB), so nothing to ship: pruned.onnx."


def test_a_ratio_that_may_be_one_is_no_gain() -> None:
    again = made("again.onnx", 41.0, 33.4)
    evidence = evidence_of(DENSE, again)
    (group,) = groups_of(evidence)
    row = row_named(group, "again.onnx")
    assert row.speedup_low is not None
    assert row.speedup_low <= 1 <= (row.speedup_high or 0)
    assert not told_apart(row)
    told = summarise(evidence, [group])[0]
    assert "times as fast" not in told
    if group.shipped is row:
        assert "no measurable difference from dense.onnx (ratio 1.00" in told


@pytest.mark.parametrize(
    ("ratio", "low", "high", "apart"),
    [
        (None, None, None, False),
        (1.5, None, None, True),
        (1.5, 1.2, 1.8, True),
        (0.8, 0.7, 0.9, True),
        (1.1, 1.0, 1.2, False),
        (0.9, 0.8, 1.0, False),
        (1.0, 0.9, 1.1, False),
    ],
)
def test_told_apart(
    ratio: float | None, low: float | None, high: float | None, apart: bool
) -> None:
    row = row_of(TUNED, TUNED).model_copy(
        update={"speedup": ratio, "speedup_low": low, "speedup_high": high}
    )
    assert told_apart(row) is apart


def test_the_baseline_is_of_the_same_session() -> None:
    other = made("other.onnx", 3.0, 33.0, session="two")
    group = only_group(DENSE, TUNED, other)
    base = base_of(row_named(group, "tuned.onnx"), group)
    assert base is not None
    assert base.artifact == "dense.onnx"
    assert base_of(row_named(group, "dense.onnx"), group) is None
    assert base_of(row_named(group, "other.onnx"), group) is None


def test_failures_are_counted_and_the_first_is_told() -> None:
    bad = [
        made(f"bad{n}.onnx", 1.0, None, samples_ms=[], turns=[], error=f"It broke {n}.")
        for n in (1, 2)
    ]
    evidence = evidence_of(DENSE, *bad)
    told = summarise(evidence, groups_of(evidence))
    assert told[-1] == "2 measurements failed: bad1.onnx on local: It broke 1."
    evidence = evidence_of(DENSE, bad[0])
    assert summarise(evidence, groups_of(evidence))[-1].startswith("1 measurement failed: ")


def test_groups_are_sorted_and_apart() -> None:
    far = made("far.onnx", 1.0, 33.0, device="ssh://orin", session="two")
    silent = made("silent.onnx", 2.0, 33.0, samples_ms=[], turns=[])
    groups = groups_of(evidence_of(silent, DENSE, TUNED, far))
    assert [(g.device, [e.row.artifact for e in g.entries]) for g in groups] == [
        ("local", ["tuned.onnx", "dense.onnx", "silent.onnx"]),
        ("ssh://orin", ["far.onnx"]),
    ]


@pytest.mark.parametrize(
    ("value", "told"),
    [(None, "–"), (0, "0"), (999, "999"), (1e3, "1 k"), (37.1e9, "37.1 G"), (2e6, "2 M"),
     (4.5e12, "4.5 T"), (1e6, "1 M"), (1e9, "1 G"), (1e12, "1 T"),
     (999e3, "999 k"), (12.5, "12.5")],
)  # fmt: skip
def test_quantity(value: float | None, told: str) -> None:
    assert quantity(value) == told


def run(cards: list[dict], quality: dict[str, dict]) -> RunFolder:
    return RunFolder(Path("runs/one"), cards, quality)


def quality(psnr: float | None, **changes: object) -> dict[str, object]:
    return {"psnr_y": psnr, "protocol": "p", "data": "d", **changes}


def pruned_card(**figures: object) -> dict[str, object]:
    return {"stage": "20_pruned", "figures": figures}


STAGES = {"dense": quality(33.4), "pruned": quality(29.1), "tuned": quality(33.05)}
WENT = (
    "Mean PSNR went from 33.40 dB to 33.05 dB: −4.30 dB by pruning, "
    "+3.95 dB by fine-tuning (p on d)."
)


@pytest.mark.parametrize(
    ("cards", "figures", "told"),
    [
        ([], {}, []),
        ([pruned_card(macs_720p={"dense": 200, "compact": 70})], {},
         ["Pruning left the network of 'one' 35% of its multiply-accumulates."]),
        ([pruned_card(macs_720p={"dense": 3, "compact": 1}, params={"dense": 4, "compact": 0})], {},
         ["Pruning left the network of 'one' 33% of its multiply-accumulates and 0% of its "
          "parameters."]),
        ([pruned_card(params={"dense": 0, "compact": 1}, macs_720p={"dense": 5})], {}, []),
        ([{"stage": "20_pruned"}, {**pruned_card(params={"dense": 4, "compact": 1}),
                                   "stage": "40_tuned"}], {}, []),
        ([{**pruned_card(params={"dense": 4, "compact": 1}), "stage": "10_model"}], {}, []),
        ([], STAGES, [WENT]),
        ([], {"dense": quality(33.4)}, []),
        ([], {**STAGES, "tuned": quality(33.05, data="another")}, []),
        ([], {"dense": {"psnr_rgb": 30.0}, "other": {"psnr_rgb": 31, "protocol": ""}},
         ["Mean PSNR went from 30.00 dB to 31.00 dB: +1.00 dB by other ( on )."]),
        ([], {**STAGES, "pruned": quality(None)},
         ["Mean PSNR went from 33.40 dB to 33.05 dB: −0.35 dB by fine-tuning (p on d)."]),
    ],
)  # fmt: skip
def test_sentences_on_a_run(cards: list, figures: dict, told: list[str]) -> None:
    assert summarise(Evidence(runs=[run(cards, figures)]), []) == told


def test_stages_with_their_protocols() -> None:
    assert stages_of(run([], {"dense": quality(33, psnr_rgb=1.0), "tuned": quality(None)})) == [
        ("dense", 33.0, "p on d")
    ]


def test_sentences_say_what_is_not_known_by_leaving_it_out() -> None:
    alone = made("alone.onnx", 41.0, None)
    evidence = evidence_of(alone)
    (told,) = summarise(evidence, groups_of(evidence))
    assert told == f"On local (default), alone.onnx takes {alone.p50_ms:.2f} ms."
    bare = [
        e.row.model_copy(update={"speedup": s, "speedup_low": None, "speedup_high": None})
        for e, s in zip(evidence_of(DENSE, TUNED).entries, (None, 2.5), strict=True)
    ]
    group = FigureGroup(
        "d", "s", [SourceEntry(row, TUNED, Path()) for row in bare], frozenset(), bare[1]
    )
    (told,) = summarise(Evidence(), [group])
    assert told.endswith(", 2.50 times as fast as dense.onnx, at 32.90 dB (−0.50 dB).")
    still = bare[1].model_copy(
        update={"speedup": 1.004, "speedup_low": 0.987, "speedup_high": 1.016}
    )
    entries = [group.entries[0], SourceEntry(still, TUNED, Path())]
    (told,) = summarise(Evidence(), [FigureGroup("d", "s", entries, frozenset(), still)])
    assert (
        "ms, no measurable difference from dense.onnx (ratio 1.00, 95 % interval 0.99 to 1.02)"
        in told
    )


def test_a_protocol_of_colours_counts_where_there_is_no_luma() -> None:
    row = row_of(TUNED, TUNED)
    colours = row.model_copy(
        update={"psnr_y": None, "ssim_y": None, "psnr_rgb": 31.0, "ssim_rgb": 0.8}
    )
    assert (psnr_of(row), row.figure("ssim")) == (32.9, 0.93)
    assert (psnr_of(colours), colours.figure("ssim")) == (31.0, 0.8)
    both = row.model_copy(update={"psnr_y": 0.0, "psnr_rgb": 31.0, "ssim_y": 0.0, "ssim_rgb": 1.0})
    assert (psnr_of(both), both.figure("ssim")) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("psnr", "bicubic", "below"),
    [(30.4, 30.5, True), (30.5, 30.5, False), (30.6, 30.5, False), (None, 30.5, False),
     (30.4, None, False), (30.4, float("inf"), False)],
)  # fmt: skip
def test_below_bicubic(psnr: float | None, bicubic: float | None, below: bool) -> None:
    row = row_of(TUNED, TUNED).model_copy(update={"psnr_y": psnr, "psnr_bicubic": bicubic})
    assert below_bicubic(row) is below


@pytest.mark.parametrize(
    ("scenario", "told"),
    [({}, "default"), ({"name": "own", "inputs": ["median"]}, "own"),
     ({"name": "own", "inputs": [[270, 480], "median", [1, 2]]}, "own 480×270 2×1")],
)  # fmt: skip
def test_scenarios_are_told_with_their_sizes(scenario: dict, told: str) -> None:
    assert scenario_of(row_of(TUNED, TUNED).model_copy(update={"scenario": scenario})) == told


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([(10, 33), (10, 34)], {1}),
        ([(10, 33), (9, 33)], {1}),
        ([(10, 33), (10, 33)], {0, 1}),
        ([(10, 33), (9, 32), (8, 31)], {0, 1, 2}),
        ([(10, 33), (11, 32)], {0}),
        ([(None, 40), (10, None), (9, 31)], {2}),
        ([], set()),
    ],
)
def test_the_front_of_points(points: list[tuple], front: set[int]) -> None:
    rows = [
        row_of(TUNED, TUNED).model_copy(update={"p50_ms": ms, "psnr_y": psnr, "psnr_bicubic": None})
        for ms, psnr in points
    ]
    assert front_of(rows) == {id(rows[n]) for n in front}


@pytest.mark.parametrize(
    ("row", "base", "told"),
    [
        ({"psnr_y": 33.0}, {"psnr_y": 33.456}, "−0.46"),
        ({"psnr_y": 33.5}, {"psnr_y": 33.456}, "+0.04"),
        ({"psnr_y": 33.5}, {"psnr_y": None}, None),
        ({"psnr_y": None}, {"psnr_y": 33.0}, None),
        ({"protocol": "other"}, {}, None),
    ],
)
def test_changes_have_a_sign(row: dict, base: dict, told: str | None) -> None:
    one = row_of(TUNED, TUNED)
    assert change_of(one.model_copy(update=row), one.model_copy(update=base)) == told
    assert change_of(one, None) is None


def test_names_are_without_folders() -> None:
    assert (
        name_of(row_of(TUNED, TUNED).model_copy(update={"artifact": "a/b/net.onnx"})) == "net.onnx"
    )
