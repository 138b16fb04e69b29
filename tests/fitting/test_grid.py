from __future__ import annotations

import random

import pytest

from srdeploy.fitting.grid import block_of, filled, grid_of, sweep_widths


@pytest.mark.parametrize("block", [4, 8, 16, 32])
@pytest.mark.parametrize("widest", [32, 64])
def test_the_block_of_a_device_is_found(block: int, widest: int) -> None:
    times = {w: 1.0 + (-(-w // block) * block) ** 2 / 100 for w in sweep_widths(widest)}
    assert block_of(times) == block


def test_noise_hides_no_block_and_makes_none() -> None:
    drawn = random.Random(3)
    for _ in range(50):
        noise = {w: drawn.gauss(1, 0.01) for w in sweep_widths(64)}
        padded = {w: n * (-(-w // 16) * 16) for w, n in noise.items()}
        smooth = {w: n * w for w, n in noise.items()}
        assert block_of(padded) == 16
        assert block_of(smooth) <= 8


def test_widths_between_blocks_that_gain_a_little_make_no_smaller_block() -> None:
    """A processor that leaves its fast path there: convolutions of 16 in onnxruntime, fp32."""
    measured = {4: 7.8, 8: 10.8, 12: 12.8, 16: 11.3, 20: 27.5, 24: 26.9, 28: 27.2, 32: 30.1}
    assert block_of(measured) == 16


def test_grids_hold_both_ends_in_blocks_and_half_of_one() -> None:
    assert grid_of(64, 16) == (8, 16, 32, 48, 64)
    assert grid_of(60, 16) == (8, 16, 32, 48, 64)
    wide = grid_of(256, 8)
    assert (len(wide), wide[0], wide[-1]) == (6, 4, 256)
    assert grid_of(12, 16) == (8, 16)
    assert grid_of(12, 4) == (4, 8, 12)
    assert [filled(width, 16) for width in (0, 1, 8, 9, 16, 17)] == [0, 8, 8, 16, 16, 32]
    assert [filled(width, 4) for width in (1, 4, 5)] == [4, 4, 8]
