"""How memory decides about tiles, and what happens to pixels on their way through."""

from __future__ import annotations

import numpy as np
import pytest

from srdeploy.data.bicubic import imresize
from srdeploy.data.images import to_uint8
from srdeploy.data.picture import Picture
from srdeploy.errors import UserError
from srdeploy.models.card import Card
from srdeploy.runtime.bicubic_session import BicubicSession
from srdeploy.runtime.session import Session
from srdeploy.runtime.sizes import InputSizes
from srdeploy.upscaling import image
from srdeploy.upscaling.image import (
    DEFAULT_MEMORY,
    ROOM,
    Upscaler,
    hidden_bytes,
    picture_of,
    upscale_array,
    upscale_picture,
    with_hidden_filled,
)

HELD = 10_000_000
COST = 1000.0 + 4 * 8 * 4 * 2**2  # of a pixel: what the network takes, and its output


class Doubling(Session):
    """Every pixel twice; channel by channel a little different, so that grey would be tinted."""

    runtime = "numpy"

    def __init__(self, **card: object) -> None:
        told = {"arch": "own", "scale": 2, "scales": (2,), "channels": 3, "value_range": 255.0,
                "receptive_field": 9}  # fmt: skip
        super().__init__(Card(**told | card), threads=1)  # type: ignore[arg-type]

    def _run(self, x: np.ndarray) -> np.ndarray:
        tint = np.array([0.0, 2.0, 4.0], np.float32)[:, None, None]
        return (x + tint).repeat(2, 2).repeat(2, 3)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """One on which so much is held, and where a network takes 1000 bytes a pixel."""
    monkeypatch.setattr(image, "resident", lambda: HELD)
    monkeypatch.setattr(image, "available", lambda: 3_000_000_000)
    monkeypatch.setattr(image, "bytes_per_pixel", lambda session: 1000.0)


@pytest.mark.parametrize(
    ("free", "memory"),
    [(None, DEFAULT_MEMORY), (0, DEFAULT_MEMORY), (3_000_000_001, 1_500_000_000),
     (2 * DEFAULT_MEMORY + 2, DEFAULT_MEMORY)],
)  # fmt: skip
def test_memory_unless_told(free: int | None, memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "available", lambda: free)
    monkeypatch.setattr(image, "resident", lambda: HELD)
    assert Upscaler(BicubicSession()).memory == memory
    assert Upscaler(BicubicSession(), memory=5).memory == 5
    assert DEFAULT_MEMORY == 2_000_000_000


@pytest.mark.parametrize(
    ("free", "memory"), [(8_000_000_000, 3_000_000_000 + ROOM), (600_000_000, 3_300_000_000)]
)
def test_a_process_that_holds_much_has_room_all_the_same(
    free: int, memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "available", lambda: free)
    monkeypatch.setattr(image, "resident", lambda: 3_000_000_000)
    assert Upscaler(BicubicSession()).memory == memory


@pytest.mark.parametrize(("held", "room"), [(None, 90e6), (50_000_000, 40e6), (70_000_000, 32e6)])
def test_a_small_picture_is_never_refused(
    held: int | None, room: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "resident", lambda: held)
    assert Upscaler(BicubicSession(), memory=90_000_000).room == room


