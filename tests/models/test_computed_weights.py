"""Weights that torch computes at every run become plain ones, to the bit, and are pruned."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from srdeploy.compacting.surgery import compact
from srdeploy.models.computed_weights import compute_weights
from srdeploy.models.importing.live_module import wrap
from srdeploy.models.importing.state_dict import StateDict
from srdeploy.models.importing.user_module import load_user_network
from srdeploy.models.store import read_network, save_network
from srdeploy.pruning.tracing.groups import find_groups
from tests.pruning.helpers import group_with, random_plan


class Bounded(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight.tanh() * 0.8


KINDS = {
    "weight norm": parametrizations.weight_norm,
    "spectral norm": parametrizations.spectral_norm,
    "old weight norm": nn.utils.weight_norm,
    "old spectral norm": nn.utils.spectral_norm,
    "one's own": lambda layer: parametrize.register_parametrization(layer, "weight", Bounded()),
}
pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")


class Normed(nn.Module):
    """Doubles the image; ``kind`` computes the weights of two layers."""

    value_range, receptive_field, kind = 1.0, 7, "weight norm"

    def __init__(self) -> None:
        super().__init__()
        norm = KINDS[self.kind]
        self.a, self.b = norm(nn.Conv2d(3, 8, 3, padding=1)), nn.Conv2d(8, 8, 3, padding=1)
        self.c = norm(nn.Conv2d(8, 12, 3, padding=1))
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.shuffle(self.c(torch.relu(self.b(torch.relu(self.a(x))))))


@pytest.fixture(params=KINDS)
def made(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Normed:
    monkeypatch.setattr(Normed, "kind", request.param)
    torch.manual_seed(0)
    module = Normed()
    with torch.no_grad():
        for name, tensor in module.named_parameters():
            if not name.endswith("bias"):
                tensor.mul_(1.5)
        module(torch.rand(1, 3, 8, 8))  # spectral normalisation takes a step
    return module.eval()


def test_a_live_network_and_its_file(made: Normed, tmp_path) -> None:
    x = torch.rand(1, 3, 9, 11)
    with torch.no_grad():
        wanted = made(x)
    names = made.state_dict().keys()
    network = wrap(made)
    assert made.state_dict().keys() == names  # the module is as it was
    assert network.module.state_dict().keys() == {
        f"{n}.{t}" for n in "abc" for t in ("weight", "bias")
    }
    with torch.no_grad():
        torch.testing.assert_close(network.module(x), wanted, rtol=1e-5, atol=1e-6)
    assert group_with(find_groups(network), "a").status == "free"
    small = compact(network, random_plan(find_groups(network), 1))
    save_network(small, tmp_path / "n.safetensors")
    again = read_network(tmp_path / "n.safetensors", arch=Normed)
    with torch.no_grad():
        assert torch.equal(again.module(x), small.module(x))


def test_a_file_with_what_they_are_computed_from(made: Normed, tmp_path) -> None:
    x = torch.rand(1, 3, 9, 11)
    found = StateDict({k: v.clone() for k, v in made.state_dict().items()})
    network, _ = load_user_network(found, Normed, "net.pth")
    with torch.no_grad():
        torch.testing.assert_close(network.module(x), made(x), rtol=1e-5, atol=1e-6)
    save_network(compact(network, random_plan(find_groups(network), 1)), tmp_path / "n.safetensors")
    assert read_network(tmp_path / "n.safetensors", arch=Normed).card.pruned


def test_what_was_saved_before_comes_back(made: Normed, tmp_path) -> None:
    network = wrap(made)
    save_network(type(network)(made, network.card), tmp_path / "n.safetensors")
    again = read_network(tmp_path / "n.safetensors", arch=Normed)
    assert again.module.state_dict().keys() == made.state_dict().keys()


def test_what_is_frozen_stays_frozen(made: Normed) -> None:
    for parameter in made.c.parameters():
        parameter.requires_grad_(False)
    own = compute_weights(copy.deepcopy(wrap(made).module))
    assert (own.a.weight.requires_grad, own.c.weight.requires_grad) == (True, False)
    assert type(own.a) is nn.Conv2d
