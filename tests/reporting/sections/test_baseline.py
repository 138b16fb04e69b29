"""Against the baseline: word for word, and the limits in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from srdeploy.benchmarking.deciding.verdict import Limits, judge
from srdeploy.reporting.sections.baseline import baseline, limits_told
from tests.golden import by_tags, same_as
from tests.reporting.material import data_of, measured

GOLDEN = Path(__file__).parents[1] / "golden"


def test_baseline() -> None:
    found = measured()
    now = [
        one.model_copy(update={"samples_ms": [ms * k for ms in one.samples_ms], "session": f"{n}"})
        for n, (one, k) in enumerate(zip(found[:4], (1.3, 1.0, 0.9, 1.06), strict=True))
    ]
    limits = Limits(0.05, 0.05)
    page = baseline(data_of(*now, verdict=judge(found[:5], now, limits), limits=limits)) or ""
    lead, _, tables = page.partition("</p>")
    assert lead == f'<p class="lead">{limits_told(limits)}'
    same_as(GOLDEN / "baseline.html", by_tags(tables))
    assert baseline(data_of(*now)) is None


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (Limits(0.05, 0.05), "A regression is more than 5% slower or more than 0.05 dB worse."),
        (Limits(0.1, None), "A regression is more than 10% slower."),
        (Limits(None, 0.25), "A regression is more than 0.25 dB worse."),
        (Limits(0.0, 0.0), "A regression is more than 0% slower or more than 0 dB worse."),
        (Limits(), ""),
    ],
)
def test_limits_are_told(limits: Limits, told: str) -> None:
    assert limits_told(limits) == told
