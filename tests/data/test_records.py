"""What was measured, read or drawn does not change afterwards."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest

from srdeploy.data.benchmark import Pair
from srdeploy.data.layouts import DataLayout
from srdeploy.data.picture import Picture
from srdeploy.data.picture_write import Format


@pytest.mark.parametrize("kind", [Pair, DataLayout, Picture, Format])
def test_records_are_frozen(kind: type) -> None:
    one = kind.__new__(kind)
    with pytest.raises(FrozenInstanceError):
        setattr(one, fields(kind)[0].name, None)
