"""What is proven, on what, and in which precision."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srdeploy.compacting import proof
from srdeploy.compacting.proof import prove_equal
from srdeploy.compacting.run import prune_oneshot
from srdeploy.compacting.surgery import compact
from srdeploy.errors import SrdeployError
from srdeploy.pruning.options import PruneOptions
from srdeploy.pruning.tracing.groups import find_groups
from tests.pruning.helpers import random_plan, user_network


class Net(nn.Module):
    """Two convolutions around what is being tried."""

    def __init__(self, middle: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 8, 3, padding=1)
        self.tail = nn.Conv2d(8, 3, 3, padding=1)
        self.middle = middle

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.middle(self.head(x), x))


def _pair(middle: Callable[[Tensor, Tensor], Tensor]) -> tuple[Any, Net, Net]:
    """A card, a module, and an equal one whose middle can be made another."""
    network = user_network(lambda: Net(middle))
    return network.card, network.module, copy.deepcopy(network.module)


def test_the_record_says_what_was_tried() -> None:
    card, a, b = _pair(lambda y, x: y.relu())
    assert prove_equal(a, b, card) == {
        "claim": "masked(x) == compact(x)",
        "dtype": "float64",
        "sizes": [[12, 12], [24, 20], [17, 29], [136, 152]],
        "batch": 2,
        "max_difference": 0.0,
        "tolerance": 1e-9,
    }


@pytest.mark.parametrize(
    "where",
    [
        lambda x: x.shape[-1] > 48,
        lambda x: x.shape[-2] > 100,
        lambda x: x.shape[-2] < 16,
        lambda x: x.shape[-1] * x.shape[-2] > 10000,
        lambda x: x.shape[0] > 1,
    ],
)
def test_a_difference_at_one_size_or_batch_is_found(where: Callable[[Tensor], bool]) -> None:
    card, a, b = _pair(lambda y, x: y.relu())
    b.middle = lambda y, x: y.relu() + 1e-6 * where(x)
    with pytest.raises(SrdeployError, match=r"not exact: on \d+x\d+ pixels .* in float64"):
        prove_equal(a, b, card)


@pytest.mark.parametrize(
    ("middle", "dtype"),
    [
        (lambda y, x: y.relu(), "float64"),
        (lambda y, x: y.float().relu(), "float32"),  # and the next layer takes no float32
        (lambda y, x: y.float().relu().to(y.dtype), "float32"),
        (lambda y, x: y.float() * torch.ones((), dtype=y.dtype) + 0 * y, "float32"),
        (lambda y, x: torch.zeros(y.shape).copy_(y).to(y.dtype), "float32"),
        (lambda y, x: y * torch.full((1, 1, 1, 1), 0.5), "float64"),  # a constant may be
    ],
)
def test_the_precision_is_the_one_computed_in(middle: Any, dtype: str) -> None:
    card, a, b = _pair(middle)
    record = prove_equal(a, b, card)
    assert record["dtype"] == dtype
    assert record["tolerance"] == (1e-9 if dtype == "float64" else 2e-5)


def test_each_run_gets_a_tensor_of_its_own() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.full((1, 3, 1, 1), 0.4))
            self.net = Net(lambda y, x: y.relu())

        def forward(self, x: Tensor) -> Tensor:
            x -= self.mean
            x *= 255.0
            return self.net(x).div_(255.0).add_(self.mean)

    network = user_network(InPlace)
    small = compact(network, random_plan(find_groups(network), 0))
    assert small.card.proof["max_difference"] < 1e-12
    assert small.module.net.head.out_channels < 8


@pytest.mark.parametrize("least", [16, 40])
def test_networks_with_a_smallest_size_are_pruned(least: int) -> None:
    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net(lambda y, x: y.relu())

        def forward(self, x: Tensor) -> Tensor:
            return self.net(F.pad(x, (least,) * 4, mode="reflect"))[..., least:-least, least:-least]

    network = user_network(Padded)
    record = compact(network, random_plan(find_groups(network), 0)).card.proof
    assert record["sizes"][-1] == [136, 152]
    assert all(min(size) > least for size in record["sizes"])


def test_one_image_at_a_time_is_enough() -> None:
    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net(lambda y, x: y.relu())

        def forward(self, x: Tensor) -> Tensor:
            assert len(x) == 1, "one image, please"
            return self.net(x)

    network = user_network(Single)
    assert compact(network, random_plan(find_groups(network), 0)).card.proof["batch"] == 1


def test_the_tolerance_is_what_rounding_does_to_this_network() -> None:
    """As attention far beyond the range does, the sine makes much of the last digit."""
    card, a, b = _pair(lambda y, x: (1e8 * (y * 0.1 + y * 0.2)).sin())
    b.middle = lambda y, x: (1e8 * (y * 0.3)).sin()  # the same but for rounding
    record = prove_equal(a, b, card)
    assert 1e-9 < record["max_difference"] <= record["tolerance"] < proof.LARGEST_TOLERANCE
    with torch.no_grad():
        b.head.weight[0, 0] += 1e-6  # and this is no rounding
    with pytest.raises(SrdeployError, match="not exact"):
        prove_equal(a, b, card)


def test_where_rounding_is_everything_nothing_is_proven() -> None:
    card, a, b = _pair(lambda y, x: (1e30 * (y - y.mean())).sin())
    with torch.no_grad():
        b.head.weight *= 1 + 1e-7
    with pytest.raises(SrdeployError, match="rounding alone"):
        prove_equal(a, b, card)


def test_a_compact_network_that_does_not_run_names_size_and_remedy() -> None:
    card, a, b = _pair(lambda y, x: y.relu())
    b.tail = nn.Conv2d(5, 3, 3)
    with pytest.raises(SrdeployError, match=r"compact network does not run .*'tail'.*--exclude"):
        prove_equal(a, b, card)


def test_masked_and_compact_must_measure_alike() -> None:
    network = user_network(lambda: Net(lambda y, x: y.relu()))
    figures = {"dense": 30.0, "masked": 7.694, "compact": 7.387}

    def measure(stage: str, version: Any) -> dict[str, Any]:
        return {"psnr_y": figures[stage], "ssim_y": 0.1}

    with pytest.raises(SrdeployError, match=r"measures 7\.694 dB and the compact one 7\.387"):
        prune_oneshot(network, PruneOptions(ratio=0.5), measure)
    for figures["compact"] in (7.694, 7.6945, 7.69):
        prune_oneshot(network, PruneOptions(ratio=0.5), measure)
    figures |= {"masked": float("inf"), "compact": float("inf")}
    prune_oneshot(network, PruneOptions(ratio=0.5), measure)
    figures["compact"] = float("nan")
    with pytest.raises(SrdeployError):
        prune_oneshot(network, PruneOptions(ratio=0.5), measure)
