"""How far a foreign network looks is measured: exactly, or not claimed at all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srdeploy.models.importing.receptive_field import measure_receptive_field
from srdeploy.models.importing.state_dict import StateDict
from srdeploy.models.importing.user_module import load_user_network
from srdeploy.models.registry import create
from srdeploy.runtime.open import open_session
from srdeploy.runtime.pixels import plan_image, upscale_rgb


class Body(nn.Module):
    """3x3, then what is being tried, then x2."""

    def __init__(self, middle: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 12, 3, padding=1)
        self.middle = middle

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.middle(self.first(x)), 2)


@pytest.mark.parametrize(
    ("arch", "config"),
    [
        ("edsr", {"n_blocks": 2, "n_feats": 4}),
        ("rirsr", {"n_groups": 4, "n_blocks": 8, "n_feats": 4}),  # beyond the shortest strip
        ("vdsr", {"n_layers": 5, "n_feats": 4}),
        ("smsr", {}),
    ],
)
def test_as_the_cards_say(arch: str, config: dict[str, int]) -> None:
    card = (network := create(arch, **config)).card
    assert measure_receptive_field(network.module, card.channels, 1) == card.receptive_field


def pooled(x: Tensor) -> Tensor:
    return F.interpolate(F.avg_pool2d(x, 4), scale_factor=4, mode="nearest")


def gated(x: Tensor) -> Tensor:
    return x * torch.sigmoid(F.avg_pool2d(x, 5, stride=1, padding=2))


def windowed(x: Tensor) -> Tensor:
    """Means of windows of 4x4, the last ones filled by reflection."""
    height, width = x.shape[2:]
    filled = F.pad(x, (0, -width % 4, 0, -height % 4), "reflect")
    return pooled(filled)[..., :height, :width]


TRIED = {
    "nothing": (lambda x: x, 1, 3),
    "dead": (lambda x: F.relu(x - 1e6), 1, 3),
    "zero weights": (
        lambda x: F.conv2d(x, torch.zeros(12, 1, 5, 5).double(), padding=2, groups=12), 1, 7
    ),
    "wide": (lambda x: F.max_pool2d(x, 101, stride=1, padding=50), 1, 103),
    "along one side": (lambda x: F.avg_pool2d(x, (1, 9), stride=1, padding=(0, 4)), 1, 11),
    "to the left": (lambda x: x + F.pad(x, (4, 0))[..., :-4], 1, 11),
    "to the right": (lambda x: x + F.pad(x, (0, 4))[..., 4:], 1, 11),
    "gated": (gated, 1, 7),
    "grid of four": (pooled, 4, 9),
    "windows of its own": (windowed, 1, 0),
    "windows on its grid": (windowed, 4, 9),
    "stretched to the size": (
        lambda x: F.interpolate(x, x.shape[2:], mode="bilinear", align_corners=True), 1, 3
    ),
    "global": (lambda x: x * x.mean((2, 3), keepdim=True), 1, 0),
    "compared": (lambda x: x * (x > 0), 1, 0),
    "ordered": (lambda x: x.sort(1)[0], 1, 0),
    "python": (lambda x: x * float(x.abs().max()), 1, 0),
    "float32 only": (lambda x: x.float(), 1, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", TRIED)
def test_what_it_makes_of(name: str) -> None:
    middle, multiple, expected = TRIED[name]
    assert measure_receptive_field(Body(middle).eval(), 3, multiple) == expected


ACTIVATIONS = [
    getattr(nn, name)()
    for name in (
        *("ReLU", "ReLU6", "LeakyReLU", "PReLU", "ELU", "SELU", "CELU", "GELU", "SiLU", "Mish"),
        *("Hardtanh", "Hardswish", "Hardsigmoid", "Softplus", "Softsign", "Tanh", "Sigmoid"),
        *("Tanhshrink", "LogSigmoid", "Softshrink", "Hardshrink"),
    )
]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: type(a).__name__)
def test_no_activation_hides_anything_unnoticed(activation: nn.Module) -> None:
    body = Body(lambda x: F.avg_pool2d(activation(x), 3, stride=1, padding=1))
    if isinstance(activation, nn.PReLU):
        activation.double()
    assert measure_receptive_field(body.eval(), 3, 1) in (0, 5)


class Own(nn.Module):
    """A network of somebody's: nothing is stated."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=2, dilation=2), nn.BatchNorm2d(8), nn.PReLU(),
            nn.AvgPool2d(2), nn.Conv2d(8, 8, 5, padding=2), nn.GELU(), nn.Upsample(scale_factor=2),
            nn.Conv2d(8, 12, 3, padding=1), nn.PixelShuffle(2),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + F.interpolate(x, scale_factor=2, mode="bilinear")


def test_ones_own_network_is_tiled_exactly() -> None:
    torch.manual_seed(0)
    network, _ = load_user_network(StateDict(Own().state_dict()), f"{__name__}:Own", "own.pt")
    assert network.card.size_multiple == 2
    image = np.random.default_rng(0).integers(0, 256, (171, 205, 3), dtype=np.uint8)
    with open_session(network) as session:
        grid = plan_image(session.card, (171, 205), 2, tile=(166, 166))
        assert len(grid.tiles) == 4
        assert grid.exact
        whole = upscale_rgb(session, image, 2)
        # To rounding: torch's bilinear kernel is one of those that round by the image's size.
        np.testing.assert_allclose(upscale_rgb(session, image, 2, grid), whole, atol=1e-4)
