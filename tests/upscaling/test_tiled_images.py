"""Pictures in tiles equal whole ones; what becomes of channels, bits and memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from srdeploy.compacting.run import prune_oneshot
from srdeploy.data.bicubic import imresize, imresize_part
from srdeploy.data.images import rgb_to_ycbcr, to_uint8
from srdeploy.data.picture import Picture
from srdeploy.errors import UserError
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.models.load import load_network
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.models.store import save_network
from srdeploy.pruning.options import PruneOptions
from srdeploy.runtime.open import open_session
from srdeploy.runtime.pixels import plan_image, upscale_rgb
from srdeploy.runtime.session import Session
from srdeploy.runtime.tiling import Grid
from srdeploy.runtime.torch_session import TorchSession
from srdeploy.upscaling.image import Upscaler, upscale_array, with_hidden_filled

SMALL = {
    "edsr": {"n_blocks": 1, "n_feats": 8},
    "ledsr": {"n_blocks": 2, "n_feats": 8},
    "rirsr": {"n_groups": 1, "n_blocks": 1, "n_feats": 8},
    "vdsr": {"n_layers": 4, "n_feats": 8},
}


def noise(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    top = np.iinfo(dtype).max
    return np.random.default_rng(0).integers(0, top, shape, dtype=dtype, endpoint=True)


def tiles(session: Session, size: tuple[int, int], scale: int) -> Grid:
    """Four tiles, of at least the sides from which kernels round alike."""
    return plan_image(session.card, size, scale, tile=(165, 170), sizes=session.sizes)


@pytest.mark.parametrize("scale", [2, 3])
def test_parts_of_a_resized_image_are_bit_equal(scale: int) -> None:
    image = noise(23, 31, 3).astype(np.float64) / 7
    whole = imresize(image, scale)

    def read(rows: slice, columns: slice) -> np.ndarray:
        return image[rows, columns]

    for rows, columns in (
        (slice(0, 5), slice(0, 93 // 3)),
        (slice(7, 8), slice(11, 40)),
        (slice(40, 23 * scale), slice(60, 31 * scale)),
    ):
        part = imresize_part(read, (23, 31), scale, rows, columns)
        np.testing.assert_array_equal(part, whole[rows, columns])
    flat = imresize_part(lambda y, x: image[y, x, 0], (23, 31), scale, slice(3, 9), slice(0, 4))
    np.testing.assert_array_equal(flat, whole[3:9, 0:4, 0])


@pytest.mark.parametrize("pruned", [False, True], ids=["dense", "pruned"])
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("arch", SMALL)
def test_tiled_pictures_equal_whole_ones(
    arch: str, scale: int, pruned: bool, tmp_path: Path
) -> None:
    """Bit for bit in float, so in every number of bits: odd sizes, every border, colour too."""
    torch.manual_seed(0)
    network = create(arch, scale=scale, **SMALL[arch])
    if pruned:
        network, _ = prune_oneshot(network, PruneOptions(ratio=0.4))
    image = noise(171, 203, 3)
    export_onnx(network, tmp_path / "net.onnx", check=False)
    for source in (network, tmp_path / "net.onnx"):
        with open_session(source) as session:
            grid = tiles(session, (171, 203), scale)
            assert len(grid.tiles) >= 2
            assert grid.exact
            np.testing.assert_array_equal(
                upscale_rgb(session, image, scale, grid), upscale_rgb(session, image, scale)
            )


class Pooling(torch.nn.Module):
    """Works on a grid of two pixels that starts at the corner."""

    size_multiple = 2

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 12, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.nn.functional.avg_pool2d(self.conv(x), 2)
        return torch.nn.functional.pixel_shuffle(
            torch.nn.functional.interpolate(x, scale_factor=2, mode="nearest"), 2
        )


def pooling() -> Network:
    card = create("ledsr", n_blocks=1, n_feats=8).card
    update = {"arch": "tests:pooling", "size_multiple": 2, "receptive_field": 7}
    return Network(Pooling().eval(), card.model_copy(update=update))


def test_tiles_keep_the_places_of_a_pooled_grid() -> None:
    with open_session(pooling()) as session:
        image = noise(171, 205, 3)
        grid = plan_image(session.card, (171, 205), 2, tile=(166, 166))
        assert grid.height % 2 == grid.width % 2 == 0
        whole = upscale_rgb(session, image, 2)
        assert whole.shape == (342, 410, 3)
        np.testing.assert_array_equal(upscale_rgb(session, image, 2, grid), whole)


def test_artifacts_of_one_size_take_any_picture(tmp_path: Path) -> None:
    """Larger pictures exactly, smaller ones with mirrored borders, and that is said."""
    import onnx

    network = create("ledsr", n_blocks=1, n_feats=8)
    export_onnx(network, tmp_path / "any.onnx", check=False)
    model = onnx.load(tmp_path / "any.onnx")
    dims = model.graph.input[0].type.tensor_type.shape.dim
    for dim, value in zip(dims, (1, 3, 48, 64), strict=True):
        dim.dim_value = value
    onnx.save(model, tmp_path / "fixed.onnx")
    with open_session(network) as whole, open_session(tmp_path / "fixed.onnx") as fixed:
        for size in ((101, 131), (48, 64), (47, 200)):
            image = noise(*size, 3)
            grid = plan_image(fixed.card, size, 2, sizes=fixed.sizes)
            assert grid.exact == (size[0] >= 48)
            found, expected = upscale_rgb(fixed, image, 2, grid), upscale_rgb(whole, image, 2)
            assert found.shape == expected.shape
            inside = slice(0, None) if grid.exact else slice(0, -16)
            np.testing.assert_allclose(found[inside], expected[inside], atol=1e-3)


# Pictures


@pytest.fixture(scope="module")
def session() -> Session:
    torch.manual_seed(0)
    return open_session(create("ledsr", n_blocks=1, n_feats=8))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
def test_channels_and_bits_stay(session: Session, channels: int | None, dtype: type) -> None:
    pixels = noise(13, 17, *([] if channels is None else [channels]), dtype=dtype)
    found = upscale_array(session, pixels)
    assert found.dtype == dtype
    assert found.shape == (26, 34, *pixels.shape[2:])


def test_sixteen_bits_are_used(session: Session) -> None:
    pixels = noise(13, 17, 3, dtype=np.uint16)
    found = upscale_array(session, pixels) / 257.0
    expected = upscale_rgb(session, pixels / 257.0, 2).clip(0, 255)
    np.testing.assert_allclose(found, expected, atol=0.5 / 257 + 1e-9)


def test_grey_stays_grey() -> None:
    with open_session("edsr-s-x2") as shipped:
        pixels = np.clip(noise(5, 6).repeat(6, 0).repeat(6, 1), 40, 200)
        found = upscale_array(shipped, pixels)
        rgb = to_uint8(upscale_rgb(shipped, np.repeat(pixels[..., None], 3, 2), 2))
    assert found.shape == (60, 72)
    assert np.abs(found.astype(int) - rgb.mean(axis=2)).max() < 3


def test_alpha_is_upscaled(session: Session) -> None:
    pixels = noise(13, 17, 4)
    found = upscale_array(session, pixels)
    np.testing.assert_array_equal(
        found[..., 3], to_uint8(imresize(pixels[..., 3].astype(float), 2))
    )


def test_hidden_colours_do_not_bleed() -> None:
    colour = np.full((20, 20, 3), 200, np.uint8)
    alpha = np.full((20, 20), 255, np.uint8)
    colour[:, 10:], alpha[:, 10:] = 0, 0
    filled = with_hidden_filled(colour, alpha)
    assert (filled[:, 10:18] == 200).all()
    assert (filled[:, 18:] == 0).all()
    with open_session("bicubic") as bicubic:
        found = upscale_array(bicubic, np.dstack([colour, alpha]), 2)
    assert (found[..., :3][found[..., 3] > 0] == 200).all()
    assert with_hidden_filled(colour, np.zeros_like(alpha)) is colour


def test_hidden_colours_are_replaced_alike_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a large picture takes no more memory than a copy of it."""
    colour = noise(40, 37, 3, dtype=np.uint16)
    alpha = noise(40, 37) * (noise(40, 37) > 220)
    whole = with_hidden_filled(colour, alpha)
    monkeypatch.setattr("srdeploy.upscaling.image._AT_ONCE", 1)
    assert (with_hidden_filled(colour, alpha) == whole).all()
    assert (whole != colour).any()


