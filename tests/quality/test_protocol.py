from __future__ import annotations

import numpy as np
import pytest

from srdeploy.errors import UserError
from srdeploy.quality.protocol import PROTOCOLS, Protocol, get_protocol


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("standard", "psnr[y, crop=2, u8, matlab]"),
        ("vdsr", "psnr[y, crop=2, double, matlab]"),
        ("srcnn", "psnr[y, crop=2, y8, matlab]"),
        ("rgb", "psnr[rgb, crop=2, u8]"),
    ],
)
def test_labels(name: str, label: str) -> None:
    assert PROTOCOLS[name].name == name
    assert PROTOCOLS[name].about
    assert get_protocol(name).label(2) == label
    assert get_protocol(name).label(2, "ssim") == label.replace("psnr", "ssim")


def test_labels_tell_all_protocols_apart() -> None:
    rows = [*PROTOCOLS.values()]
    rows.append(Protocol("own", "y", "u8", "none", "matlab", crop_per_scale=1, crop_extra=6))
    labels = {row.label(4) for row in rows}
    assert len(labels) == len(rows)
    assert "psnr[y, crop=10, double, lr=u8, matlab]" in labels


def test_misspelt_protocol_offers_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'standard'"):
        get_protocol("standart")


def test_planes_round_where_the_protocol_says() -> None:
    image = np.random.default_rng(0).uniform(-5, 260, (12, 14, 3))
    luma = image @ np.array([65.481, 128.553, 24.966]) / 255 + 16
    cut = (slice(3, -3), slice(3, -3))
    np.testing.assert_allclose(PROTOCOLS["vdsr"].planes(image, 3), luma[cut])
    np.testing.assert_allclose(PROTOCOLS["vdsr"].planes(luma, 3), luma[cut])
    np.testing.assert_array_equal(PROTOCOLS["srcnn"].planes(image, 3), np.floor(luma + 0.5)[cut])
    rounded = np.clip(np.floor(image + 0.5), 0, 255)
    np.testing.assert_array_equal(PROTOCOLS["rgb"].planes(image, 3), rounded[cut])
    np.testing.assert_allclose(
        PROTOCOLS["standard"].planes(image, 3),
        (rounded @ np.array([65.481, 128.553, 24.966]) / 255 + 16)[cut],
    )
