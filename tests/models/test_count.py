"""Sizes against the published tables (MACs for a 1280x720 output)."""

from __future__ import annotations

import pytest

from srdeploy.models.count import count
from srdeploy.models.registry import create


@pytest.mark.parametrize(
    ("arch", "config", "params_k", "gmacs"),
    [
        ("vdsr", {}, 664.704, 612.6),
        ("edsr-baseline", {"scale": 2}, 1369.9, 316.3),
        ("edsr-baseline", {"scale": 3}, 1555, 160),
        ("edsr-baseline", {"scale": 4}, 1518, 114),
        ("ledsr-256", {"scale": 2}, 19.5e3, 4492.5),
        ("ledsr", {"n_feats": 45, "scale": 2}, 609, 139.9),
        ("ledsr", {"n_feats": 45, "scale": 3}, 615, 62.7),
        ("ledsr", {"n_feats": 45, "scale": 4}, 623, 35.8),
        ("ledsr", {"n_feats": 48, "scale": 2}, 692, 159.1),
        ("ledsr", {"n_feats": 48, "scale": 3}, 698, 71.2),
        ("ledsr", {"n_feats": 48, "scale": 4}, 708, 40.6),
        ("rirsr-96", {"scale": 2}, 34.5e3, None),
    ],
)
def test_published_sizes(arch, config, params_k, gmacs):
    counts = count(create(arch, **config))
    # The tables round or truncate to the last digit they print.
    digit = 0.1 if round(params_k % 1, 3) else 1 if params_k < 5000 else 100
    assert counts.params / 1e3 == pytest.approx(params_k, abs=digit)
    if gmacs is not None:
        assert counts.macs_720p / 1e9 == pytest.approx(gmacs, abs=0.1 if gmacs % 1 else 0.5)