def test_luma_networks_get_colour_back() -> None:
    torch.manual_seed(0)
    with open_session(create("vdsr", n_layers=4, n_feats=8)) as luma:
        pixels = np.clip(noise(15, 18, 3), 90, 160)
        found = rgb_to_ycbcr(upscale_rgb(luma, pixels, 3))
        expected = imresize(rgb_to_ycbcr(pixels)[..., 1:], 3)
    np.testing.assert_allclose(found[..., 1:], expected, atol=1e-9)


def test_what_is_no_picture(session: Session) -> None:
    with pytest.raises(ValueError, match="uint8 or uint16"):
        upscale_array(session, np.zeros((4, 4, 3)))
    with pytest.raises(ValueError, match="1 to 4 channels"):
        upscale_array(session, np.zeros((4, 4, 5), np.uint8))
    with pytest.raises(UserError, match="not by x3"):
        upscale_array(session, np.zeros((4, 4), np.uint8), 3)


# Memory


def test_memory_decides_the_tiles(session: Session) -> None:
    size = (3000, 2000)
    large = Upscaler(session, memory=60_000_000_000).plan(size)
    assert large.whole
    from srdeploy.runtime.footprint import resident

    held = resident() or 0
    small = Upscaler(session, memory=held + 400_000_000).plan(size)
    smaller = Upscaler(session, memory=held + 150_000_000).plan(size)
    assert 1 < len(small.tiles) < len(smaller.tiles)
    assert small.exact
    with pytest.raises(UserError, match=r"too little for this picture .* --memory \d"):
        Upscaler(session, memory=held + 1_000_000).plan(size)


