"""Widths: as few lines as there are different ones."""

from __future__ import annotations

import re

from srdeploy.reporting.sections.widths import widths
from srdeploy.reporting.widths import Widths
from tests.reporting.material import data_of


def page_of(one: Widths) -> str:
    return widths(data_of(widths=[one])) or ""


def test_uniform_widths_are_one_line() -> None:
    one = Widths("net", {f"body.{n}.conv": (32, 16) for n in range(8)}, 3)
    page = page_of(one)
    assert page.count('class="bar"') == 1
    assert "8 layers" in page
    assert "32 → 16" in page
    assert "width:50.0%" in page
    assert "body.7.conv" in page  # shown when pointed at
    assert "3 other layers kept their width." in page


def test_each_width_has_its_own_line() -> None:
    page = page_of(Widths("net", {"a": (64, 16), "b": (32, 8), "c": (64, 16)}, 0))
    assert re.findall(r"\d+ → \d+", page) == ["64 → 16", "32 → 8"]
    assert "2 layers" in page
    assert ">b<" in page
    assert re.findall(r'<i style="width:([\d.]+)%', page) == ["100.0", "50.0"]
    assert "other layers" not in page


def test_names_are_text() -> None:
    assert "<b>" not in page_of(Widths("<b>", {"<b>": (2, 1)}, 0))
