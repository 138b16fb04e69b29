from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from srdeploy.data.bicubic import imresize
from srdeploy.data.builtin import TRAINING_IMAGES
from srdeploy.data.images import list_images, write_png
from srdeploy.errors import UserError
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.train.cache import LUMA_STEPS
from srdeploy.train.defaults import finetune_defaults
from srdeploy.train.patches import FolderPatches, count_images, held_out_of, turned
from srdeploy.train.recipe import TrainRecipe

Make = Callable[..., TrainRecipe]


def as_images(tensor: torch.Tensor) -> np.ndarray:
    return tensor.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_input_is_the_bicubic_of_the_target_away_from_its_borders(recipe: Make, scale: int) -> None:
    network = create("ledsr", scale=scale, n_blocks=1, n_feats=4)
    source = FolderPatches(network.card, recipe(scales=[scale], patch=11, batch=16))
    batch = source.batch(3)
    # The kernel reaches two input pixels beyond the patch: its rim was made from more image.
    inside = slice(3, -3)
    for low, high in zip(as_images(batch.inputs), as_images(batch.targets), strict=True):
        assert high.shape == (11 * scale, 11 * scale, 3)
        small = imresize(high, 1 / scale)[inside, inside].astype(int)
        # One level: height is rounded before width, and a quarter turn swaps the two.
        assert np.abs(low[inside, inside].astype(int) - small).max() <= 1


def test_upscaled_input_is_aligned_with_its_target(tiny_vdsr: Network, recipe: Make) -> None:
    source = FolderPatches(tiny_vdsr.card, recipe(scales=[2], patch=24, batch=16))
    inputs, targets = source.batch(0).to(torch.device("cpu"))
    assert inputs.shape == targets.shape == (16, 1, 24, 24)

    def difference(dy: int, dx: int) -> float:
        moved = torch.roll(inputs, (dy, dx), (2, 3))
        return float((moved - targets)[:, :, 2:-2, 2:-2].abs().mean())

    best = min((difference(y, x), y, x) for y in (-1, 0, 1) for x in (-1, 0, 1))
    assert best[1:] == (0, 0)
    assert float(targets.min()) > 16 / 255 - 0.1
    assert float(targets.max()) <= 235.1 / 255


def test_same_seed_and_iteration_same_batch(tiny: Network, recipe: Make) -> None:
    first, second = (FolderPatches(tiny.card, recipe(seed=5)) for _ in range(2))
    assert torch.equal(first.batch(7).inputs, second.batch(7).inputs)
    assert torch.equal(first.batch(7).targets, second.batch(7).targets)
    assert not torch.equal(first.batch(7).inputs, first.batch(8).inputs)
    other = FolderPatches(tiny.card, recipe(seed=6))
    assert not torch.equal(first.batch(7).inputs, other.batch(7).inputs)


def test_memory_is_channels_last(tiny: Network, recipe: Make) -> None:
    layout = torch.channels_last
    assert FolderPatches(tiny.card, recipe()).batch(0).inputs.is_contiguous(memory_format=layout)
    plain = FolderPatches(tiny.card, recipe(channels_last=False)).batch(0)
    assert plain.inputs.is_contiguous()


def test_several_scales_are_mixed_within_a_batch(tiny_vdsr: Network, recipe: Make) -> None:
    source = FolderPatches(tiny_vdsr.card, recipe(scales=[2, 4], patch=24, batch=32))
    inputs, targets = source.batch(0).to(torch.device("cpu"))
    error = (inputs - targets).square().mean((1, 2, 3)).sort().values
    assert float(error[-8:].mean()) > 1.5 * float(error[:8].mean())


def test_values_span_the_networks_range(recipe: Make) -> None:
    for value_range in (1.0, 255.0):
        network = create("ledsr", scale=2, n_blocks=1, n_feats=4, value_range=value_range)
        inputs, _ = FolderPatches(network.card, recipe()).batch(0).to(torch.device("cpu"))
        assert 0.5 * value_range < float(inputs.max()) <= value_range


def test_weights_share_out_the_pixels(tiny: Network, recipe: Make, tmp_path: Path) -> None:
    for name, level, size in (("dark", 10, 40), ("bright", 200, 80)):
        write_png(tmp_path / name / "a.png", np.full((size, size, 3), level, np.uint8))
    folders = [{"path": str(tmp_path / "dark"), "weight": 8.0}, str(tmp_path / "bright")]
    source = FolderPatches(tiny.card, recipe(data={"folders": folders}, batch=500))
    dark = float((source.batch(0).targets[:, 0, 0, 0] < 100).float().mean())
    assert dark == pytest.approx(8 * 40**2 / (8 * 40**2 + 80**2), abs=0.06)


