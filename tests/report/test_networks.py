"""Sections about networks: widths as few lines as they have."""

from __future__ import annotations

import re

from srdeploy.report.networks import Widths, widths


def test_uniform_widths_are_one_line() -> None:
    one = Widths("net", {f"body.{n}.conv": (32, 16) for n in range(8)}, 3)
    page = widths([one])
    assert page.count('class="bar"') == 1
    assert "8 layers" in page
    assert "32 → 16" in page
    assert "width:50.0%" in page
    assert "body.7.conv" in page  # shown when pointed at
    assert "3 other layers kept their width." in page


def test_each_width_has_its_own_line() -> None:
    page = widths([Widths("net", {"a": (64, 16), "b": (32, 8), "c": (64, 16)}, 0)])
    assert re.findall(r"\d+ → \d+", page) == ["64 → 16", "32 → 8"]
    assert "2 layers" in page
    assert ">b<" in page
    assert re.findall(r'<i style="width:([\d.]+)%', page) == ["100.0", "50.0"]
    assert "other layers" not in page


def test_names_are_text() -> None:
    assert "<b>" not in widths([Widths("<b>", {"<b>": (2, 1)}, 0)])
