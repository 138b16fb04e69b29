"""The value range goes into the convolutions, and the network stays what it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srdeploy.exporting.range_folding import change_range, fold_range
from srdeploy.models.card import Card
from srdeploy.models.network import Network
from srdeploy.models.registry import create

ZOO: list[tuple[str, dict[str, Any]]] = [
    ("edsr", {"scale": 3, "n_blocks": 2, "n_feats": 8, "res_scale": 0.1}),
    ("edsr", {"scale": 4, "n_blocks": 1, "n_feats": 8, "mean_shift": False}),
    ("ledsr", {"scale": 2, "n_blocks": 1, "n_feats": 8}),
    ("ledsr", {"scale": 3, "n_blocks": 1, "n_feats": 8, "mean_shift": False}),
    ("rirsr", {"scale": 2, "n_groups": 2, "n_blocks": 1, "n_feats": 8}),
]


def own(module: nn.Module, value_range: float = 255.0) -> Network:
    card = Card(arch="tests:own", scale=1, scales=(1,), channels=3, value_range=value_range)
    return Network(module.eval(), card)


def image(network: Network) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (2, network.card.channels, 20, 13)
    return torch.rand(shape, generator=generator) * network.card.value_range


def largest_activation(network: Network) -> float:
    """Among the outputs of all convolutions but the last."""
    convs = [m for m in network.module.modules() if isinstance(m, nn.Conv2d)]
    seen: list[float] = []
    for conv in convs[:-1]:
        conv.register_forward_hook(lambda _, __, y: seen.append(float(y.abs().max())))
    with torch.no_grad():
        network.module(image(network))
    return max(seen)


@pytest.mark.parametrize(("arch", "config"), ZOO)
def test_same_bits_and_small_activations(arch: str, config: dict[str, Any]) -> None:
    network = create(arch, **config)
    if network.card.mean_shift is None:  # otherwise the last layer in the list restores the range
        assert largest_activation(network.copy()) > 10
    before = {k: v.clone() for k, v in network.module.state_dict().items()}
    folded = fold_range(network)
    assert folded
    assert (folded.max_difference, folded.pinned) == (0.0, [])
    if network.card.mean_shift is not None:
        assert folded.factor == 1 / 256
    else:  # the first weights meet the image themselves: float16 could not hold them any smaller
        assert 1 / 64 <= folded.factor <= 1 / 8
    assert folded.network.card == network.card
    with torch.no_grad():
        for dtype in (torch.float32, torch.float64):
            a, b = network.copy().module.to(dtype), folded.network.copy().module.to(dtype)
            x = image(network).to(dtype)
            assert torch.equal(a(x), b(x))
    for name, value in network.module.state_dict().items():
        assert torch.equal(value, before[name])
    if network.card.mean_shift is None:
        before_fold = largest_activation(network.copy())
        assert largest_activation(folded.network) == before_fold * folded.factor


def test_weights_change_at_the_ends_only() -> None:
    network = create("ledsr", scale=2, n_blocks=2, n_feats=8, mean_shift=False)
    found = fold_range(network)
    folded, k = found.network.module.state_dict(), found.factor
    for name, value in network.module.state_dict().items():
        factor = {"head.0.weight": k, "tail.0.weight": 1 / k, "tail.0.bias": 1}.get(name)
        if factor is None:
            factor = 1 if name.endswith("weight") else k
        assert torch.equal(folded[name], value * factor), name


def flushed(network: Network) -> Network:
    """As hardware without subnormal float16 numbers would hold it."""
    copied = network.copy()
    with torch.no_grad():
        for parameter in copied.module.parameters():
            parameter[parameter.abs() < 2**-14] = 0
    return copied


def test_hardware_that_flushes_small_numbers_does_no_harm() -> None:
    network = create("ledsr", scale=2, n_blocks=2, n_feats=16, mean_shift=False)
    x = image(network)
    with torch.no_grad():
        y = network.module(x)
        safe = (flushed(fold_range(network).network).module(x) - y).abs().max()
        smaller = fold_range(network).network
        factor = 1 / 256 / fold_range(network).factor
        smaller.module.get_parameter("head.0.weight").mul_(factor)
        smaller.module.get_parameter("head.0.bias").mul_(factor)
        reference = smaller.module(x)
        unsafe = (flushed(smaller).module(x) - reference).abs().max() / factor
    assert safe < 0.2  # of 255
    assert unsafe > 5 * safe


def test_weights_that_cannot_be_scaled_at_all() -> None:
    network = create("ledsr", scale=2, n_blocks=1, n_feats=8, mean_shift=False)
    with torch.no_grad():
        network.module.get_parameter("head.0.weight").mul_(2**-8)
    assert "too small for float16" in fold_range(network).note()


def test_nothing_to_do_and_range_one() -> None:
    vdsr = create("vdsr", n_layers=3, n_feats=4)
    untouched = fold_range(vdsr)
    assert not untouched
    assert untouched.network is vdsr
    assert "run to 1 already" in untouched.note()
    assert not change_range(vdsr, 1.0)


def test_both_ends_bear_a_change_of_range_for_halves() -> None:
    network = own(nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.ReLU(), nn.Conv2d(8, 3, 3, 1, 1)))
    with torch.no_grad():
        network.module.get_parameter("2.weight").mul_(2**-3)
    for halves, lost in ((False, True), (True, False)):
        changed = change_range(network, 1.0, halves=halves)
        ends = [changed.network.module.get_parameter(f"{end}.weight") for end in changed.layers]
        share = max(float((one[one != 0].abs() < 2**-14).float().mean()) for one in ends)
        assert changed.max_difference < 1e-12
        assert (share > 0.5) == lost


def test_change_of_range_with_a_skip_around_everything() -> None:
    vdsr = create("vdsr", n_layers=4, n_feats=8, bias=True)
    pixels = change_range(vdsr, 255.0)
    assert pixels.network.card.value_range == 255
    assert pixels.max_difference < 1e-12
    assert pixels.layers == ["input", "output"]
    x = image(vdsr)
    with torch.no_grad():
        y = pixels.network.module(x * 255)
        torch.testing.assert_close(y, vdsr.module(x) * 255, rtol=1e-5, atol=1e-3)


class Attention(nn.Module):
    """Squeeze and excitation between two convolutions, a global skip around all."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)
        self.down, self.up = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.head(x), 0.1)
        squeezed = F.relu(self.down(F.adaptive_avg_pool2d(y, 1)))
        return x + self.tail(y * torch.sigmoid(self.up(squeezed)) + y)


