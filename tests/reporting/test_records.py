"""What was measured, read or drawn does not change afterwards."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest

from srdeploy.reporting.crops import Crop, CropVersion
from srdeploy.reporting.figures import FigureGroup
from srdeploy.reporting.page import ReportSummary
from srdeploy.reporting.run_folder import RunFolder
from srdeploy.reporting.sources import SourceEntry
from srdeploy.reporting.svg import Bubble, Curve, Frame
from srdeploy.reporting.widths import Widths


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
