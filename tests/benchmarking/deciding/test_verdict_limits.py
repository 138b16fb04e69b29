"""Each limit of a verdict on both sides of it, and the words and cells for it."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from srdeploy.benchmarking.deciding import verdict as module
from srdeploy.benchmarking.deciding.verdict import Limits, Verdict, VerdictLine, judge
from srdeploy.benchmarking.measuring.stats import Ratio
from srdeploy.benchmarking.showing.verdict_table import markdown, notes, verdict_table
from srdeploy.errors import UserError
from srdeploy.measure.measurement import Measurement
from srdeploy.measure.scenario import Scenario
from srdeploy.quality.result import Quality
from tests.benchmarking.material import measured

FIVE = Limits(max_slowdown=0.05)


def quality(psnr: float, **more: Any) -> Quality:
    values = {"ssim": 0.9, "colour": "y", "protocol": "p", "n_images": 2, "data": "d"}
    return Quality(psnr=psnr, **(values | more))


def one(*samples: float, **changes: Any) -> Measurement:
    return measured(list(samples or (10.0, 20.0, 30.0)), **({"session": None} | changes))


def decided(
    low: float | None, value: float, high: float | None, monkeypatch: pytest.MonkeyPatch
) -> VerdictLine:
    """The line where the ratio and its interval are these."""
    monkeypatch.setattr(module, "unpaired_ratio", lambda base, new: Ratio(value, low, high))
    (line,) = judge([one()], [one(repeat=9)], Limits(max_slowdown=0.25)).lines
    return line


@pytest.mark.parametrize(
    ("low", "value", "high", "word", "reason"),
    [
        (0.9, 1.0, 1.25, "pass", None),
        (0.9, 1.2, 1.2501, "noisy", "about 12 times as many"),
        (1.2501, 1.3, 1.4, "fail", None),
        (1.25, 1.375, 1.5, "noisy", "about 2 times as many"),  # at least
        (1.0, 1.375, 1.5, "noisy", "about 4 times as many"),
        (1.0, 1.2751, 1.5, "noisy", "about 99 times as many"),
        (1.0, 1.2249, 1.5, "noisy", "about 99 times as many"),
        (1.0, 1.2749, 1.5, "noisy", "the slowdown is at the limit; no measurement will tell them"),
        (1.0, 1.25, 1.5, "noisy", "the slowdown is at the limit"),
        (None, 2.0, None, "noisy", "fewer than three rounds tell no spread; measure longer"),
    ],
)
def test_slowdown(
    low: float | None, value: float, high: float | None, word: str, reason: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    line = decided(low, value, high, monkeypatch)
    assert (line.verdict, line.latency, line.paired) == (word, word, False)
    assert line.slowdown == pytest.approx(value - 1)
    assert line.slowdown_low == (None if low is None else pytest.approx(low - 1))
    assert line.slowdown_high == (None if high is None else pytest.approx(high - 1))
    told = [r for r in line.reasons if "very same" not in r]
    assert (told == []) if reason is None else (reason in told[0])


def test_figures_are_medians_of_runs_and_the_worst_quality() -> None:
    base = [one(ms, ms, quality=quality(psnr), repeat=n)
            for n, (ms, psnr) in enumerate(((10.0, 31.0), (30.0, 30.0), (20.0, 32.0)))]  # fmt: skip
    (line,) = judge(base, [one(40.0, 40.0, quality=quality(29.0))], Limits(0.05, 0.1)).lines
    assert (line.base_ms, line.new_ms, line.runs) == (20, 40, (3, 1))
    assert (line.base_psnr, line.new_psnr, line.drop) == (30, 29, 1)
    assert (line.quality, line.verdict) == ("fail", "fail")
    assert (line.artifact, line.device, line.scenario) == ("net.onnx", "fake://x", "one 30x20")


@pytest.mark.parametrize(("lost", "word"), [(0.25, "pass"), (0.2501, "fail"), (-5.0, "pass")])
def test_a_drop_passes_up_to_its_limit(lost: float, word: str) -> None:
    base, new = one(quality=quality(30.0)), one(quality=quality(30.0 - lost), repeat=2)
    (line,) = judge([base], [new], Limits(max_drop=0.25)).lines
    assert (line.quality, line.latency, line.verdict) == (word, None, word)


def test_the_worse_of_both_counts() -> None:
    slow = [one(*[10.0] * 9), one(*[30.0] * 9)]
    good = {"quality": quality(30.0)}
    base, new = (m.model_copy(update=good) for m in slow)
    found = judge([base], [new], Limits(0.05, 0.1))
    assert [(line.latency, line.quality, line.verdict) for line in found.lines] == [
        ("fail", "pass", "fail"),
    ]  # fmt: skip
    assert found.verdict == "fail"


def test_sides_that_share_sessions_are_paired() -> None:
    def side(ms: float, sessions: str) -> list[Measurement]:
        return [one(*[ms] * 6, session=name, repeat=n) for n, name in enumerate(sessions)]

    (line,) = judge(side(10.0, "abcx"), side(20.0, "abcy"), FIVE).lines
    assert (line.paired, line.runs, line.slowdown) == (True, (3, 3), pytest.approx(1))
    (line,) = judge(side(10.0, "abc"), side(20.0, "xyz"), FIVE).lines
    assert (line.paired, line.runs) == (False, (3, 3))
    other = [m.model_copy(update={"threads": 9}) for m in side(20.0, "abc")]
    (line,) = judge(side(10.0, "abc"), other, FIVE).lines
    assert not any("not comparable" in reason for reason in line.reasons)  # they took turns


def test_the_very_same_on_both_sides_is_told() -> None:
    same = one()
    (line,) = judge([same], [same], FIVE).lines
    assert "the very same measurement on both sides" in line.reasons
    (line,) = judge([same], [one(10.0, 20.0, 30.1)], FIVE).lines
    assert line.reasons == [] or "very same" not in line.reasons[0]


def test_what_belongs_together() -> None:
    base = [
        one(),
        one(device="e"),
        one(scenario=Scenario(name="two")),
        one(scale=3),
        one(artifact="b"),
    ]
    found = judge(base, base[::-1], FIVE)
    assert len(found.lines) == 5
    assert [(line.artifact, line.device, line.scenario) for line in found.lines] == [
        ("net.onnx", "fake://x", "one 30x20"), ("net.onnx", "e", "one 30x20"),
        ("net.onnx", "fake://x", "two"), ("net.onnx", "fake://x", "one 30x20"),
        ("b", "fake://x", "one 30x20"),
    ]  # fmt: skip
    for side, name in ((([], base), "BASE"), ((base, []), "NEW")):
        with pytest.raises(UserError, match=f"{name} holds no measurement"):
            judge(*side, FIVE)


def test_what_is_missing_fails_only_under_a_limit() -> None:
    for limits, word in ((Limits(), None), (FIVE, "fail"), (Limits(max_drop=1), "fail")):
        found = judge([one(), one(artifact="b")], [one(10.0, 21.0)], limits)
        assert found.lines[1].verdict == word
    assert found.to_dict()["limits"] == {"max_slowdown": None, "max_drop": 1}


LINES = [
    VerdictLine("a|b.onnx", "dev", "one", 10.0, 12.5, 0.25, 0.2, 0.3, True, (1, 1), 30.0, 29.5, 0.5,
         "fail", "pass", "fail", ["because"]),
    VerdictLine("c", "dev", "one", None, 9.0, None, verdict=None),
    VerdictLine("d", "dev", "two", 10.0, 9.0, -0.1, None, None, False, (1, 5), verdict="noisy"),
]  # fmt: skip


def test_the_markdown_table() -> None:
    assert markdown(Verdict(FIVE, LINES, "fail")).splitlines() == [
        "| artifact | device | scenario | base ms | new ms | slower | 95 % interval | PSNR lost "
        "| verdict |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        r"| a\|b.onnx | dev | one | 10.00 | 12.50 | +25.0% | [+20.0, +30.0] | +0.500 dB | FAIL |",
        "| c | dev | one | - | 9.000 | - | - | - | - |",
        "| d | dev | two | 10.00 | 9.000 | -10.0% | - | - | too noisy to tell |",
        "",
        "- a|b.onnx on dev, one: because",
        "- slower: median over rounds that took turns, with its 95 % interval",
        "- measured apart and one run on a side: how much runs differ from each other is not in "
        "the interval; measure both side by side, or --repeats 5",
        "- 1 FAIL, 1 too noisy to tell, 0 pass.",
    ]


def test_notes_say_only_what_concerns() -> None:
    several = VerdictLine(
        "d", "dev", "two", 10.0, 9.0, -0.1, -0.2, 0.0, False, (2, 5), verdict="pass"
    )
    assert notes(Verdict(FIVE, [several], "pass")) == [
        "slower: measured apart, several runs each, with its 95 % interval",
        "0 FAIL, 0 too noisy to tell, 1 pass.",
    ]
    assert notes(Verdict(Limits(), [LINES[1]], None)) == []


def test_the_terminals_table() -> None:
    console = Console(width=100, file=io.StringIO())
    table = verdict_table(Verdict(FIVE, LINES, "fail"))
    console.print(table)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[+20.0, +30.0]" in text
    assert "a|b.onnx" in text
    assert [column.justify for column in table.columns] == ["left"] * 3 + ["right"] * 6
    assert table.title is None


def test_where_all_was_measured_in_one_place_it_stands_above() -> None:
    table = verdict_table(Verdict(FIVE, LINES[:2], "fail"))
    assert str(table.title) == "dev, one"
    assert [str(column.header) for column in table.columns][:2] == ["artifact", "base\nms"]
    assert [str(cell) for cell in table.columns[-1].cells] == ["FAIL", "-"]
    noisy = verdict_table(Verdict(FIVE, LINES[2:], "noisy"))
    assert [str(cell) for cell in noisy.columns[-1].cells] == ["too noisy"]
