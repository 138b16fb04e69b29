from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from srdeploy.data.bicubic import imresize
from srdeploy.data.images import rgb_to_y, rgb_to_ycbcr
from srdeploy.errors import SrdeployError, UserError
from srdeploy.models.card import Card
from srdeploy.runtime.pixels import (
    input_shape,
    network_input,
    plan_image,
    upscale_parts,
    upscale_rgb,
    upscale_y,
)
from srdeploy.runtime.session import Session
from srdeploy.runtime.sizes import InputSizes


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


@pytest.mark.parametrize(
    ("smallest", "multiple", "side"), [(1, 1, (7, 10)), (8, 1, (8, 10)), (16, 1, (16, 16)),
                                       (16, 3, (18, 18)), (8, 4, (8, 12))],
)  # fmt: skip
def test_images_smaller_than_the_network_takes(
    image: np.ndarray, smallest: int, multiple: int, side: tuple[int, int]
) -> None:
    session = recorder(3, size_multiple=multiple, smallest=smallest)
    np.testing.assert_allclose(upscale_rgb(session, image, 3), nearest(image, 3), atol=1e-4)
    assert session.x.shape[2:] == side


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


def test_a_network_of_four_channels_sees_opaque_pictures(image: np.ndarray) -> None:
    session = recorder(2, channels=4)
    np.testing.assert_allclose(upscale_rgb(session, image, 2), nearest(image, 2))
    assert session.x.shape[1] == 4
    assert (session.x[:, 3] == 255).all()
    with pytest.raises(UserError, match="takes images of 2 channels"):
        upscale_rgb(recorder(2, channels=2), image, 2)


def test_broken_values_are_an_error(image: np.ndarray) -> None:
    session = recorder()
    session.gain = float("nan")
    with pytest.raises(SrdeployError, match="not finite"):
        upscale_rgb(session, image, 2)


# Inputs


@pytest.mark.parametrize("depth", [np.uint8, np.uint16, np.float64])
@pytest.mark.parametrize("multiple", [1, 4])
@pytest.mark.parametrize(
    "card",
    [
        {},
        {"value_range": 1.0},
        {"channels": 1, "luma_only": True, "value_range": 1.0},
        {"pre_upscaled": True},
        {"channels": 1, "luma_only": True, "pre_upscaled": True, "value_range": 1.0},
    ],
    ids=["rgb", "range", "luma", "pre-upscaled", "luma-pre-upscaled"],
)
def test_the_input_is_the_one_that_upscaling_runs(
    image: np.ndarray, card: dict, multiple: int, depth: type
) -> None:
    session = recorder(3, size_multiple=multiple, **card)
    image = image.astype(depth) * (257 if depth is np.uint16 else 1)
    upscale_rgb(session, image, 3)
    x = network_input(session.card, image, 3)
    np.testing.assert_array_equal(x, session.x)
    assert x.dtype == session.x.dtype == np.float32
    assert x.flags.c_contiguous
    assert x.shape == input_shape(session.card, (7, 10), 3)
    batch = network_input(session.card, image, 3, batch=2)
    assert batch.shape == input_shape(session.card, (7, 10), 3, batch=2)
    np.testing.assert_array_equal(batch, np.concatenate([x, x]))


def test_rgb_network_gets_the_image(image: np.ndarray) -> None:
    x = network_input(recorder().card, image, 2, batch=3)
    assert x.shape == (3, 3, 7, 10)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x[2].transpose(1, 2, 0), image)


def test_no_input_for_a_scale_that_is_not_served(image: np.ndarray) -> None:
    for ask in (lambda: network_input(recorder().card, image, 3),
                lambda: input_shape(recorder().card, (7, 10), 3)):  # fmt: skip
        with pytest.raises(UserError, match="not by x3"):
            ask()


# Plans


@pytest.mark.parametrize(
    ("multiple", "pre_upscaled", "side"), [(1, False, (7, 10)), (4, False, (8, 12)),
                                          (1, True, (21, 30)), (4, True, (24, 32))],
)  # fmt: skip
def test_the_networks_input(multiple: int, pre_upscaled: bool, side: tuple) -> None:
    card = recorder(3, size_multiple=multiple, pre_upscaled=pre_upscaled).card
    grid = plan_image(card, (7, 10), 3)
    assert (grid.height, grid.width) == side
    assert grid.whole
    with pytest.raises(UserError, match="by x3, not by x2"):
        plan_image(card, (7, 10), 2)


