"""What was measured, read or drawn does not change afterwards."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest

from srdeploy.report.crops import Crop, CropVersion
from srdeploy.report.figures import FigureGroup
from srdeploy.report.page import ReportSummary
from srdeploy.report.run_folder import RunFolder
from srdeploy.report.sources import SourceEntry
from srdeploy.report.svg import Bubble, Curve, Frame
from srdeploy.report.widths import Widths


@pytest.mark.parametrize(
    "kind",
    [
        Crop,
        CropVersion,
        FigureGroup,
        Widths,
        ReportSummary,
        SourceEntry,
        RunFolder,
        Bubble,
        Curve,
        Frame,
    ],
)
def test_records_are_frozen(kind: type) -> None:
    one = kind.__new__(kind)
    with pytest.raises(FrozenInstanceError):
        setattr(one, fields(kind)[0].name, None)
