"""Tiles of networks that pool over the whole image give what the whole image gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from srdeploy.models.importing.receptive_field import measure_receptive_field
from srdeploy.models.network import Network
from srdeploy.models.pooled import _Given, _means_of, find_pooling
from srdeploy.models.registry import create
from srdeploy.models.smsr.network import SparseMaskModule
from srdeploy.models.whole_means import WholeMeans
from srdeploy.runtime import pixels
from srdeploy.runtime.open import open_session
from srdeploy.runtime.pixels import plan_image, upscale_rgb
from srdeploy.runtime.session import Session
from srdeploy.runtime.sparse_session import SparseSession
from srdeploy.runtime.tiling import GLOBAL_OVERLAP, Grid, Tile
from srdeploy.runtime.torch_session import TorchSession
from srdeploy.runtime.whole_image import Window
from srdeploy.upscaling.image import Upscaler
from srdeploy.video.colour import Colour
from srdeploy.video.frames import FrameFormat, FrameUpscaler
from srdeploy.video.layout import planar
from tests.sparse import nets
from tests.sparse.published import published, set5

LIMIT = 1e-4 * 255


def scene(height: int, width: int) -> NDArray[np.uint8]:
    """Dark and smooth at one end, bright and busy at the other: tiles have means of their own."""
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3))
    ramp = np.linspace(0, 1, width)[None, :, None]
    return (noise * ramp**2 * 0.7 + 70 * ramp).astype(np.uint8)


class Squeezed(nn.Module):
    """A network of somebody's own: pooling to one pixel, and reductions of another spelling."""

    def __init__(self, square: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1)
        self.pool, self.gate = nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1)
        self.square = square

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        y = y * torch.sigmoid(self.gate(self.pool(y)))
        y = y + y.mean([-1, -2], keepdim=True) - y.var((2, 3), correction=0)[..., None, None]
        if self.square:
            y = y + y.amax((2, 3), keepdim=True)
        return nn.functional.pixel_shuffle(self.last(y), 2)


def own(square: bool = False) -> Network:
    card = create("ledsr", n_blocks=1, n_feats=8).card
    return Network(
        Squeezed(square).eval(),
        card.model_copy(update={"arch": "tests:squeezed", "receptive_field": 0}),
    )


def made(arch: str, gain: float = 1.5, **config: object) -> Callable[[Path], Session]:
    def open_it(folder: Path) -> Session:
        torch.manual_seed(0)
        network = create(arch, **config)
        for layer in network.module.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.data *= gain
        attend(network.module)
        return open_session(network)

    return open_it


def attend(module: nn.Module) -> None:
    """Have channel attention say something."""
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d) and "conv_du" in name:
            layer.weight.data *= 12


def smsr(module: nn.Module) -> Network:
    attend(module)
    return Network(module, create("smsr").card)


def compiled(folder: Path) -> Session:
    from srdeploy.runtime.sparse_file import write_model

    write_model(smsr(nets.network()), folder / "net.smsr")
    return open_session(folder / "net.smsr", threads=1)


SESSIONS: dict[str, Callable[[Path], Session]] = {
    "rcan": made("rcan", n_groups=1, n_blocks=3, n_feats=8, reduction=2),
    "imdn": made("imdn", n_blocks=2, n_feats=8, n_distilled=2, reduction=2),
    "realplksr": made("realplksr", 3.0, n_blocks=1, n_feats=8, n_partial=4, side=5, scale=2),
    "smsr": lambda folder: open_session(smsr(nets.network())),
    "smsr, rows": lambda folder: SparseSession(smsr(nets.uneven()), 1, backend="torch"),
    "smsr, compiled rows": lambda folder: open_session(smsr(nets.network()), runtime="sparse"),
    "smsr, C": compiled,
    "own": lambda folder: TorchSession(own()),
}


def alone(session: Session, grid: Grid, window: Window) -> Callable[[Tile], NDArray[np.float32]]:
    """Tiles with means of their own, as runtimes without this have them."""
    return lambda tile: session.run(window(tile.rows, tile.columns))


