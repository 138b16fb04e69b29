"""What was measured, read or drawn does not change afterwards."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest

from srdeploy.upscaling.compare import PictureVersion
from srdeploy.upscaling.folder import Settings
from srdeploy.upscaling.sheet import Panel


@pytest.mark.parametrize("kind", [PictureVersion, Settings, Panel])
def test_records_are_frozen(kind: type) -> None:
    one = kind.__new__(kind)
    with pytest.raises(FrozenInstanceError):
        setattr(one, fields(kind)[0].name, None)
