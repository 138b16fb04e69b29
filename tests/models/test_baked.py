"""Weights that a network's own code computes: plain layers after import, to the bit, and pruned."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srdeploy.compacting.surgery import compact
from srdeploy.errors import UserError
from srdeploy.models.baked import bake
from srdeploy.models.computed import Computed, ComputedLayer, ComputedPart
from srdeploy.models.importing.live_module import wrap
from srdeploy.models.importing.state_dict import StateDict
from srdeploy.models.importing.user_module import load_user_network
from srdeploy.models.store import read_network, save_network
from srdeploy.pruning.tracing.groups import find_groups
from tests.pruning.helpers import changed_by_hand, group_with, random_plan

C = 8


class SumOfKernels(nn.Module):
    """A 3x3, a padded 1x1 and an identity (RepVGG); in training side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.thin = nn.Conv2d(C, C, 3, padding=1), nn.Conv2d(C, C, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return self.wide(x) + self.thin(x) + x
        kernel = self.wide.weight + F.pad(self.thin.weight, (1, 1, 1, 1))
        kernel = kernel + F.pad(torch.eye(C)[:, :, None, None], (1, 1, 1, 1))
        return F.conv2d(x, kernel, self.wide.bias + self.thin.bias, padding=1)


class Activated(SumOfKernels):
    """The same, with an activation and a shortcut in the same code."""

    def forward(self, x: Tensor) -> Tensor:
        return x + F.leaky_relu(super().forward(x), 0.1)


class Standardised(nn.Conv2d):
    """Weight standardisation (Qiao et al., 2019)."""

    def __init__(self) -> None:
        super().__init__(C, C, 3, padding=1, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = weight / (weight.std((1, 2, 3), keepdim=True) + 1e-5)
        return self._conv_forward(x, weight, self.bias)


class Scaled(nn.Module):
    """A kernel scaled by a learned vector; the scale is exponential."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(C, C, 3, 3) / 9)
        self.gain, self.bias = nn.Parameter(torch.zeros(C)), nn.Parameter(torch.ones(C) / 9)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (1, 1, 1, 1))
        return F.conv2d(x, self.kernel * self.gain.exp()[:, None, None, None], self.bias)


class Fused(nn.Module):
    """Batch normalisation folded at every run, and two calls."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(C, 2 * C, 1, bias=False), nn.BatchNorm2d(2 * C)
        self.last = nn.Parameter(torch.randn(C, 2 * C) / 4)
        nn.init.uniform_(self.norm.running_var, 1, 2)
        nn.init.normal_(self.norm.running_mean)

    def forward(self, x: Tensor) -> Tensor:
        gain = self.norm.weight * torch.rsqrt(self.norm.running_var + self.norm.eps)
        weight = self.conv.weight * gain[:, None, None, None]
        y = F.relu(F.conv2d(x, weight, self.norm.bias - self.norm.running_mean * gain))
        return F.linear(y.permute(0, 2, 3, 1), self.last / 2).permute(0, 3, 1, 2)


class Written(nn.Module):
    """Writes what it computed into a convolution (Conv3XC of SPAN, 2024)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(C, 2 * C, 1), nn.Conv2d(2 * C, C, 3, padding=1)
        self.plain = nn.Conv2d(C, C, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        one, three = self.first.weight.data, self.second.weight.data.clone().detach()
        weight = F.conv2d(one.flip(2, 3).permute(1, 0, 2, 3), three, padding=2).flip(2, 3)
        self.plain.weight.data = weight.permute(1, 0, 2, 3).contiguous()
        with torch.no_grad():
            self.plain.bias.copy_(self.second.bias)
        return F.silu(self.plain(x))


class Transposed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(C, C // 2, 4, 4) / 9)
        self.last = nn.Conv2d(C, C, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = F.conv_transpose2d(x, self.kernel.abs(), None, 2, 1, groups=2)
        return self.last(y)


class Inner(nn.Module):
    """A part with a computed weight around one with another, and a fixed filter first."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("fixed", torch.full((C, 1, 3, 3), 1 / 9))
        self.inside, self.kernel = Activated(), nn.Parameter(torch.randn(C, C, 1, 1) / 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.inside(F.conv2d(x, self.fixed, padding=1, groups=C))
        return F.conv2d(y, self.kernel.tanh())


KINDS: dict[str, Callable[[], nn.Module]] = {
    kind.__name__: kind
    for kind in (SumOfKernels, Activated, Standardised, Scaled, Fused, Written, Transposed, Inner)
}
_kind = ["SumOfKernels"]


class Whole(nn.Module):
    """Doubles the image."""

    value_range, receptive_field = 1.0, 9

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = nn.Conv2d(3, C, 3, padding=1), nn.Conv2d(C, 12, 3, padding=1)
        self.body = nn.Sequential(*(KINDS[_kind[0]]() for _ in range(2)))
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.shuffle(self.tail(F.relu(self.body(F.relu(self.head(x))))))


@pytest.fixture(params=KINDS)
def made(request: pytest.FixtureRequest) -> Whole:
    _kind[0] = request.param
    torch.manual_seed(0)
    module = Whole()
    return module.eval()


def test_it_is_baked_to_the_bit_and_pruned(made: Whole, tmp_path) -> None:
    x = torch.rand(2, 3, 9, 11)
    names, before = made.state_dict().keys(), copy.deepcopy(made)
    with torch.no_grad():
        wanted = made(x)
    network = wrap(made)
    assert made.state_dict().keys() == names  # the module is as it was
    with torch.no_grad():
        torch.testing.assert_close(network.module(x), wanted, rtol=1e-5, atol=1e-6)
    convolutions = [m for m in network.module.modules() if isinstance(m, nn.Conv2d)]
    grouping = find_groups(network)
    free = [g for g in grouping.groups if g.status != "untouchable" and "body" in str(g.layers)]
    assert free, [g.why for g in grouping.groups]
    assert len(convolutions) >= 4
    assert not any("a weight that is computed" in why for g in grouping.groups for why in g.why)
    plan = random_plan(grouping, 1, 0.5)
    small = compact(network, plan)
    assert changed_by_hand(network.module, small.module, plan) > 1e-3
    # The numbers are those of the network as it came, too, not only of what was made of it.
    with torch.no_grad():
        exact, own = before.double()(x.double()), copy.deepcopy(network.module).double()(x.double())
    torch.testing.assert_close(own, exact, rtol=1e-5, atol=1e-6)
    save_network(small, tmp_path / "n.safetensors")
    again = read_network(tmp_path / "n.safetensors", arch=Whole)
    with torch.no_grad():
        assert torch.equal(again.module(x), small.module(x))
    again.module.train()  # a network that is trained further computes the same
    with torch.no_grad():
        assert torch.equal(again.module(x), small.module(x))


def test_a_file_with_what_they_are_computed_from(made: Whole, tmp_path) -> None:
    x = torch.rand(1, 3, 9, 11)
    found = StateDict({k: v.clone() for k, v in made.state_dict().items()})
    network, _ = load_user_network(found, Whole, "net.pth")
    with torch.no_grad():
        torch.testing.assert_close(network.module(x), made(x), rtol=1e-5, atol=1e-6)
    save_network(network, tmp_path / "n.safetensors")  # dense
    again = read_network(tmp_path / "n.safetensors", arch=Whole)
    with torch.no_grad():
        assert torch.equal(again.module(x), network.module(x))


def names_of(kind: str) -> list[str]:
    _kind[0] = kind
    torch.manual_seed(0)
    return [n for n in wrap(Whole().eval()).module.state_dict() if n.startswith("body.0")]


def test_what_is_left_of_each() -> None:
    plain = ["body.0.bias", "body.0.weight"]
    assert sorted(names_of("SumOfKernels")) == plain
    assert sorted(names_of("Standardised")) == plain
    assert sorted(names_of("Activated")) == ["body.0.computed_0.bias", "body.0.computed_0.weight"]
    assert sorted(names_of("Scaled")) == ["body.0.computed_0.bias", "body.0.computed_0.weight"]
    assert sorted(n for n in names_of("Written") if "plain" not in n) == ["body.0.first.bias"]
    assert sorted(names_of("Inner")) == [
        "body.0.computed_1.weight", "body.0.fixed", "body.0.inside.computed_0.bias",
        "body.0.inside.computed_0.weight",
    ]  # fmt: skip


class Dynamic(nn.Module):
    """A kernel made of the image is no constant; one that is a fixed filter is no weight."""

    def __init__(self) -> None:
        super().__init__()
        self.make = nn.Linear(C, C)
        self.register_buffer("fixed", torch.eye(C)[:, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.make(x.mean((0, 2, 3)))[:, None, None, None].expand(C, 1, 3, 3)
        return F.conv2d(F.conv2d(x, self.fixed * 2), kernel, padding=1, groups=C)


class Alternating(SumOfKernels):
    """What it computes depends on how often it was called."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        kernel = self.wide.weight * (1 + self.calls % 2)
        return F.relu(F.conv2d(x, kernel, None, padding=1))


@pytest.mark.parametrize("kind", [Dynamic, Alternating])
def test_what_is_no_constant_stays(kind: type[nn.Module], monkeypatch) -> None:
    monkeypatch.setitem(KINDS, "it", kind)
    _kind[0] = "it"
    module = Whole().eval()
    network = wrap(module)
    assert network.card.computed is None
    assert network.module.state_dict().keys() == module.state_dict().keys()
    assert group_with(find_groups(network), "head").status == "untouchable"


@pytest.mark.parametrize(
    "computed",
    [
        Computed(parts={"nothing": ComputedPart(written=["weight"])}),
        Computed(parts={"head": ComputedPart(written=["kernel"])}),
        Computed(parts={"head": ComputedPart(whole=True)}),
        Computed(parts={"head": ComputedPart(layers=[
            ComputedLayer(call=0, kind="conv2d", shape=[4], bias=True)])}),
    ],
)  # fmt: skip
def test_a_card_of_another_network(computed: Computed) -> None:
    _kind[0] = "SumOfKernels"
    with pytest.raises(UserError, match="made for another architecture"):
        bake(Whole(), computed)
