"""What every section of the report must do. Subclass it, and name the section's key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from srdeploy.benchmarking.deciding.verdict import judge
from srdeploy.fitting.result import FitResult
from srdeploy.measure.measurement import Measurement
from srdeploy.reporting.crops import Crop, CropVersion
from srdeploy.reporting.data import LIMITS, ReportData
from srdeploy.reporting.run_folder import RunFolder
from srdeploy.reporting.sections.table import SECTIONS
from srdeploy.reporting.sources import Evidence
from srdeploy.reporting.widths import Widths
from tests.reporting.material import Tags, entries, fit_result, measurements

FOREIGN = """<x-foreign onclick='a("b")'>&amp;"""
"""Ends every text that comes from elsewhere in :func:`foreign_data`: names, units, sentences."""

OURS = {"colour", "inputs", "started", "ended", "sha256", "step"}
"""Fields of measurements whose texts are not free."""

LOADING = {"action", "data", "href", "poster", "src", "srcset", "xlink:href"}
"""Attributes whose value a browser opens."""


def foreign(value: Any, key: str = "") -> Any:
    """Plain data with :data:`FOREIGN` at the end of each text and of each name of a figure."""
    if isinstance(value, str):
        return value if key in OURS else value + FOREIGN
    if isinstance(value, (list, tuple)):
        return [foreign(one, key) for one in value]
    if isinstance(value, dict):
        free = key in ("versions", "clocks_mhz", "temperatures_c", "power_w")
        return {name + FOREIGN * free: foreign(one, name) for name, one in value.items()}
    return value


def foreign_data() -> ReportData:
    """Something for every section, in which each text that others wrote is hostile."""
    found = [Measurement.model_validate(foreign(one.model_dump())) for one in measurements()]
    before = [one.model_copy(update={"session": "before"}) for one in found]
    quality = {
        name: {"psnr_y": psnr, "protocol": f"p{FOREIGN}", "data": f"d{FOREIGN}"}
        for name, psnr in (("dense", 33.4), ("pruned", 29.1), ("tuned", 33.0))
    }
    curve = [{"iteration": n, "psnr_y": 30 + n, "protocol": f"v{FOREIGN}"} for n in (1, 2, 3)]
    card = {"stage": "40_tuned", "figures": {"curve": curve}}
    pixels = np.zeros((4, 6, 3), np.uint8)
    labels = [f"{name}{FOREIGN}" for name in ("bicubic", "dense", "tuned")]
    crop = Crop(
        f"baby{FOREIGN}",
        (4, 6),
        (slice(0, 4), slice(0, 6)),
        (labels[1], labels[2]),
        [CropVersion(label, pixels, 30.0, 31.0) for label in labels],
        pixels,
        f"p{FOREIGN}",
    )
    return ReportData(
        Evidence(
            entries(*found),
            [RunFolder(Path("runs") / f"run{FOREIGN}", [card], quality)],
            [FitResult.model_validate(foreign(fit_result().model_dump()))],
        ),
        verdict=judge(before, found, LIMITS),
        crops=[crop],
        widths=[Widths(f"net{FOREIGN}", {f"body.0{FOREIGN}": (8, 4)}, 1)],
        commands=[f"srdeploy bench {FOREIGN}"],
    )


class SectionContract:
    """Tests of one section.

    Attributes:
        key: Its key in the table; a fixture, so that one class can test several.
    """

    @pytest.fixture
    def key(self) -> str:
        raise NotImplementedError("name the section's key")

    @pytest.fixture(scope="class")
    def data(self) -> ReportData:
        return foreign_data()

    def test_its_row_can_be_found_and_told_from_others(self, key: str) -> None:
        row = SECTIONS[key]
        assert row.key == key
        assert re.fullmatch(r"[a-z][a-z0-9_-]*", key)
        assert row.title.strip()
        assert [other.title for other in SECTIONS.values()].count(row.title) == 1

    def test_without_results_there_is_no_section(self, key: str) -> None:
        assert SECTIONS[key].body(ReportData(Evidence())) is None

    def test_foreign_text_stays_text(self, key: str, data: ReportData) -> None:
        body = SECTIONS[key].body(data)
        assert body
        page = Tags.of(body)
        assert "x-foreign" not in page.tags
        assert "onclick" not in [name for name, _ in page.attributes]

    def test_a_browser_loads_nothing_for_it(self, key: str, data: ReportData) -> None:
        page = Tags.of(SECTIONS[key].body(data) or "")
        assert not {"base", "embed", "iframe", "link", "meta", "object"} & set(page.tags)
        for name, value in page.attributes:
            if name in LOADING:
                assert value.startswith(("data:", "#"))
            assert "url(" not in value
        scripts = page.tags.count("script")
        assert page.attributes.count(("type", "application/json")) == scripts

    def test_equal_results_give_equal_sections(self, key: str, data: ReportData) -> None:
        assert SECTIONS[key].body(data) == SECTIONS[key].body(foreign_data())
