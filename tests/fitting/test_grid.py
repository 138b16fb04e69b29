from __future__ import annotations

import pytest

from srdeploy.fitting.grid import block_of, grid_of, sweep_widths


@pytest.mark.parametrize("block", [4, 8, 16, 32])
@pytest.mark.parametrize("widest", [32, 64])
def test_the_block_of_a_device_is_found(block: int, widest: int) -> None:
    times = {w: 1.0 + (-(-w // block) * block) ** 2 / 100 for w in sweep_widths(widest)}
    assert block_of(times) == block


def test_noise_hides_no_block_and_makes_none() -> None:
    noise = [1.02, 0.98, 1.01, 0.99, 1.0, 1.02, 0.99, 1.01]
    padded = {w: n * (-(-w // 16) * 16) for w, n in zip(sweep_widths(64), noise, strict=True)}
    smooth = {w: n * w for w, n in zip(sweep_widths(64), noise, strict=True)}
    assert (block_of(padded), block_of(smooth)) == (16, 4)


def test_grids_hold_both_ends_in_blocks() -> None:
    assert grid_of(64, 16) == (16, 32, 48, 64)
    assert grid_of(60, 16) == (16, 32, 48, 64)
    wide = grid_of(256, 8)
    assert (len(wide), wide[0], wide[-1]) == (5, 8, 256)
    assert grid_of(12, 16) == (16,)