def test_attention_keeps_its_own_range() -> None:
    network = own(Attention())
    folded = fold_range(network)
    assert folded.pinned == ["sigmoid"]
    assert folded.max_difference == 0
    assert set(folded.layers) == {"head", "tail", "up", "down"}
    # the layer before the sigmoid must undo the factor, or the attention would be another one
    up = folded.network.module.get_parameter("up.weight")
    assert torch.equal(up, network.module.get_parameter("up.weight") / folded.factor)
    assert "around sigmoid" in folded.note()


class Shared(nn.Module):
    """One convolution used twice, once on the image itself."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.conv(F.relu(self.conv(x))))


def test_a_layer_used_twice_keeps_one_weight() -> None:
    network = own(Shared())
    folded = fold_range(network)
    assert folded.max_difference == 0
    assert not folded  # its input is the image, so its output must have the image's range
    assert "no convolution separates" in folded.note()


class Constant(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.head, self.tail = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 3, 1)
        self.shift = nn.Buffer(torch.rand(4, 1, 1))
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        y = self.head(x)
        y = {
            "number": lambda: y + 0.5,
            "buffer": lambda: y - self.shift,
            "maximum": lambda: torch.maximum(y, self.shift),
            "setitem": lambda: _set(y),
            "pad": lambda: F.pad(y, (1, 1, 1, 1), value=3.0)[..., :-2, :-2],
            "square": lambda: y * y,
            "weights": lambda: F.conv2d(y, torch.eye(4)[:, :, None, None] * 2),
        }[self.how]()
        return self.tail(y)


def _set(y: Tensor) -> Tensor:
    y[..., 0] = 7.0
    return y


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ("number", "add"),
        ("buffer", "sub"),
        ("maximum", "maximum"),
        ("setitem", "__setitem__"),
        ("pad", "pad"),
        ("square", "a product of two images"),
        ("weights", "computed weights"),
    ],
)
def test_what_does_not_let_factors_through_is_left_alone(how: str, named: str) -> None:
    folded = fold_range(own(Constant(how)))
    assert not folded
    assert named in " ".join(folded.pinned)
    assert folded.max_difference == 0


def test_harmless_operations_let_factors_through() -> None:
    class Harmless(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.tail = nn.Conv2d(3, 12, 1), nn.Conv2d(3, 3, 1)
            self.slope = nn.PReLU(12)
            self.gain = nn.Buffer(torch.rand(12, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            y = self.slope(self.head(x)) * self.gain / 3
            a, b = F.pad(y, (1, 0, 1, 0)).chunk(2, dim=1)
            y = F.pixel_shuffle(torch.cat([b, a], dim=1) + 0, 2)[..., :-2, :-2]
            return self.tail(F.avg_pool2d(F.interpolate(y, scale_factor=2), 4))

    folded = fold_range(own(Harmless()))
    assert folded.layers == ["head", "tail"]
    assert folded.pinned == []
    assert folded.max_difference == 0


def test_an_end_that_is_pinned_cannot_change_its_range() -> None:
    class Clamped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x).clamp(0, 1)

    network = own(Clamped(), value_range=1.0)
    kept = change_range(network, 255.0)
    assert not kept
    assert kept.network is network
    assert "meets clamp before any convolution" in kept.note()
