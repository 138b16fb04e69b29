from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from srdeploy.data.bicubic import imresize
from srdeploy.data.images import rgb_to_y, rgb_to_ycbcr
from srdeploy.errors import SrdeployError, UserError
from srdeploy.models.card import Card
from srdeploy.runtime.pixels import upscale_rgb, upscale_y
from srdeploy.runtime.session import Session


class Recorder(Session):
    """Repeats pixels ``network_scale`` times and keeps its last input."""

    runtime: ClassVar[str] = "fake"
    gain = 1.0

    def _run(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        s = self.card.network_scale
        return self.gain * x.repeat(s, axis=2).repeat(s, axis=3)


def recorder(
    scale: int = 2, channels: int = 3, value_range: float = 255.0, **card: object
) -> Recorder:
    fields = {"arch": "t", "scales": (scale,), "scale": scale, "channels": channels}
    return Recorder(Card(**fields, value_range=value_range, **card))


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (7, 10, 3), dtype=np.uint8)


def nearest(image: np.ndarray, scale: int) -> np.ndarray:
    return image.repeat(scale, axis=0).repeat(scale, axis=1)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("value_range", [1.0, 255.0])
def test_rgb(image: np.ndarray, scale: int, value_range: float) -> None:
    session = recorder(scale, value_range=value_range)
    out = upscale_rgb(session, image, scale)
    assert out.dtype == np.float64
    np.testing.assert_allclose(out, nearest(image, scale), atol=1e-4)
    assert session.x.max() <= value_range
    assert session.x.shape == (1, 3, 7, 10)


def test_floating_input_is_not_rounded(image: np.ndarray) -> None:
    out = upscale_rgb(recorder(), image + 0.25, 2)
    np.testing.assert_allclose(out, nearest(image, 2) + 0.25, atol=1e-4)


@pytest.mark.parametrize("multiple", [2, 3, 4, 8, 32])
def test_sizes_are_padded_by_reflection_and_cropped(image: np.ndarray, multiple: int) -> None:
    session = recorder(3, size_multiple=multiple)
    np.testing.assert_allclose(upscale_rgb(session, image, 3), nearest(image, 3), atol=1e-4)
    height, width = session.x.shape[2:]
    assert height % multiple == width % multiple == 0
    assert height - 7 < multiple
    assert width - 10 < multiple
    if height > 7:  # the row below the last is the one above it
        np.testing.assert_array_equal(session.x[0, :, 7], session.x[0, :, 5])


def test_one_pixel_can_be_padded() -> None:
    out = upscale_rgb(recorder(size_multiple=4), np.full((1, 1, 3), 9, np.uint8), 2)
    np.testing.assert_allclose(out, np.full((2, 2, 3), 9), atol=1e-4)


def test_pre_upscaled_networks_see_the_output_size(image: np.ndarray) -> None:
    session = recorder(2, pre_upscaled=True, size_multiple=4)
    out = upscale_rgb(session, image, 2)
    assert session.x.shape == (1, 3, 16, 20)
    np.testing.assert_allclose(out, imresize(image.astype(float), 2), atol=1e-4)


@pytest.mark.parametrize("pre_upscaled", [False, True])
def test_luma_networks_get_colour_back(image: np.ndarray, pre_upscaled: bool) -> None:
    session = recorder(
        3, channels=1, value_range=1.0, luma_only=True, pre_upscaled=pre_upscaled, size_multiple=2
    )
    ycbcr = rgb_to_ycbcr(upscale_rgb(session, image, 3))
    y = rgb_to_y(image)
    expected = imresize(y, 3) if pre_upscaled else nearest(y, 3)
    np.testing.assert_allclose(ycbcr[..., 0], expected, atol=1e-4)
    np.testing.assert_allclose(ycbcr[..., 1:], imresize(rgb_to_ycbcr(image)[..., 1:], 3), atol=1e-9)
    np.testing.assert_allclose(upscale_y(session, y, 3), expected, atol=1e-4)
    assert session.x.shape[1] == 1
    assert session.x.max() <= 1.0


def test_scales_that_are_not_served(image: np.ndarray) -> None:
    with pytest.raises(UserError, match="upscales by x2, not by x3"):
        upscale_rgb(recorder(2), image, 3)


def test_broken_values_are_an_error(image: np.ndarray) -> None:
    session = recorder()
    session.gain = float("nan")
    with pytest.raises(SrdeployError, match="not finite"):
        upscale_rgb(session, image, 2)
