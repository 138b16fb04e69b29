"""Pass, fail, too noisy to tell, and everything that must not pass by accident."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from srdeploy.benchmarking.deciding.verdict import Limits, Verdict, judge
from srdeploy.benchmarking.measuring import stats
from srdeploy.benchmarking.showing.verdict_table import markdown, notes, verdict_table
from srdeploy.errors import UserError
from srdeploy.measure.measurement import Conditions, DeviceFacts, Measurement
from srdeploy.measure.scenario import Scenario
from srdeploy.quality.result import Quality

FACTS = DeviceFacts(kind="fake", model="board", cpu="cpu", cpus=4)
FIVE = Limits(max_slowdown=0.05)


def quality(psnr: float, **changes: Any) -> Quality:
    values = {"ssim": 0.9, "colour": "y", "protocol": "psnr[y]", "n_images": 5, "data": "Set5"}
    return Quality(**(values | {"psnr": psnr} | changes))


def made(ms: float, spread: float = 0.01, seed: int = 0, **changes: Any) -> Measurement:
    """Ten rounds of five samples around a median."""
    generator = np.random.default_rng(seed)
    pace = np.exp(generator.normal(0, spread, (10, 1)))
    samples = ms * pace * np.exp(generator.normal(0, 0.005, (10, 5)))
    values: dict[str, Any] = {
        "artifact": "net.onnx",
        "sha256": "ab",
        "device": "desk",
        "facts": FACTS,
        "scenario": Scenario(name="quick"),
        "session": f"{ms}-{seed}",
        "started": f"2026-01-01T00:00:{seed % 60:02d}+00:00",
        "runtime": "onnxruntime",
        "threads": 2,
        "samples_ms": np.round(samples, 4).ravel().tolist(),
        "turns": [5] * 10,
    }
    return Measurement(**(values | changes))


def word(base: list[Measurement], new: list[Measurement], limits: Limits = FIVE) -> Any:
    return judge(base, new, limits).verdict


def test_the_three_answers() -> None:
    base = [made(100, seed=1)]
    assert word(base, [made(101, seed=2)]) == "pass"
    assert word(base, [made(60, seed=2)]) == "pass"  # faster is no fault
    assert word(base, [made(115, seed=2)]) == "fail"
    assert word(base, [made(105, seed=2)]) == "noisy"
    assert word([made(100, 0.3, seed=1)], [made(101, 0.3, seed=2)]) == "noisy"
    assert judge(base, [made(115, seed=2)], Limits()).verdict is None


def test_pairing_sees_through_what_slows_both() -> None:
    """The machine wanders by 30 %, for both alike: apart nobody can tell, together it is plain."""
    slow = [round(1.1 * sample, 4) for sample in made(100, 0.3, seed=1).samples_ms]
    together = made(100, seed=1, samples_ms=slow, session="100-1")
    base = [made(100, 0.3, seed=1)]
    assert base[0].session == "100-1"
    (line,) = judge(base, [together], FIVE).lines
    assert line.paired
    assert (line.verdict, line.slowdown) == ("fail", pytest.approx(0.1, abs=1e-3))
    (apart,) = judge(base, [together.model_copy(update={"session": "x"})], FIVE).lines
    assert not apart.paired
    assert apart.verdict == "noisy"


def rate(slowdown: float, answer: str, monkeypatch: pytest.MonkeyPatch) -> float:
    """How often that is the answer, of 60 comparisons with five runs on each side."""
    monkeypatch.setattr(stats, "RESAMPLES", 400)
    said = 0
    for seed in range(60):
        generator = np.random.default_rng(seed)

        def side(ms: float, first: int, generator: np.random.Generator = generator) -> Any:
            levels = ms * np.exp(generator.normal(0, 0.02, 5))
            return [
                made(level, seed=first + number, repeat=number)
                for number, level in enumerate(levels)
            ]

        said += word(side(100, 10 * seed), side(100 * (1 + slowdown), 10 * seed + 5)) == answer
    return said / 60


def test_unchanged_speed_hardly_ever_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rate(0.0, "fail", monkeypatch) <= 0.02


def test_a_slowdown_at_the_limit_seldom_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rate(0.05, "pass", monkeypatch) <= 0.05


def test_a_large_slowdown_is_always_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rate(0.2, "fail", monkeypatch) == 1


def test_quality_is_exact() -> None:
    limits = Limits(max_drop=0.05)
    base = [made(100, quality=quality(37.50))]
    assert word(base, [made(500, seed=1, quality=quality(37.45001))], limits) == "pass"
    assert word(base, [made(50, seed=1, quality=quality(37.4499))], limits) == "fail"
    assert word(base, [made(50, seed=1, quality=quality(38.0))], limits) == "pass"
    same = [made(1, seed=1, quality=quality(float("inf")))]
    assert word(same, [made(1, seed=2, quality=quality(float("inf")))], limits) == "pass"
    assert word(base, [made(100, seed=1)], limits) == "fail"  # none at all
    for change in ({"protocol": "psnr[rgb]"}, {"data": "B100"}, {"n_images": 4}):
        (line,) = judge(base, [made(1, seed=1, quality=quality(38.0, **change))], limits).lines
        assert line.verdict == "fail"
        assert "not comparable" in line.reasons[0]


def test_what_is_missing_or_failed_fails() -> None:
    base = [made(100), made(100, artifact="other.onnx")]
    found = judge(base, [made(100, seed=1)], FIVE)
    assert [line.verdict for line in found.lines] == ["pass", "fail"]
    assert found.verdict == "fail"
    assert "NEW does not have it" in found.lines[1].reasons
    failed = made(100, seed=1, error="net.onnx: its process died.", samples_ms=[], turns=[])
    (line,) = judge(base[:1], [failed], FIVE).lines
    assert line.verdict == "fail"
    assert "its process died" in line.reasons[0]
    again = made(101, seed=2)  # a later success counts
    assert word(base[:1], [failed, again]) == "pass"
    (line,) = judge(base[:1], [made(1, seed=1, samples_ms=[], turns=[])], FIVE).lines
    assert (line.verdict, line.reasons[0]) == ("fail", "only one side has times")


def test_what_new_does_not_have_is_told_beside_other_reasons() -> None:
    several = [made(100, sha256="old"), made(100, seed=1, sha256="new", artifact="net.onnx")]
    present = made(100, artifact="other.onnx")
    (line, _) = judge([*several, present], [present], FIVE).lines
    assert line.verdict == "fail"
    assert line.reasons == [
        "BASE has it with other contents too; the one measured last counts",
        "NEW does not have it",
    ]
    fell = made(100, error="fell", samples_ms=[], turns=[])
    (line, _) = judge([fell, present], [present], FIVE).lines
    assert line.reasons == ["failed in BASE: fell", "NEW does not have it"]


def test_what_only_new_has_is_told_and_not_judged() -> None:
    found = judge([made(100)], [made(100, seed=1), made(1, artifact="more.onnx")], FIVE)
    assert [line.verdict for line in found.lines] == ["pass", None]
    assert "BASE does not have it" in found.lines[1].reasons[0]
    assert found.verdict == "pass"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"threads": 1}, "threads 2 and 1"),
        ({"facts": FACTS.model_copy(update={"model": "other"})}, "model board and other"),
        ({"before": Conditions(power_mode="15W")}, "power mode None and 15W"),
        ({"scenario": Scenario(name="quick", batch=2)}, "batch 1 and 2"),
    ],
)
def test_other_conditions_are_no_comparison(changes: dict[str, Any], told: str) -> None:
    (line,) = judge([made(100)], [made(100, seed=1, **changes)], FIVE).lines
    assert line.verdict == "fail"
    assert any(told in reason for reason in line.reasons)
    limits = Limits(max_drop=0.1)  # quality does not depend on them
    base, new = made(1, quality=quality(37)), made(1, seed=1, quality=quality(37), **changes)
    assert word([base], [new], limits) == "pass"


def test_another_runtime_is_told() -> None:
    (line,) = judge([made(100)], [made(100, seed=1, runtime="torch")], FIVE).lines
    assert line.verdict == "pass"
    assert line.reasons == ["runtime: onnxruntime and torch"]


def test_the_content_measured_last_counts() -> None:
    base = [made(50, seed=1, sha256="old"), made(100, seed=2, sha256="new")]
    (line,) = judge(base, [made(100, seed=3)], FIVE).lines
    assert line.base_ms == pytest.approx(100, rel=0.02)
    assert "other contents" in line.reasons[0]


def test_names_or_one_against_one() -> None:
    base, new = [made(100, artifact="a.onnx")], [made(100, seed=1, artifact="b.onnx")]
    with pytest.raises(UserError, match="no measurement in common"):
        judge(base, new, FIVE)
    found = judge(base, new, FIVE, same_names=False)
    assert found.verdict == "pass"
    assert found.lines[0].artifact == "b.onnx"


def test_limits_that_nothing_is_held_against() -> None:
    with pytest.raises(UserError, match="--max-drop cannot be decided"):
        judge([made(100)], [made(100, seed=1)], Limits(0.05, 0.05))
    untimed = {"samples_ms": [], "turns": [], "quality": quality(37)}
    with pytest.raises(UserError, match="--max-slowdown cannot be decided"):
        judge([made(1, **untimed)], [made(1, seed=1, **untimed)], FIVE)
    with pytest.raises(UserError, match="NEW holds no measurement"):
        judge([made(1)], [], FIVE)


def test_advice_on_how_much_longer() -> None:
    (line,) = judge([made(100, 0.06, seed=1)], [made(101, 0.06, seed=2)], FIVE).lines
    assert line.verdict == "noisy"
    assert "times as many rounds" in line.reasons[0]


def shown(found: Verdict) -> str:
    from rich.console import Console

    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(verdict_table(found))
    return console.export_text() + "\n".join(notes(found))


def test_what_people_read() -> None:
    base = [made(100, quality=quality(37.5)), made(100, artifact="gone.onnx")]
    found = judge(base, [made(120, seed=1, quality=quality(37.4))], Limits(0.05, 0.2))
    text = shown(found)
    for part in ("FAIL", "+2", "+0.100 dB", "NEW does not have it", "one run on a side"):
        assert part in text
    assert "2 FAIL, 0 too noisy to tell, 0 pass." in text
    page = markdown(found).splitlines()
    assert page[0].startswith("| artifact |")
    assert page[2].count("|") == page[0].count("|")
    assert found.to_dict()["lines"][0]["verdict"] == "fail"


def perfect(*psnrs: float) -> Quality:
    images = [{"name": str(n), "psnr_y": psnr} for n, psnr in enumerate(psnrs)]
    return quality(float(np.mean(psnrs)), n_images=len(psnrs), per_image=images)


@pytest.mark.parametrize(
    ("before", "after", "drop", "answer"),
    [
        ((math.inf, 30.0), (math.inf, 30.0), 0.0, "pass"),
        ((math.inf, 30.0), (math.inf, 29.0), 0.5, "fail"),  # the perfect one hides nothing
        ((math.inf, 30.0), (40.0, 30.0), math.inf, "fail"),
        ((40.0, 30.0), (math.inf, 30.0), -math.inf, "pass"),
        ((math.inf, 40.0), (40.0, math.inf), None, "fail"),  # nobody can tell
    ],
)
def test_pictures_that_equal_their_originals(
    before: tuple[float, ...], after: tuple[float, ...], drop: float | None, answer: str
) -> None:
    base, new = made(100, quality=perfect(*before)), made(100, seed=1, quality=perfect(*after))
    found = judge([base], [new], Limits(max_drop=0.1))
    assert found.lines[0].drop == drop
    assert found.verdict == answer
    assert "nan" not in markdown(found)
