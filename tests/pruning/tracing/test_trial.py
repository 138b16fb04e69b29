"""Groups that the network's own code counts on are found by trying; the others stay as found."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srdeploy.compacting.surgery import compact
from srdeploy.pruning.tracing.groups import find_groups
from tests.pruning.helpers import group_with, random_plan, user_network


class Counted(nn.Module):
    """Reshapes what ``b`` puts out by the number of channels of what ``a`` puts out."""

    def __init__(self) -> None:
        super().__init__()
        self.free = nn.ModuleList(nn.Conv2d(3 if i == 0 else 6, 6, 1) for i in range(5))
        self.a, self.b = nn.Conv2d(6, 8, 1), nn.Conv2d(8, 8, 1)
        self.c = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.free:
            x = F.relu(layer(x))
        y = F.relu(self.a(x))
        n, c, h, w = y.shape
        return self.c(self.b(y).cumsum(1).reshape(n, c, h, w))


def test_what_the_code_counts_on_is_kept_and_the_rest_is_not() -> None:
    network = user_network(Counted)
    found = find_groups(network)
    assert {layer: g.status for g in found.groups for layer in g.layers} == {
        **{f"free.{i}": "free" for i in range(5)},
        **dict.fromkeys("abc", "untouchable"),
    }
    (why,) = group_with(found, "a").why
    assert why.startswith("without some of its channels the network's own forward fails (shape")
    proof = compact(network, random_plan(found, 1)).card.proof
    assert proof is not None
    assert proof["max_difference"] < 1e-9


class Mean(nn.Module):
    """Divides by a number of channels: without some of them the code runs, but not the same."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.a(x))
        return self.b(y / y.shape[1])


def test_what_the_code_computes_from_a_number_of_channels_is_kept() -> None:
    group = group_with(find_groups(user_network(Mean)), "a")
    assert group.status == "untouchable"
    assert group.why == ["without some of its channels the network's code computes something else"]


def test_the_network_is_left_as_it_is() -> None:
    network = user_network(Counted)
    before = {name: tensor.clone() for name, tensor in network.module.state_dict().items()}
    find_groups(network)
    after = network.module.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert network.module.c.weight.dtype == torch.float32