def test_small_images_are_left_out_and_counted(
    tiny: Network, recipe: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        FolderPatches(tiny.card, recipe(patch=26)).batch(0)
    assert "2 of 4 training images are smaller than a patch of 26" in caplog.text


def test_no_image_left(tiny: Network, recipe: Make) -> None:
    with pytest.raises(UserError, match="All 4 training images are smaller"):
        FolderPatches(tiny.card, recipe(patch=200))


def test_images_smaller_than_the_scale(recipe: Make, tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", np.zeros((2, 2, 3), np.uint8))
    network = create("ledsr", scale=4, n_blocks=1, n_feats=4)
    with pytest.raises(UserError, match="smaller than a patch"):
        FolderPatches(network.card, recipe(scales=[4], data={"folders": [str(tmp_path)]}))


def test_scale_of_another_network(tiny: Network, recipe: Make) -> None:
    with pytest.raises(UserError, match="upscales by 2"):
        FolderPatches(tiny.card, recipe(scales=[3]))


@pytest.mark.parametrize(("patch", "fitting"), [(20, 24), (7, 16)])
def test_patches_that_the_network_does_not_take(
    tiny: Network, recipe: Make, patch: int, fitting: int
) -> None:
    card = tiny.card.model_copy(update={"size_multiple": 8, "smallest": 15})
    with pytest.raises(UserError, match=f"of {patch} pixels, .* set `patch: {fitting}`"):
        FolderPatches(card, recipe(patch=patch))
    FolderPatches(card, recipe(patch=fitting))
    assert finetune_defaults(card)["patch"] == 48
    assert finetune_defaults(card.model_copy(update={"size_multiple": 10}))["patch"] == 50


def test_eight_turns() -> None:
    square = np.arange(9).reshape(3, 3)
    seen = {turned(square, which).tobytes() for which in range(8)}
    assert len(seen) == 8
    assert np.array_equal(turned(square, 0), square)


def test_without_augmentation_nothing_is_turned(
    tiny_vdsr: Network, recipe: Make, tmp_path: Path
) -> None:
    ramp = np.repeat(np.arange(60, dtype=np.uint8)[:, None], 60, axis=1) * 4
    write_png(tmp_path / "ramp.png", ramp)
    data = {"folders": [str(tmp_path)], "augment": False}
    targets = FolderPatches(tiny_vdsr.card, recipe(data=data, batch=64)).batch(0).targets
    assert bool((targets.diff(dim=2) > 2 * LUMA_STEPS).all())
    assert bool((targets.diff(dim=3) == 0).all())


# Images that are held out


@pytest.mark.parametrize(
    ("counts", "places"),
    [([9], [[]]), ([10], [[5]]), ([20], [[5, 15]]), ([800], [[50 + 100 * k for k in range(8)]]),
     ([4, 6], [[], [1]]), ([12, 12], [[6], [6]]), ([], [])],
)  # fmt: skip
def test_one_in_ten_is_held_out(counts: list[int], places: list[list[int]]) -> None:
    assert held_out_of(counts) == places


@pytest.fixture
def dozen(tmp_path: Path) -> Path:
    """Twelve images of one grey level each, with inputs of another."""
    for number in range(12):
        write_png(tmp_path / "HR" / f"{number}.png", np.full((40, 40, 3), 20 * number, np.uint8))
        low = np.full((20, 20, 3), 20 * number + 1, np.uint8)
        write_png(tmp_path / "LR_bicubic" / "X2" / f"{number}x2.png", low)
    return tmp_path


def test_what_is_held_out_is_measured_and_not_trained_on(
    tiny: Network, recipe: Make, dozen: Path
) -> None:
    folders = {"data": {"folders": [str(dozen)]}}
    whole = FolderPatches(tiny.card, recipe(**folders))
    held = recipe(**folders, validation={"data": "held-out", "every": 1})
    source = FolderPatches(tiny.card, held)
    (pair,) = source.held_out(2)
    assert (pair.name, int(pair.hr()[0, 0, 0]), int(pair.lr()[0, 0, 0])) == ("6", 120, 121)
    seen = {int(v) for i in range(40) for v in source.batch(i).targets[:, 0, 0, 0]}
    assert seen == {20 * number for number in range(12)} - {120}
    assert {int(v) for i in range(40) for v in whole.batch(i).targets[:, 0, 0, 0]} > seen
    assert source.digest != whole.digest
    assert whole.told == f"12 images of {dozen.name}"
    assert source.told == f"11 images of {dozen.name} (1 held out)"
    assert whole.held_out(2) == []


def test_too_few_to_hold_any_out(tiny: Network, recipe: Make) -> None:
    held = recipe(validation={"data": "held-out", "every": 1})
    with pytest.raises(UserError, match=r"Of 4 training images none .* takes 10; name a set"):
        FolderPatches(tiny.card, held)


def test_images_are_counted_where_they_are_trained_on(photographs: Path, dozen: Path) -> None:
    assert count_images([str(photographs), str(dozen)]) == 16
    assert count_images(["builtin"]) == len(list_images(TRAINING_IMAGES))
    with pytest.raises(UserError, match="There is no folder"):
        count_images([str(dozen / "absent")])


def test_several_folders_are_told(tiny: Network, recipe: Make, photographs: Path) -> None:
    folders = ["builtin", str(photographs)]
    told = FolderPatches(tiny.card, recipe(data={"folders": folders})).told
    assert told.endswith(f" images of builtin, 4 images of {photographs.name}")
