"""The contract of :mod:`tests.contracts.section_contract`, kept by every row of the table."""

from __future__ import annotations

import pytest

from srdeploy.reporting.data import ReportData
from srdeploy.reporting.sections.table import SECTIONS
from tests.contracts.section_contract import FOREIGN, SectionContract
from tests.reporting.material import Tags


class TestSections(SectionContract):
    @pytest.fixture(params=SECTIONS)
    def key(self, request: pytest.FixtureRequest) -> str:
        return request.param

    def test_foreign_text_is_shown(self, key: str, data: ReportData) -> None:
        page = Tags.of(SECTIONS[key].body(data) or "")
        shown = [*page.words, *(value for _, value in page.attributes)]
        assert any(FOREIGN in text for text in shown)
