"""Code that does something else at another size, or on a batch, is not pruned."""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srdeploy.models.probes import CannotRunError
from srdeploy.pruning.tracing.channel_labels import UnsupportedOperationError
from srdeploy.pruning.tracing.groups import find_groups
from srdeploy.pruning.tracing.trace import trace
from tests.pruning.helpers import user_network

CONDITIONS: dict[str, tuple[Callable[[Tensor], bool], str]] = {
    "width": (lambda x: x.shape[-1] > 48, "on 152x136 pixels than on 12x12"),
    "real width": (lambda x: x.shape[-1] > 100, "on 152x136 pixels"),
    "tiny": (lambda x: x.shape[-1] < 16, "on 20x24 pixels than on 12x12"),
    "height": (lambda x: x.shape[-2] > 100, "on 152x136 pixels"),
    "area": (lambda x: x.shape[-2] * x.shape[-1] > 2000, "on 152x136 pixels"),
    "batch": (lambda x: x.shape[0] > 1, "on a batch of 2 images than on one"),
    "odd": (lambda x: x.shape[-1] % 2 == 1, "on 29x17 pixels"),
    "wide": (lambda x: x.shape[-1] > x.shape[-2], "on 29x17 pixels"),
    "large": (lambda x: x.shape[-1] > 500, "on 640x360 pixels"),
}


class Act(nn.Module):
    def __init__(self, condition: Callable[[Tensor], bool]) -> None:
        super().__init__()
        self.condition = condition

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        return torch.sigmoid(y) if self.condition(x) else F.relu(y)


class Sized(nn.Module):
    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 8, 3, padding=1)
        self.act = act
        self.tail = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.act(self.head(x), x))


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_branch_names_its_layer_and_the_sizes(name: str) -> None:
    condition, where = CONDITIONS[name]
    with pytest.raises(UnsupportedOperationError, match=rf"'act' \(sigmoid\) .*{re.escape(where)}"):
        find_groups(user_network(lambda: Sized(Act(condition))))


class Offset(Act):
    """The same operations, with another number."""

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        return y.relu() + (0.1 if self.condition(x) else 0.0)


class Sliced(Act):
    """The same operations, on other channels."""

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        y = y.relu()
        return torch.cat([y[:, : 4 if self.condition(x) else 8], y], 1)[:, :8]


class More(Act):
    """A layer that is used for some sizes only."""

    def __init__(self, condition: Callable[[Tensor], bool]) -> None:
        super().__init__(condition)
        self.more = nn.Conv2d(8, 8, 1)

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        return y + self.more(y) if self.condition(x) else y


@pytest.mark.parametrize("name", ["width", "area", "batch", "large"])
@pytest.mark.parametrize("kind", [Offset, Sliced, More])
def test_the_same_goes_for_numbers_cuts_and_layers(kind: type[Act], name: str) -> None:
    condition, where = CONDITIONS[name]
    with pytest.raises(UnsupportedOperationError, match=f"'act.*{re.escape(where)}"):
        find_groups(user_network(lambda: Sized(kind(condition))))


class Harmless(Act):
    """Other operations for other sizes, but the same channels: padding, and a leakier slope."""

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        height, width = y.shape[2:]
        y = F.pad(y, (0, -width % 8, 0, -height % 8), mode="reflect" if width > 8 else "constant")
        y = F.leaky_relu(y, 0.1) if self.condition(x) else F.relu(y)
        return y[..., :height, :width]


@pytest.mark.parametrize("name", CONDITIONS)
def test_what_ties_the_same_channels_is_no_difference(name: str) -> None:
    condition, _ = CONDITIONS[name]
    (free, _) = find_groups(user_network(lambda: Sized(Harmless(condition)))).groups
    assert free.status == "free"


def test_per_image_statistics_are_no_dependence_on_the_batch() -> None:
    class Normed(Act):
        def __init__(self) -> None:
            super().__init__(lambda x: False)
            self.norm = nn.InstanceNorm2d(8, affine=True)

        def forward(self, y: Tensor, x: Tensor) -> Tensor:
            return self.norm(y)

    (free, _) = find_groups(user_network(lambda: Sized(Normed()))).groups
    assert free.status == "free"


def test_constants_that_are_no_buffers_are_followed_with_numbers() -> None:
    class Constant(Act):
        def __init__(self) -> None:
            super().__init__(lambda x: x.shape[-1] > 100)
            self.half = torch.tensor(0.5)  # does not move to torch's meta device

        def forward(self, y: Tensor, x: Tensor) -> Tensor:
            return super().forward(y, x) * self.half

    with pytest.raises(UnsupportedOperationError, match="'act'"):
        find_groups(user_network(lambda: Sized(Constant())))


def test_a_trace_keeps_no_activation() -> None:
    """At real size, all of a deep network's activations together would take gigabytes."""
    kept: list[weakref.ref[Tensor]] = []

    class Kept(Act):
        def forward(self, y: Tensor, x: Tensor) -> Tensor:
            living.append(sum(reference() is not None for reference in kept))
            for _ in range(20):
                y = y.relu() * 1.5
                kept.append(weakref.ref(y))
            return y

    living: list[int] = []
    module = Sized(Kept(lambda x: False))
    trace(module, torch.rand(1, 3, 8, 8))
    assert len(kept) == 20
    assert sum(reference() is not None for reference in kept) == 0
    trace(module, torch.rand(1, 3, 8, 8))
    assert living == [0, 0]


def test_a_network_that_runs_on_no_size_says_why() -> None:
    class Fails(Act):
        def forward(self, y: Tensor, x: Tensor) -> Tensor:
            raise ValueError("my own reason")

    with pytest.raises(CannotRunError, match=r"'act' fails \(my own reason\), nor on any size"):
        find_groups(user_network(lambda: Sized(Fails(lambda x: False))))


def test_the_sizes_that_are_compared_are_the_smallest_and_the_first_that_differs() -> None:
    """Where the smallest of all does not fit, the next one stands in for it."""

    class Tall(Act):
        def forward(self, y: Tensor, x: Tensor) -> Tensor:
            if x.shape[-2] < 20:
                raise ValueError("too small")
            return super().forward(y, x)

    with pytest.raises(UnsupportedOperationError, match=r"on 152x136 pixels than on 2\dx2\d "):
        find_groups(user_network(lambda: Sized(Tall(lambda x: x.shape[-1] > 100))))


def test_a_list_is_known_only_if_it_is_the_same() -> None:
    """Not if it comes before a known one by the alphabet: sigmoid for silu, beyond 500 pixels."""

    class Late(Act):
        def forward(self, y: Tensor, x: Tensor) -> Tensor:
            y = F.leaky_relu(y, 0.1) if x.shape[-1] > 100 else F.relu(y)
            return torch.sigmoid(y) if self.condition(x) else F.silu(y)

    with pytest.raises(UnsupportedOperationError, match=r"'act' \(sigmoid\) .*on 640x360 pixels"):
        find_groups(user_network(lambda: Sized(Late(lambda x: x.shape[-1] > 500))))
