"""Where sparse begins to pay: on times that are given."""

from __future__ import annotations

import copy

import pytest
import torch

from srdeploy.models.smsr.network import SMSR
from srdeploy.sparse.breakeven import crossing, with_density
from srdeploy.sparse.engine import SparseEngine
from tests.sparse import nets


@pytest.mark.parametrize(
    ("dense", "pays"),
    [(3.0, 0.75), (1.5, 0.25), (2.0, 0.5), (1.0, 0.0), (0.9, 0.0), (4.0, 1.0), (9.0, 1.0)],
)
def test_crossing_interpolates(dense: float, pays: float) -> None:
    assert crossing([0.0, 0.5, 1.0], [1.0, 2.0, 4.0], dense) == pytest.approx(pays)


def test_crossing_of_densities_that_begin_anywhere() -> None:
    assert crossing([0.2, 0.4], [1.0, 3.0], 2.0) == pytest.approx(0.3)
    assert crossing([0.0, 1.0], [4.0, 5.0], 3.0) == 0.0


@pytest.mark.parametrize("density", [0.0, 0.13, 0.5, 1.0])
@pytest.mark.parametrize("module", [nets.network(), nets.uneven()], ids=["usual", "uneven"])
def test_masks_get_the_density_that_is_asked_for(module: SMSR, density: float) -> None:
    image = nets.image(24, 26)
    before = copy.deepcopy(module.state_dict())
    engine = SparseEngine(with_density(module, image, density), backend="torch", form="rows")
    engine(image)
    found = [choice.density for choice in engine.choices]
    assert found == pytest.approx([density] * len(found), abs=2 / (24 * 26))
    if density in (0.0, 1.0):
        assert set(found) == {density}
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_the_busiest_pixels_stay_inside() -> None:
    """Of two densities, the larger mask holds the smaller one."""
    image = nets.image(24, 26)
    masks = []
    for density in (0.3, 0.6):
        moved = with_density(nets.network(), image, density)
        first = next(moved.mask_modules())
        with torch.no_grad():
            x = moved.sub_mean(image)
            masks.append(first.mask(moved.head(x)).bool())
    assert bool((masks[1] | ~masks[0]).all())
