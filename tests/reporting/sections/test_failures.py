"""What failed: word for word."""

from __future__ import annotations

from pathlib import Path

from srdeploy.reporting.sections.failures import failures
from tests.golden import by_tags, same_as
from tests.reporting.material import data_of, measured

GOLDEN = Path(__file__).parents[1] / "golden"


def test_failures() -> None:
    same_as(GOLDEN / "failures.html", by_tags(failures(data_of(*measured())) or ""))
    assert failures(data_of(measured()[0])) is None
