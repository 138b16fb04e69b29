"""The tables of results: word for word, and ratios with their intervals."""

from __future__ import annotations

from pathlib import Path

import pytest

from srdeploy.reporting.sections.results import results, speedup
from tests.golden import by_tags, same_as
from tests.reporting.material import data_of, entries, lasting, measured

GOLDEN = Path(__file__).parents[1] / "golden"


def test_the_whole_section() -> None:
    page = results(data_of(*measured())) or ""
    lead, _, tables = page.partition("</p>")
    assert lead.startswith('<p class="lead">Fastest first. Ratios refer to the first artifact')
    same_as(GOLDEN / "results.html", by_tags(tables))


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        ({}, "–"),
        ({"speedup": 1.256}, "1.26×"),
        ({"speedup": 1.256, "speedup_low": 1.2, "speedup_high": 1.3},
         "1.26× <small>1.20–1.30</small>"),
        ({"speedup": 1.006, "speedup_low": 0.9, "speedup_high": 1.1},
         "<small>no difference</small> <small>0.90–1.10</small>"),
    ],
)  # fmt: skip
def test_speedup(figures: dict[str, float], told: str) -> None:
    unset = dict.fromkeys(("speedup", "speedup_low", "speedup_high"))
    row = entries(lasting(1))[0].row.model_copy(update={**unset, **figures})
    assert speedup(row) == told