def test_the_scale_is_the_network_s_own_unless_told() -> None:
    assert Upscaler(BicubicSession()).scale == 2
    assert Upscaler(BicubicSession(), 5).scale == 5
    with pytest.raises(UserError, match="not by x17"):
        Upscaler(BicubicSession(), 17)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("memory", "row_bytes", "extra", "pixels"),
    [
        # What is left for the network divided by what a pixel takes; results are kept for as
        # many rows as a tile has at most.
        (310_000_000, 0, 0, 300e6 / COST),
        (310_000_000, 0, 100_000_000, 200e6 / COST),
        (310_000_000, 10_000, 0, (300e6 - 10_000 * (300e6 // COST // 1000)) / COST),
    ],
)
def test_tiles_fill_the_memory_and_no_more(
    memory: int, row_bytes: int, extra: int, pixels: float
) -> None:
    grid = Upscaler(Doubling(), memory=memory).plan((2000, 1000), row_bytes, extra)
    seen = grid.tile[0] * grid.tile[1]
    assert 0.5 * pixels < seen <= pixels
    assert grid.exact
    assert len(grid.tiles) > 1


@pytest.mark.usefixtures("machine")
def test_the_price_of_a_pixel_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(image, "bytes_per_pixel", lambda session: asked.append(1) or 1000.0)
    upscaler = Upscaler(Doubling(), memory=310_000_000)
    first = upscaler.plan((2000, 1000))
    assert upscaler.plan((2000, 1000)) == first
    assert upscaler.plan((160, 160)).whole
    assert len(asked) == 1
    small = Upscaler(Doubling(), memory=1)
    assert small.plan((160, 160)).whole  # whatever there is
    assert len(asked) == 1


@pytest.mark.usefixtures("machine")
def test_the_sentence_tells_what_would_be_enough() -> None:
    needed = HELD + COST * 160**2
    with pytest.raises(UserError) as refused:
        Upscaler(Doubling(), memory=20_000_000).plan((2000, 1000), 1000, 5_000_000)
    told = (needed + 5_000_000 + 160 * 1000) * 1.05 / 1e9
    assert str(refused.value).startswith(
        "0.02GB of memory is too little for this picture and network; give "
        f"--memory {told:.2g}GB or more (or a smaller --overlap, which is no longer exact; "
    )
    enough = int(needed + 1)
    assert len(Upscaler(Doubling(), memory=enough).plan((2000, 1000)).tiles) > 50
    with pytest.raises(UserError, match="too little"):
        Upscaler(Doubling(), memory=int(needed - COST)).plan((2000, 1000))


@pytest.mark.usefixtures("machine")
def test_flat_pictures_need_less() -> None:
    memory = int(HELD + COST * 30 * 160) + 1
    assert not Upscaler(Doubling(), memory=memory).plan((30, 5000)).whole
    with pytest.raises(UserError, match="too little"):
        Upscaler(Doubling(), memory=memory).plan((200, 5000))


@pytest.mark.usefixtures("machine")
def test_an_overlap_of_ones_own_is_used() -> None:
    upscaler = Upscaler(Doubling(), memory=310_000_000, overlap=2)
    grid = upscaler.plan((2000, 1000))
    assert (grid.overlap, grid.exact) == (2, False)
    pooled = Upscaler(Doubling(receptive_field=0), memory=310_000_000).plan((2000, 1000))
    assert (pooled.overlap, pooled.exact) == (64, False)


@pytest.mark.usefixtures("machine")
def test_artifacts_of_listed_sizes_are_not_cut_by_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Doubling, "sizes", InputSizes(((160, 200),)))
    upscaler = Upscaler(Doubling(), memory=20_000_000)
    assert upscaler.plan((2000, 1000), 0, 32_000_000).tile == (160, 200)
    with pytest.raises(UserError, match=r"give --memory 0\.044GB or more"):
        upscaler.plan((2000, 1000), 0, 32_000_001)
    monkeypatch.setattr(Doubling, "sizes", InputSizes(low=(8, 8), high=(4000, 4000)))
    tile = Upscaler(Doubling(), memory=310_000_000).plan((2000, 1000)).tile
    assert 100_000 < tile[0] * tile[1] <= 300e6 / COST


def test_bits_are_kept_and_rounded_to_the_nearest() -> None:
    pixels = np.array([[[0, 128, 253]]], np.uint8)
    found = upscale_array(Doubling(), pixels)
    assert found.shape == (2, 2, 3)
    assert found[1, 1].tolist() == [0, 130, 255]
    wide = upscale_array(Doubling(), pixels.astype(np.uint16) * 257 + 1)
    assert wide.dtype == np.uint16
    assert wide[0, 1].tolist() == [1, 130 * 257 + 1, 65535]
    values = np.array([-1.0, 0.0, 0.4999 / 257, 0.5 / 257, 254.999, 255.0, 300.0])
    assert image._stored(values, np.uint16).tolist() == [0, 0, 0, 1, 65535, 65535, 65535]
    assert image._stored(np.array([-1, 0.49, 0.5, 254.6, 300]), np.uint8).tolist() == [
        *(0, 0, 1, 255, 255),
    ]


def test_grey_is_the_luma_of_what_the_network_makes() -> None:
    found = upscale_array(Doubling(), np.full((3, 4), 100, np.uint8))
    assert found.shape == (6, 8)
    assert (found == round(100 + 0.587 * 2 + 0.114 * 4)).all()
    assert upscale_array(Doubling(), np.full((3, 4, 1), 100, np.uint8)).shape == (6, 8, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_is_upscaled_bicubically_or_left_out(dtype: type) -> None:
    level = 257 if dtype == np.uint16 else 1
    noise = np.random.default_rng(0).integers(1, 256, (5, 6, 2)).astype(dtype)
    noise *= level
    upscaler = Upscaler(Doubling())
    grid = upscaler.plan((5, 6))
    (band,) = upscaler.bands(Picture(noise), dtype, grid)
    expected = imresize(noise[..., 1] / level, 2)
    assert np.abs(band[..., 1] / level - expected.clip(0, 255)).max() <= 0.5 + 1e-9
    (band,) = upscaler.bands(Picture(noise), dtype, grid, alpha=False)
    assert band.shape == (10, 12, 1)


def test_profile_and_exif_stay() -> None:
    picture = Picture(np.zeros((4, 4, 3), np.uint8), b"icc", b"exif", ("note",))
    found = upscale_picture(Doubling(), picture)
    assert (found.icc, found.exif, found.notes) == (b"icc", b"exif", ("note",))
    assert found.size == (8, 8)


def test_a_whole_picture_is_reckoned_with_its_result(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real = Upscaler.plan

    def plan(self: Upscaler, *arguments: object, **options: object) -> object:
        asked.append((self.memory, arguments, options))
        return real(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Upscaler, "plan", plan)
    upscale_array(Doubling(), np.zeros((4, 5, 4), np.uint8), memory=900_000_000)
    extra = 2 * 4 * 5 * 4 * 2**2 + 4 * 5 * 4
    assert asked == [(900_000_000, ((4, 5),), {"extra_bytes": extra})]
    assert hidden_bytes(Picture(np.zeros((4, 5, 3), np.uint8))) == 0


@pytest.mark.parametrize("shape", [(4,), (4, 4, 4, 4), (0, 4), (4, 0, 3), (4, 4, 5)])
def test_shapes_that_are_no_picture(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="upscaling takes"):
        picture_of(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_shapes_that_are_pictures(channels: int) -> None:
    assert picture_of(np.zeros((4, 5, channels), np.uint16)).pixels.shape == (4, 5, channels)
    assert picture_of(np.zeros((4, 5), np.uint8)).pixels.shape == (4, 5, 1)


def test_hidden_pixels_take_the_mean_of_their_known_neighbours() -> None:
    colour = np.zeros((5, 5, 1), np.uint8)
    alpha = np.zeros((5, 5), np.uint8)
    for (y, x), level in {(0, 1): 10, (1, 0): 21, (4, 4): 200}.items():
        colour[y, x], alpha[y, x] = level, 1
    colour[2, 2] = 99  # hidden
    before = colour.copy()
    once = with_hidden_filled(colour, alpha, 1)[..., 0]
    assert np.array_equal(colour, before)
    assert once.tolist() == [
        [16, 10, 10, 0, 0],
        [21, 16, 0, 0, 0],
        [21, 0, 99, 0, 0],
        [0, 0, 0, 0, 200],
        [0, 0, 0, 200, 200],
    ]
    twice = with_hidden_filled(colour, alpha, 2)[..., 0]
    assert twice[1, 2] == 13  # of 16 and 10
    assert twice[2, 2] == 99
    assert twice[2, 4] == twice[4, 2] == 200
    everywhere = with_hidden_filled(colour, alpha)[..., 0]
    assert (everywhere > 0).all()
    assert with_hidden_filled(colour, alpha + 1) is colour


def test_the_usual_reach_is_eight_pixels() -> None:
    colour, alpha = np.zeros((1, 20, 1), np.uint8), np.zeros((1, 20), np.uint8)
    colour[0, 0], alpha[0, 0] = 50, 255
    assert np.flatnonzero(with_hidden_filled(colour, alpha)[0, :, 0]).max() == 8


def test_rounding_of_results_is_that_of_images() -> None:
    values = np.linspace(-5, 260, 1000)
    assert np.array_equal(image._stored(values, np.uint8), to_uint8(values))
