"""Tiles give what the whole gives: the geometry by property, the networks one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from srdeploy.compacting.run import prune_oneshot
from srdeploy.errors import UserError
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.models.card import Card
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.pruning.options import PruneOptions
from srdeploy.runtime.open import open_session
from srdeploy.runtime.session import Session
from srdeploy.runtime.sizes import InputSizes
from srdeploy.runtime.tiling import (
    GLOBAL_OVERLAP,
    Grid,
    exact_overlap,
    plan_grid,
    run_tiled,
    smallest_tile,
)

SMALL = {
    "edsr": {"n_blocks": 2, "n_feats": 12},
    "ledsr": {"n_blocks": 2, "n_feats": 16},
    "rirsr": {"n_groups": 2, "n_blocks": 1, "n_feats": 12},
    "vdsr": {"n_layers": 6, "n_feats": 12},
}


def card(radius: int, multiple: int = 1, **fields: object) -> Card:
    return Card(
        **{"arch": "t", "scale": 2, "scales": (2,), "channels": 3, "value_range": 1.0} | fields,
        size_multiple=multiple,
        receptive_field=2 * radius + 1 if radius >= 0 else 0,
    )


@settings(max_examples=300, deadline=None)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    radius=st.integers(-1, 9),
    multiple=st.integers(1, 4),
    pixels=st.integers(1, 9000),
)
def test_every_grid_covers_the_image_with_enough_around(
    height: int, width: int, radius: int, multiple: int, pixels: int
) -> None:
    height, width = height * multiple, width * multiple
    try:
        grid = plan_grid(card(radius, multiple), height, width, pixels=pixels)
    except UserError:
        reach = radius if radius >= 0 else GLOBAL_OVERLAP
        assert pixels < (2 * reach + 40) ** 2
        return
    assert np.prod(grid.tile) <= max(pixels, 1)
    assert grid.exact == (radius >= 0 or grid.whole)
    given_by = np.zeros((height, width), int)
    for tile in grid.tiles:
        given_by[tile.core_rows, tile.core_columns] += 1
        for seen, kept, length, side in (
            (tile.rows, tile.core_rows, height, grid.tile[0]),
            (tile.columns, tile.core_columns, width, grid.tile[1]),
        ):
            assert seen.stop - seen.start == side
            assert seen.start % multiple == side % multiple == 0
            assert seen.start == 0 or kept.start - seen.start >= grid.overlap
            assert seen.stop == length or seen.stop - kept.stop >= grid.overlap
            assert 0 <= seen.start < seen.stop <= length
    assert (given_by == 1).all()


def test_a_network_that_pools_globally_keeps_its_grid_on_odd_sides() -> None:
    grid = plan_grid(card(-1), 401, 403, tile=(201, 300))
    assert not grid.exact
    assert all(t.rows.start % 8 == t.columns.start % 8 == 0 for t in grid.tiles)


def test_the_price_of_the_overlap_is_told() -> None:
    assert plan_grid(card(10), 300, 300).work == 1
    grid = plan_grid(card(10), 300, 300, tile=(100, 100))
    assert grid.work == pytest.approx(16 * 100 * 100 / 300**2)
    with pytest.raises(UserError, match="leave nothing inside an overlap of 60"):
        plan_grid(card(60), 300, 300, tile=(100, 100))


def test_artifacts_of_listed_sizes_take_the_size_that_costs_least() -> None:
    sizes = InputSizes(((64, 64), (96, 128), (200, 200)))
    assert plan_grid(card(10), 200, 200, sizes=sizes).whole
    grid = plan_grid(card(10), 210, 230, sizes=sizes)
    assert grid.tile in sizes.listed
    assert not grid.whole
    with pytest.raises(UserError, match="takes 64x64,128x96,200x200 only"):
        plan_grid(card(10), 50, 230, sizes=sizes)
    ranged = InputSizes(low=(32, 32), high=(100, 120))
    assert plan_grid(card(10), 210, 230, sizes=ranged).tile == (100, 120)


ANY = InputSizes(low=(1, 1), high=(1 << 20, 1 << 20))
"""What an artifact of any size says, whose windows are never made smaller."""


@pytest.mark.parametrize(
    ("radius", "multiple", "size", "options", "tile"),
    [
        (0, 1, (1000, 100), {"pixels": 20000}, (200, 100)),  # a narrow image: as tall as may be
        (0, 1, (300, 1000), {"pixels": 40000}, (200, 200)),  # a wide one: square
        (0, 7, (700, 1400), {"pixels": 40000}, (196, 203)),  # what fits beside 196
        (0, 1, (300, 200), {"pixels": 60000}, (300, 200)),  # just all of it
        (0, 1, (300, 200), {"pixels": 59999}, (299, 200)),
        (0, 1, (5, 9), {"pixels": 3}, (1, 3)),
        (0, 1, (300, 200), {"tile": (400, 50)}, (300, 50)),
        (0, 3, (300, 201), {"sizes": InputSizes(low=(9, 9), high=(100, 50))}, (99, 48)),
    ],
)
def test_windows_are_as_large_as_may_be(
    radius: int, multiple: int, size: tuple, options: dict, tile: tuple
) -> None:
    assert plan_grid(card(radius, multiple), *size, **({"sizes": ANY} | options)).tile == tile


@pytest.mark.parametrize(
    ("radius", "multiple", "size", "options", "tile", "rows", "columns"),
    [
        # Equal parts, in windows no larger than these need.
        (10, 1, (500, 400), {"tile": (200, 200)}, (180, 160),
         ((0, 0, 170), (160, 170, 330), (320, 330, 500)),
         ((0, 0, 136), (126, 136, 263), (240, 263, 400))),
        # Where the artifact takes one size only, the last windows reach further inward.
        (10, 1, (500, 400), {"tile": (200, 200), "sizes": ANY}, (200, 200),
         ((0, 0, 170), (160, 170, 330), (300, 330, 500)),
         ((0, 0, 136), (126, 136, 263), (200, 263, 400))),
        # Overlaps and starts are whole multiples.
        (3, 4, (404, 1000), {"tile": (180, 300)}, (160, 256),
         ((0, 0, 136), (132, 136, 268), (244, 268, 404)),
         ((0, 0, 252), (248, 252, 500), (496, 500, 748), (744, 748, 1000))),
        # Nothing is exact, so multiples of 8; odd sides make every window longer.
        (-1, 1, (401, 403), {"tile": (201, 300)}, (201, 267),
         ((0, 0, 128), (64, 128, 200), (136, 200, 264), (200, 264, 401)),
         ((0, 0, 200), (136, 200, 403))),
        (-1, 3, (699, 699), {"pixels": 90000}, (291, 291),
         ((0, 0, 192), (120, 192, 336), (264, 336, 480), (408, 480, 699)),
         ((0, 0, 192), (120, 192, 336), (264, 336, 480), (408, 480, 699))),
        (30, 1, (1001, 203), {"tile": (300, 240)}, (296, 203),
         ((0, 0, 265), (235, 265, 500), (470, 500, 735), (705, 735, 1001)), ((0, 0, 203),)),
        (5, 1, (22, 30), {"tile": (12, 30)}, (12, 30),  # the least that leaves something
         ((0, 0, 7), (2, 7, 9), (4, 9, 11), (6, 11, 13), (8, 13, 15), (10, 15, 22)),
         ((0, 0, 30),)),
    ],
)  # fmt: skip
def test_where_the_cuts_are(
    radius: int, multiple: int, size: tuple, options: dict, tile: tuple, rows: tuple, columns: tuple
) -> None:
    grid = plan_grid(card(radius, multiple), *size, **options)
    assert (grid.height, grid.width) == size
    assert (grid.tile, grid.rows, grid.columns) == (tile, rows, columns)
    first, second = grid.tiles[0], grid.tiles[1]
    assert (first.rows, first.columns) == (slice(0, tile[0]), slice(0, tile[1]))
    if len(columns) > 1:  # row by row
        assert second.rows == first.rows
        assert second.core_columns == slice(*columns[1][1:])


@pytest.mark.parametrize(
    ("field", "overlap", "reach", "exact"),
    [
        (21, None, 10, True),
        (20, None, 10, True),
        (21, 10, 10, True),
        (21, 9, 9, False),
        (21, 15, 15, True),
        (21, 0, 0, False),
        (1, 0, 0, True),
        (0, None, 64, False),
        (0, 500, 500, False),
    ],
)
def test_what_is_called_exact(field: int, overlap: int | None, reach: int, exact: bool) -> None:
    network = card(0).model_copy(update={"receptive_field": field})
    grid = plan_grid(network, 2200, 2200, tile=(1100, 1100), overlap=overlap)
    assert (grid.overlap, grid.exact, grid.whole) == (reach, exact, False)
    whole = plan_grid(network, 60, 70, overlap=overlap)  # nothing is cut
    assert (whole.exact, whole.whole, whole.tile) == (True, True, (60, 70))
    assert exact_overlap(network) == (field // 2 if field else None)


def test_sides_are_multiples() -> None:
    network = card(2, 4)
    plan_grid(network, 8, 12, tile=(4, 8), overlap=0)
    for size, tile in (((9, 12), None), ((8, 13), None), ((8, 12), (5, 8)), ((8, 12), (4, 9))):
        with pytest.raises(ValueError, match="sides must be multiples of 4"):
            plan_grid(network, *size, tile=tile)


@pytest.mark.parametrize(
    ("radius", "multiple", "overlap", "side"),
    [(10, 1, None, 160), (40, 1, None, 160), (41, 1, None, 164), (41, 8, None, 168),
     (41, 1, 0, 160), (0, 7, None, 161), (-1, 1, None, 256), (-1, 1, 45, 180), (3, 1, 50, 200)],
)  # fmt: skip
def test_the_smallest_tile_is_half_overlap(
    radius: int, multiple: int, overlap: int | None, side: int
) -> None:
    assert smallest_tile(card(radius, multiple), overlap) == side


@pytest.mark.parametrize(
    ("listed", "size", "tile"),
    [
        (((64, 64), (100, 100)), (500, 500), (100, 100)),  # less overlap
        (((64, 64), (100, 100)), (104, 104), (64, 64)),  # the same number, smaller
        (((64, 128), (128, 64)), (64, 400), (64, 128)),
        (((64, 128), (128, 64)), (400, 64), (128, 64)),
        (((21, 21), (64, 64)), (23, 23), (21, 21)),  # what is larger than the image is none
        (((20, 20), (22, 22)), (23, 23), (22, 22)),  # 20 leaves nothing inside twice 10
        (((64, 64), (500, 300)), (500, 300), (500, 300)),
    ],
)
def test_the_listed_size_that_sees_least(listed: tuple, size: tuple, tile: tuple) -> None:
    assert plan_grid(card(10), *size, sizes=InputSizes(listed)).tile == tile


def test_sizes_below_a_range_are_refused() -> None:
    sizes = InputSizes(low=(32, 40), high=(100, 120))
    assert plan_grid(card(1), 32, 40, sizes=sizes).whole
    for size in ((31, 40), (32, 39)):
        with pytest.raises(UserError, match=rf"takes 40x32\.\.120x100, not {size[1]}x{size[0]}"):
            plan_grid(card(1), *size, sizes=sizes)


class Sums(Session):
    """Each output pixel is the sum of the inputs within two pixels: radius 2, scale 2."""

    runtime = "fake"

    def _run(self, x: np.ndarray) -> np.ndarray:
        self.shapes = {*getattr(self, "shapes", ()), x.shape}
        padded = np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2)))
        views = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), (2, 3))
        return views.sum((4, 5)).repeat(2, 2).repeat(2, 3)


@pytest.mark.parametrize("shape", [(1, 3, 37, 61), (2, 3, 40, 24)])
def test_tiles_are_put_where_they_belong(shape: tuple) -> None:
    x = np.random.default_rng(0).integers(0, 99, shape).astype(np.float32)
    session = Sums(card(2), 1)
    grid = plan_grid(session.card, *shape[2:], tile=(20, 16), sizes=ANY)
    assert not grid.whole
    found = run_tiled(session, x, grid)
    assert session.shapes == {(*shape[:2], 20, 16)}
    np.testing.assert_array_equal(found, session.run(x))
    narrow = plan_grid(session.card, *shape[2:], tile=(20, 16), sizes=ANY, overlap=1)
    assert not narrow.exact
    assert (run_tiled(session, x, narrow) != found).any()
    with pytest.raises(ValueError, match=r"a grid for .* cannot cut"):
        run_tiled(session, x[:, :, :-1], grid)
    whole = plan_grid(session.card, *shape[2:])
    np.testing.assert_array_equal(run_tiled(session, x, whole), found)


# Networks


def _pruned(network: Network) -> Network:
    return prune_oneshot(network, PruneOptions(ratio=0.4))[0]


def _noise(network: Network, height: int, width: int) -> np.ndarray:
    shape = (1, network.card.channels, height, width)
    values = np.random.default_rng(0).random(shape) * network.card.value_range
    return values.astype(np.float32)


def _grid(network: Network, height: int, width: int) -> Grid:
    # 160 is MIN_SIDE: smaller inputs may take kernels that round differently.
    return plan_grid(network.card, height, width, tile=(160, 164))


@pytest.mark.parametrize("pruned", [False, True], ids=["dense", "pruned"])
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("arch", SMALL)
def test_tiles_equal_the_whole(arch: str, scale: int, pruned: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = create(arch, scale=scale, **SMALL[arch])
    network = _pruned(network) if pruned else network
    x = _noise(network, 211, 233)
    grid = _grid(network, 211, 233)
    assert len(grid.tiles) == 4
    export_onnx(network, tmp_path / "net.onnx", check=False)
    for source in (network, tmp_path / "net.onnx"):
        with open_session(source) as session:
            np.testing.assert_array_equal(run_tiled(session, x, grid), session.run(x))


def test_one_size_is_tiled_with_the_overlap_that_it_can_bear() -> None:
    sizes = InputSizes(((256, 256),))
    grid = plan_grid(card(147), 600, 500, sizes=sizes)
    assert (grid.tile, grid.overlap, grid.exact) == ((256, 256), 64, False)
    assert plan_grid(card(100), 600, 500, sizes=sizes).exact
    assert plan_grid(card(147), 256, 256, sizes=sizes).whole
    assert plan_grid(card(147), 256, 500, sizes=sizes).overlap == 64
    with pytest.raises(UserError, match="cannot be tiled"):
        plan_grid(card(147), 600, 500, overlap=147, sizes=sizes)