TILES = """
import sys
import numpy as np
from srdeploy.runtime import footprint
from srdeploy.runtime.open import open_session

with open_session(sys.argv[1], threads=1) as session:
    freed = [np.ones(1 << 13) for _ in range(4000)]  # 260 MB on the heap, as reading pictures
    kept = np.ones(1 << 13)  # leaves behind
    del freed
    cost = footprint.bytes_per_pixel(session)
    before = footprint._reset_peak()
    for _ in range(3):
        session.run(np.zeros((1, 3, 500, 480), np.float32))
    print(0 if before is None else (footprint.peak() - before) / (cost * 500 * 480))
"""


@pytest.mark.parametrize("ending", ["safetensors", "onnx"])
def test_tile_after_tile_stays_within_the_estimate(ending: str, tmp_path: Path) -> None:
    """In a fresh process: memory that others freed would be used again."""
    network = create("ledsr", n_blocks=2, n_feats=48)
    path = tmp_path / f"net.{ending}"
    if ending == "onnx":
        export_onnx(network, path, check=False)
    else:
        save_network(network, path)
    command = [sys.executable, "-c", TILES, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert float(done.stdout) < 1.1


def test_bands_come_from_top_to_bottom(session: Session) -> None:
    picture = Picture(noise(400, 180, 3))
    upscaler = Upscaler(session)
    grid = plan_image(session.card, picture.size, 2, tile=(170, 180))
    bands = list(upscaler.bands(picture, np.uint8, grid))
    assert len(bands) > 2
    whole = plan_image(session.card, picture.size, 2, tile=(400, 180))
    (picture_at_once,) = upscaler.bands(picture, np.uint8, whole)
    np.testing.assert_array_equal(np.concatenate(bands), picture_at_once)


# Published networks


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_vdsr_as_published(shared_data: Path, scale: int) -> None:
    network = load_network(shared_data / "weights" / "vdsr" / "model_epoch_50.pth", scale=scale)
    with open_session(network) as vdsr:
        image = noise(121, 143, 3)
        grid = plan_image(vdsr.card, (121, 143), scale, tile=(200, 220))
        assert len(grid.tiles) > 1
        np.testing.assert_array_equal(
            upscale_rgb(vdsr, image, scale, grid), upscale_rgb(vdsr, image, scale)
        )


# SMSR: its channel attention pools over the whole picture


def test_without_its_means_smsr_is_tiled_but_says_it_is_not_exact() -> None:
    torch.manual_seed(0)
    network = create("smsr", scale=2, n_modules=2, n_layers=2, n_feats=16)
    with open_session(network) as smsr:
        assert smsr.card.receptive_field == 0
        image = noise(181, 223, 3)
        grid = plan_image(smsr.card, (181, 223), 2, tile=(176, 176), overlap=16)
        assert not grid.exact
        assert all(tile.rows.start % 2 == tile.columns.start % 2 == 0 for tile in grid.tiles)
        assert upscale_rgb(smsr, image, 2, grid).shape == (362, 446, 3)


class Constant(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.full_like(x, 0.5)


def test_only_its_pooling_keeps_smsr_from_being_exact() -> None:
    """With the attention held constant, masks and all, tiles equal the whole."""
    torch.manual_seed(0)
    network = create("smsr", scale=2, n_modules=2, n_layers=2, n_feats=16)
    for module in network.module.modules():
        if hasattr(module, "conv_du"):
            module.conv_du = Constant()
    image = to_uint8(imresize(noise(25, 29, 3).astype(float), size=(215, 223)))
    with TorchSession(network) as smsr:
        grid = plan_image(smsr.card, (215, 223), 2, tile=(199, 207), overlap=64)
        assert len(grid.tiles) > 1
        tiled, whole = upscale_rgb(smsr, image, 2, grid), upscale_rgb(smsr, image, 2)
    np.testing.assert_array_equal(tiled, whole)