COMPILED = ("smsr, compiled rows", "smsr, C")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] if n in COMPILED else []) for n in SESSIONS],
)
def test_tiles_are_given_the_means_of_the_whole(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = scene(93, 131)
    with SESSIONS[name](tmp_path) as session:
        pooling = session.pooling
        assert pooling is not None
        if "rows" in name:
            session.engine._form = "rows"  # type: ignore[attr-defined]
            session.engine.costs = None  # type: ignore[attr-defined]
        grid = plan_image(session.card, (93, 131), 2, tile=(84, 84), pooling=pooling)
        assert len(grid.tiles) > 3
        assert grid.exact
        whole = upscale_rgb(session, image, 2)
        tiled = upscale_rgb(session, image, 2, grid)
        assert np.abs(tiled - whole).max() < LIMIT
        monkeypatch.setattr(pixels, "tile_runner", alone)
        assert np.abs(upscale_rgb(session, image, 2, grid) - whole).max() > 4 * LIMIT


def test_both_forms_of_a_module_pool_alike() -> None:
    """A module of one tile may compute everywhere and of the next inside its mask."""
    session = SparseSession(smsr(nets.network()), 1, backend="torch")
    engine, turns = session.engine, iter(range(1000))
    engine._decide = lambda number, inside: ("rows", "dense")[next(turns) % 2]  # type: ignore
    image = scene(93, 131)
    grid = plan_image(session.card, (93, 131), 2, tile=(84, 84), pooling=session.pooling)
    whole = upscale_rgb(session, image, 2)
    assert np.abs(upscale_rgb(session, image, 2, grid) - whole).max() < LIMIT


def test_passes_end_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass for each of few poolings, none beyond its own; of many, until nothing changes."""
    seen: list[tuple[int, int | None]] = []
    run_given = Session.run_given

    def watched(self: Session, x: NDArray[np.float32], means: WholeMeans) -> NDArray[np.float32]:
        seen.append((len(means.given), means.until))
        return run_given(self, x, means)

    monkeypatch.setattr(Session, "run_given", watched)
    with open_session(smsr(nets.network())) as session:
        grid = plan_image(session.card, (64, 96), 2, tile=(64, 72), pooling=session.pooling)
        upscale_rgb(session, scene(64, 96), 2, grid)
        assert sorted(set(seen)) == [(0, 1), (1, 2), (2, None)]
        assert len(seen) == 3 * len(grid.tiles)
    seen.clear()
    with made("rcan", n_groups=1, n_blocks=12, n_feats=4, reduction=2)(Path()) as session:
        grid = plan_image(session.card, (64, 96), 2, tile=(64, 90), pooling=session.pooling)
        image = scene(64, 96)
        tiled = upscale_rgb(session, image, 2, grid)
        assert seen[0] == (0, 12)
        assert seen[-1] == (12, None)
        assert len(seen) < 12 * len(grid.tiles)
        assert np.abs(tiled - upscale_rgb(session, image, 2)).max() < LIMIT


def test_memory_decides_whether_tiles_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the smallest exact tile is too large, tiles have the means and the usual overlap."""
    monkeypatch.setattr(Upscaler, "_left", lambda self: 100e6)
    deep = made("rcan", n_groups=10, n_blocks=8, n_feats=4, reduction=2)
    for opened, overlap, exact in ((SESSIONS["smsr"], 18, True), (deep, GLOBAL_OVERLAP, False)):
        with opened(Path()) as session:
            upscaler = Upscaler(session)
            upscaler._cost = 1000.0
            assert upscaler.plan((300, 300)).whole
            grid = upscaler.plan((900, 900))
            assert (grid.overlap, grid.exact, grid.whole) == (overlap, exact, False)


def test_frames_of_videos_are_given_the_means_too(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = [np.ascontiguousarray(plane) for plane in scene(93, 131).transpose(2, 0, 1)]
    large = FrameFormat.of(planar("gbrp"), Colour(0, 1, 13, True), (186, 262))
    small = FrameFormat.of(planar("gbrp"), Colour(0, 1, 13, True), (93, 131))

    def cut(self: Upscaler, size: tuple[int, int], **more: object) -> Grid:
        return plan_image(session.card, size, 2, tile=(84, 84), pooling=session.pooling)

    with SESSIONS["smsr"](Path()) as session:
        whole = FrameUpscaler(Upscaler(session), small, large)
        monkeypatch.setattr(Upscaler, "plan", cut)
        tiled = FrameUpscaler(Upscaler(session), small, large)
        assert (whole.tiles.whole, tiled.tiles.whole) == (True, False)
        found, expected = (
            one.run(one.prepare([plane.copy() for plane in frame])).pixels for one in (tiled, whole)
        )
    assert np.abs(found - expected).max() < 1e-4


def test_what_is_not_known_is_not_claimed() -> None:
    network = own(square=True)  # its maximum over the image is none of the means
    assert find_pooling(network.module, network.card) is None
    plain = create("ledsr", n_blocks=1, n_feats=8)
    assert find_pooling(plain.module, plain.card) is None
    rfdn = create("rfdn", n_blocks=1, n_feats=8, n_distilled=4, esa_feats=4)
    assert find_pooling(rfdn.module, rfdn.card) is None


@pytest.mark.parametrize("arch", ["rcan", "imdn", "realplksr", "smsr"])
def test_how_far_a_network_looks_is_what_is_measured(
    arch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What classes say, against poisoned pixels. SMSR's masks hide those, and are soft here: then
    they look as far, and NaN comes through.
    """
    config = {
        "rcan": {"n_groups": 2, "n_blocks": 1, "n_feats": 4, "reduction": 2},
        "imdn": {"n_blocks": 2, "n_feats": 8, "n_distilled": 2, "reduction": 2},
        "realplksr": {"n_blocks": 2, "n_feats": 4, "n_partial": 2, "side": 5},
        "smsr": {"n_modules": 2, "n_layers": 2, "n_feats": 4, "mask_feats": 4, "reduction": 2},
    }[arch]
    network = create(arch, **config)
    module = network.module.eval()
    if arch == "smsr":
        monkeypatch.setattr(SparseMaskModule, "mask", soft_mask)
        for one in module.mask_modules():  # type: ignore[operator]
            one.body.ch_mask = nn.ModuleList([AllSparse() for _ in one.body.ch_mask])
    given = _means_of(module, network.card, (24, 26))
    measured = measure_receptive_field(_Given(module, given), 3, 2 if arch == "smsr" else 1)
    assert 0 < measured <= module.pooled_field
    assert module.pooled_field - measured <= (8 if arch == "smsr" else 2)


def soft_mask(
    self: SparseMaskModule, x: torch.Tensor, temperature: float | None = None
) -> torch.Tensor:
    logits = self.spa_mask(x)[..., : x.shape[-2], : x.shape[-1]]
    return torch.sigmoid(logits[:, 1:] - logits[:, :1])


class AllSparse(nn.Module):
    """No channel is computed outside the mask."""

    def forward(self, temperature: float | None = None) -> torch.Tensor:
        return torch.ones(1, 4, 1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["dense", "sparse", "bf16"])
def test_published_weights_in_tiles(form: str, shared_data: Path) -> None:
    network = smsr(published(shared_data, 2))
    options = {"dense": {}, "sparse": {"runtime": "sparse"}}.get(
        form, {"runtime": "sparse", "precision": form}
    )
    image = set5(shared_data, 2)[3][0].permute(1, 2, 0).numpy()
    image = np.concatenate([image, image[::-1] * 0.4], 1)
    with open_session(network, **options) as session:
        grid = plan_image(
            session.card, image.shape[:2], 2, tile=(128, 152), pooling=session.pooling
        )
        assert len(grid.tiles) > 3
        whole = upscale_rgb(session, image, 2)
        apart = np.abs(upscale_rgb(session, image, 2, grid) - whole)
        # In 16 bits sums of means round other features to their neighbours.
        assert apart.max() < LIMIT if form != "bf16" else apart.mean() < LIMIT