@pytest.mark.parametrize(
    ("sizes", "side", "exact"),
    [
        (None, (7, 10), True),
        (InputSizes(low=(1, 1), high=(99, 99)), (7, 10), True),
        (InputSizes(low=(7, 10), high=(99, 99)), (7, 10), True),
        (InputSizes(low=(8, 4), high=(99, 99)), (8, 10), False),
        (InputSizes(low=(4, 16), high=(99, 99)), (7, 16), False),
        (InputSizes(((7, 10),)), (7, 10), True),
        (InputSizes(((64, 64), (8, 16), (16, 16))), (8, 16), False),  # the nearest
        (InputSizes(((16, 10), (7, 30))), (16, 10), False),
    ],
)
def test_images_smaller_than_an_artifact_takes(
    image: np.ndarray, sizes: InputSizes | None, side: tuple, exact: bool
) -> None:
    session = recorder(receptive_field=3)
    grid = plan_image(session.card, (7, 10), 2, sizes=sizes)
    assert (grid.height, grid.width, grid.exact) == (*side, exact)
    found = upscale_rgb(session, image, 2, grid)
    assert session.x.shape[2:] == grid.tile == side
    np.testing.assert_allclose(found, nearest(image, 2), atol=1e-4)


def test_how_a_plan_is_asked_for() -> None:
    card = recorder(receptive_field=5).card
    cut = plan_image(card, (400, 400), 2, pixels=40000)
    assert not cut.whole
    assert (cut.overlap, cut.exact) == (2, True)
    assert plan_image(card, (400, 400), 2, pixels=40000, overlap=1).exact is False
    assert plan_image(card, (400, 400), 2, tile=(400, 200), overlap=7).overlap == 7
    assert len(plan_image(card, (400, 400), 2, tile=(400, 210)).tiles) == 2


# Parts


@pytest.mark.parametrize("luma", [False, True])
@pytest.mark.parametrize("pre_upscaled", [False, True])
def test_parts_are_what_they_are_within_the_whole(luma: bool, pre_upscaled: bool) -> None:
    image = np.random.default_rng(1).integers(0, 256, (21, 30, 3), dtype=np.uint8)
    session = recorder(
        2, channels=1 if luma else 3, luma_only=luma, pre_upscaled=pre_upscaled, size_multiple=4,
        receptive_field=1,
    )  # fmt: skip
    whole = upscale_rgb(session, image, 2)
    side = 8
    grid = plan_image(
        session.card, (21, 30), 2, tile=(side, side), sizes=InputSizes(low=(1, 1), high=(99, 99))
    )
    parts = list(upscale_parts(session, image, 2, grid))
    assert session.x.shape == (1, 1 if luma else 3, side, side)
    covered = np.zeros(whole.shape[:2], int)
    for rows, columns, part in parts:
        covered[rows, columns] += 1
        np.testing.assert_array_equal(part, whole[rows, columns])
    assert (covered == 1).all()
    places = [(rows.start, columns.start) for rows, columns, _ in parts]
    assert places == sorted(places)
    assert len(parts) > 6
    np.testing.assert_array_equal(upscale_rgb(session, image, 2, grid), whole)


def test_a_tile_of_padding_alone_is_not_run() -> None:
    """An image of 4x4 for an artifact of 16x16 that is cut into four."""
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    session = recorder(receptive_field=1)
    sizes = InputSizes(low=(16, 16), high=(16, 16))
    grid = plan_image(session.card, (4, 4), 2, tile=(8, 8), overlap=0, sizes=sizes)
    assert len(grid.tiles) == 4
    ((rows, columns, part),) = upscale_parts(session, image, 2, grid)
    assert (rows, columns) == (slice(0, 8), slice(0, 8))
    np.testing.assert_allclose(part, nearest(image, 2), atol=1e-4)


@pytest.mark.parametrize("luma", [False, True])
def test_sixteen_bits(image: np.ndarray, luma: bool) -> None:
    """65535 is as white as 255 is."""
    options = {"channels": 1, "luma_only": True} if luma else {}
    session = recorder(**options)
    deep = upscale_rgb(session, image.astype(np.uint16) * 257, 2)
    np.testing.assert_allclose(deep, upscale_rgb(session, image, 2), atol=1e-4)
    np.testing.assert_allclose(upscale_rgb(recorder(), image.astype(np.uint16) * 257 + 128, 2),
                               nearest(image, 2) + 128 / 257, atol=1e-4)  # fmt: skip


def test_what_is_no_number_is_looked_for_everywhere(image: np.ndarray) -> None:
    for wrong in (np.nan, np.inf, -np.inf):
        session = recorder()
        session.gain = np.ones((1, 3, 14, 20))
        session.gain[0, 2, 13, 19] = wrong
        with pytest.raises(SrdeployError, match="The t network returned values that are not"):
            upscale_rgb(session, image, 2)


def test_inputs_are_not_changed(image: np.ndarray) -> None:
    before = image.copy()
    upscale_rgb(recorder(), image, 2)
    np.testing.assert_array_equal(image, before)
