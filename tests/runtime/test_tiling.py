"""Tiles give what the whole gives: the geometry by property, the networks one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from srdeploy.compact.run import prune_oneshot
from srdeploy.errors import UserError
from srdeploy.export.run import export
from srdeploy.models.card import Card
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.prune.options import PruneOptions
from srdeploy.runtime.open import open_session
from srdeploy.runtime.sizes import InputSizes
from srdeploy.runtime.tiling import GLOBAL_OVERLAP, Grid, plan_grid, run_tiled

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
    export(network, "onnx", tmp_path / "net.onnx")
    for source in (network, tmp_path / "net.onnx"):
        with open_session(source) as session:
            np.testing.assert_array_equal(run_tiled(session, x, grid), session.run(x))
