"""Is NEW slower or worse than BASE? Pass, fail, or too noisy to tell, measurement by measurement.

A slowdown is a ratio of median times with a 95 % bootstrap interval
(:mod:`srdeploy.benchmarking.measuring.stats`): over rounds, paired where the two took turns in one
session, else apart for each side; over runs as
well where there are several. With ``limit`` for the slowdown that is still accepted:

* **pass**: the whole interval is at or below the limit;
* **fail**: the whole interval is above it;
* **noisy**: the limit lies inside, so these samples cannot tell.

PSNR is computed, not sampled: its drop is exact and passes or fails. What is in BASE and is missing
or failed in NEW fails, and so does what was measured under other conditions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from srdeploy.benchmarking.measuring.stats import (
    Ratio,
    paired_ratio,
    rounds_of,
    turns_of,
    unpaired_ratio,
)
from srdeploy.errors import UserError
from srdeploy.measure.measurement import Measurement
from srdeploy.quality.metrics import METRICS, lost
from srdeploy.quality.result import Quality, psnr_lost

Word = Literal["pass", "fail", "noisy"]
WORST_FIRST: tuple[Word, ...] = ("fail", "noisy", "pass")


@dataclass(frozen=True)
class Limits:
    """What is still accepted; None for no limit.

    Attributes:
        max_slowdown: Share by which median times may grow: 0.05 for 5 %.
        max_drop: dB of mean PSNR that may be lost.
    """

    max_slowdown: float | None = None
    max_drop: float | None = None


@dataclass
class VerdictLine:
    """One artifact on one device under one scenario, in BASE and in NEW.

    Attributes:
        artifact: Its name in NEW (in BASE where it is missing there).
        device: The device.
        scenario: The scenario, with the input's size.
        base_ms: Median time in BASE (of several runs, the median of theirs);
        new_ms: in NEW.
        slowdown: ``new / base - 1``, with
        slowdown_low: the lower end of its 95 % interval and
        slowdown_high: the upper; None where the samples cannot tell a spread.
        paired: Whether the two took turns.
        runs: How many of BASE and of NEW.
        base_psnr: Mean PSNR in BASE, dB;
        new_psnr: in NEW.
        drop: What is lost.
        latency: Verdict on the slowdown; None without a limit or times.
        quality: Verdict on the drop; None without a limit or PSNR.
        verdict: The worse of the two.
        reasons: Sentences on failures, and on conditions that differ.
        figures: Of every metric that both sides have: ``base`` and ``new``, the worst of several
            runs, and ``lost``, in its unit. They decide nothing: the limit is on PSNR.
    """

    artifact: str
    device: str
    scenario: str
    base_ms: float | None = None
    new_ms: float | None = None
    slowdown: float | None = None
    slowdown_low: float | None = None
    slowdown_high: float | None = None
    paired: bool = False
    runs: tuple[int, int] = (0, 0)
    base_psnr: float | None = None
    new_psnr: float | None = None
    drop: float | None = None
    latency: Word | None = None
    quality: Word | None = None
    verdict: Word | None = None
    reasons: list[str] = field(default_factory=list)
    figures: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """All lines, and the worst of their verdicts (None without limits)."""

    limits: Limits
    lines: list[VerdictLine]
    verdict: Word | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)


def judge(
    base: Sequence[Measurement],
    new: Sequence[Measurement],
    limits: Limits,
    *,
    same_names: bool = True,
) -> Verdict:
    """Hold measurements against each other.

    Args:
        base: What is known to be good.
        new: What is to be judged.
        limits: What is accepted.
        same_names: Artifacts belong together by name; otherwise each side is one artifact,
            whatever it is called.

    Raises:
        UserError: a side is empty, nothing of the two belongs together, or no line has what a limit
            is about.
    """
    for side, name in ((base, "BASE"), (new, "NEW")):
        if not side:
            raise UserError(f"{name} holds no measurement.")
    before, after = _grouped(base, same_names), _grouped(new, same_names)
    if not before.keys() & after.keys():
        raise UserError(
            "BASE and NEW have no measurement in common: none is of the same artifact, device, "
            "scenario and input; name one artifact on each side with FILE#ARTIFACT."
        )
    lines = [
        _line(before.get(key, []), after.get(key, []), limits)
        for key in {**before, **after}  # in the order of BASE, then what is new
    ]
    _require_decisions(lines, limits)
    words = [line.verdict for line in lines]
    worst = next((word for word in WORST_FIRST if word in words), None)
    return Verdict(limits, lines, worst)


def _grouped(side: Sequence[Measurement], same_names: bool) -> dict[Any, list[Measurement]]:
    groups: dict[Any, list[Measurement]] = {}
    for one in side:
        key = (one.artifact if same_names else "", one.device, _scenario(one), one.scale)
        groups.setdefault(key, []).append(one)
    return groups


def _scenario(one: Measurement) -> str:
    sizes = [size for size in one.scenario.inputs if size != "median"]
    return " ".join([one.scenario.name, *(f"{width}x{height}" for height, width in sizes)])


def _line(base: list[Measurement], new: list[Measurement], limits: Limits) -> VerdictLine:
    some = (new or base)[0]
    line = VerdictLine(some.artifact, some.device, _scenario(some))
    asked = bool(new)  # though it may have failed, which is told
    base, new = (_finished(side, name, line) for side, name in ((base, "BASE"), (new, "NEW")))
    line.runs = len(base), len(new)
    if not new:
        if not asked:
            line.reasons.append("NEW does not have it")
        line.verdict = "fail" if limits != Limits() else None
        return line
    if not base:
        line.reasons.append("BASE does not have it, so there is nothing to compare with")
        _figures(line, [], new)
        return line
    _figures(line, base, new)
    different = _differences(base[-1], new[-1])
    if line.slowdown is not None or (line.base_ms is None) != (line.new_ms is None):
        line.latency = _latency(line, different, limits.max_slowdown)
    if line.base_psnr is not None:
        line.quality = _quality(line, base[-1], new[-1], limits.max_drop)
    if any(one in base for one in new):
        line.reasons.append("the very same measurement on both sides")
    line.reasons += _remarks(base[-1], new[-1])
    words = (line.latency, line.quality)
    line.verdict = next((word for word in WORST_FIRST if word in words), None)
    return line


def _finished(side: list[Measurement], name: str, line: VerdictLine) -> list[Measurement]:
    """Those that did not fail, of the content measured last."""
    finished = [one for one in side if one.error is None]
    if side and not finished:
        line.reasons.append(f"failed in {name}: {side[-1].error}")
    if not finished:
        return []
    latest = max(finished, key=lambda one: one.started).sha256
    chosen = [one for one in finished if one.sha256 == latest]
    if len(chosen) < len(finished):
        line.reasons.append(f"{name} has it with other contents too; the one measured last counts")
    return chosen


def _figures(line: VerdictLine, base: list[Measurement], new: list[Measurement]) -> None:
    from statistics import median

    times = [[one.p50_ms for one in side if one.p50_ms is not None] for side in (base, new)]
    line.base_ms, line.new_ms = (median(side) if side else None for side in times)
    before, after = _worst(base), _worst(new)
    line.base_psnr, line.new_psnr = before.get("psnr"), after.get("psnr")
    line.figures = {
        name: {"base": old, "new": after[name], "lost": METRICS[name].lost(old, after[name])}
        for name, old in before.items()
        if name in after
    }
    if line.base_psnr is not None and line.new_psnr is not None:
        line.drop = _drop(line.base_psnr, line.new_psnr, base[-1].quality, new[-1].quality)
    ratio = _slowdown(line, base, new)
    if ratio is not None:
        line.slowdown, line.slowdown_low, line.slowdown_high = (
            None if end is None else end - 1 for end in (ratio.value, ratio.low, ratio.high)
        )


def _worst(side: list[Measurement]) -> dict[str, float]:
    """By metric, the worst mean of several runs."""
    means = [one.quality.figures for one in side if one.quality]
    found = {name: [mean[name] for mean in means if name in mean] for name in METRICS}
    return {name: METRICS[name].worst(*told) for name, told in found.items() if told}


def _drop(before: float, after: float, base: Quality | None, new: Quality | None) -> float | None:
    """Lost PSNR; of sets with infinite figures, by their images; None where nobody can tell."""
    drop = lost(before, after)
    if base is not None and new is not None and math.inf in (before, after):
        drop = psnr_lost(base, new)
    return None if math.isnan(drop) else drop


def _slowdown(line: VerdictLine, base: list[Measurement], new: list[Measurement]) -> Ratio | None:
    by_session = {one.session: one for one in base if one.session is not None}
    together = [(by_session[one.session], one) for one in new if one.session in by_session]
    paired = paired_ratio([(turns_of(before), turns_of(after)) for before, after in together])
    if paired is not None and paired.low is not None:
        line.paired = True
        line.runs = len(together), len(together)
        return paired
    # One turn each is no pairing that could tell a spread; its blocks are at least something.
    return unpaired_ratio([rounds_of(one) for one in base], [rounds_of(one) for one in new])


def _latency(line: VerdictLine, different: list[str], limit: float | None) -> Word | None:
    if limit is None:
        return None
    if line.slowdown is None:
        line.reasons.append("only one side has times")
        return "fail"
    if different and not line.paired:
        line.reasons.append(f"times are not comparable: {', '.join(different)}")
        return "fail"
    if line.slowdown_low is None or line.slowdown_high is None:
        line.reasons.append("fewer than three rounds tell no spread; measure longer")
        return "noisy"
    if line.slowdown_high <= limit:
        return "pass"
    if line.slowdown_low > limit:
        return "fail"
    half = (line.slowdown_high - line.slowdown_low) / 2
    distance = max(abs(line.slowdown - limit), 1e-9)
    longer = (half / distance) ** 2
    if longer <= 100:
        line.reasons.append(
            f"the limit is inside the interval; about {max(longer, 2):.0f} times as many rounds "
            "or runs would tell"
        )
    else:
        line.reasons.append("the slowdown is at the limit; no measurement will tell them apart")
    return "noisy"


def _quality(
    line: VerdictLine, base: Measurement, new: Measurement, limit: float | None
) -> Word | None:
    if limit is None:
        return None
    if line.drop is None or base.quality is None or new.quality is None:
        line.reasons.append("NEW has no PSNR")
        return "fail"
    for name in ("protocol", "data", "n_images"):
        before, after = getattr(base.quality, name), getattr(new.quality, name)
        if before != after:
            line.reasons.append(f"PSNR is not comparable: {name} {before} and {after}")
            return "fail"
    return "pass" if line.drop <= limit else "fail"


_MACHINE = ("model", "arch", "cpu", "cpus", "gpu")
_SCENARIO = ("inputs", "tile", "batch")
_SOFTWARE = ("runtime", "runtime_version", "provider", "precision")


def _differences(base: Measurement, new: Measurement) -> list[str]:
    """Conditions that make times incomparable."""
    pairs = [
        *((name, getattr(base.facts, name), getattr(new.facts, name)) for name in _MACHINE),
        *((name, getattr(base.scenario, name), getattr(new.scenario, name)) for name in _SCENARIO),
        ("threads", base.threads, new.threads),
        ("power mode", base.before.power_mode, new.before.power_mode),
    ]
    return [f"{name} {before} and {after}" for name, before, after in pairs if before != after]


def _remarks(base: Measurement, new: Measurement) -> list[str]:
    """What differs and may be the very thing that is being compared."""
    return [
        f"{name.replace('_', ' ')}: {getattr(base, name)} and {getattr(new, name)}"
        for name in _SOFTWARE
        if getattr(base, name) != getattr(new, name)
    ]


def _require_decisions(lines: list[VerdictLine], limits: Limits) -> None:
    """A limit that nothing was held against would pass whatever happens."""
    if any(line.verdict == "fail" for line in lines):
        return
    if limits.max_slowdown is not None and all(line.latency is None for line in lines):
        raise UserError("--max-slowdown cannot be decided: neither side has times.")
    if limits.max_drop is not None and all(line.quality is None for line in lines):
        raise UserError(
            "--max-drop cannot be decided: neither side has PSNR; measure with quality."
        )
