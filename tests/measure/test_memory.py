"""Megabytes are 10^6 bytes."""

from __future__ import annotations

import pytest

from srdeploy.measure import worker as memory


@pytest.mark.parametrize(
    ("found", "told"), [(None, None), (123_456_789, 123.5), (50_000, 0.1), (0, 0.0)]
)
def test_peak_in_megabytes(
    found: int | None, told: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "peak", lambda: found)
    assert memory.peak_mb() == told
