from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from srdeploy.models.load import load_network
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.models.weight_norm import gamma_of
from srdeploy.pruning.methods.assl import alignment_loss
from srdeploy.pruning.tracing.groups import find_groups
from tests.pruning.helpers import group_with
from tests.pruning.walk import Walk, pruner_of, set_filters

Matrix = NDArray[np.float64]

ENDS = ["head.0", "body.0.body.2", "body.1"]
"""The coupled layers of the small network; ``body.0.body.0`` is the free one."""
FREE = "body.0.body.0"


def published(gammas: Matrix, n_pruned: int) -> tuple[float, Matrix]:
    """Loss and gradient by hand: ``L = -1/l^2 sum_k S_k^2`` with S the columns' sums of masks."""
    size = np.abs(gammas)
    first_kept = np.argsort(size, axis=1)[:, n_pruned]
    rows = np.arange(len(gammas))
    soft = 1 / (1 + np.exp(size[rows, first_kept][:, None] - size))
    columns = soft.sum(0)
    pull = -2 * columns * soft * (1 - soft) / len(gammas) ** 2
    gradient = pull.copy()
    gradient[rows, first_kept] -= pull.sum(1)
    return -(columns**2).sum() / len(gammas) ** 2, gradient * np.sign(gammas)


@pytest.mark.parametrize("n_pruned", [0, 1, 3, 6])
def test_loss_and_gradient_are_the_published_ones(n_pruned: int) -> None:
    values = np.random.default_rng(n_pruned).normal(size=(4, 7))
    gammas = torch.tensor(values, requires_grad=True)
    loss = alignment_loss(gammas, n_pruned)
    loss.backward()
    wanted, gradient = published(values, n_pruned)
    assert float(loss.detach()) == pytest.approx(wanted, rel=1e-12)
    np.testing.assert_allclose(gammas.grad, gradient, rtol=1e-9, atol=1e-12)


def test_alignment_loss_by_hand() -> None:
    # One of two goes, so the larger is the first that is kept: masks (1/2, s) and (s, 1/2).
    loss = alignment_loss(torch.tensor([[2.0, 1.0], [3.0, 4.0]]), 1)
    s = 1 / (1 + np.e)
    assert float(loss) == pytest.approx(-2 * (0.5 + s) ** 2 / 4, rel=1e-6)


def test_gamma_counts_by_magnitude() -> None:
    gammas = torch.tensor([[3.0, 1.0, 2.0], [0.5, 4.0, 1.0]])
    signs = torch.tensor([[-1.0, 1.0, 1.0], [1.0, 1.0, -1.0]])
    assert alignment_loss(gammas * signs, 1) == alignment_loss(gammas, 1)


def test_agreeing_layers_score_better_than_disagreeing_ones() -> None:
    rising = torch.tensor([1.0, 2.0, 6.0, 8.0])
    agree = torch.stack([rising, rising])
    disagree = torch.stack([rising, rising.flip(0)])
    assert alignment_loss(agree, 2) < alignment_loss(disagree, 2)


def test_gradient_pulls_a_layer_towards_the_others() -> None:
    others = torch.tensor([0.1, 0.1, 5.0])
    gammas = torch.stack([others, others, torch.tensor([1.0, 1.2, 1.1])]).requires_grad_()
    alignment_loss(gammas, 2).backward()
    assert gammas.grad is not None
    pull = -gammas.grad[2]
    assert pull[2] > pull[0] > 0  # the others keep the last
    assert pull[1] < 0  # what is kept alone makes room


def test_nothing_is_gained_by_growing_alike() -> None:
    """With a threshold that is a constant every gamma was pulled up, and nothing was aligned."""
    gammas = torch.rand(5, 8, dtype=torch.float64, requires_grad=True)
    alignment_loss(gammas, 3).backward()
    assert gammas.grad is not None
    torch.testing.assert_close(gammas.grad.sum(1), torch.zeros(5, dtype=torch.float64))


def overlap(gammas: torch.Tensor, n_pruned: int) -> float:
    """Mean share that the pruned sets of two layers have in common."""
    sets = [set(row.topk(n_pruned, largest=False).indices.tolist()) for row in gammas]
    pairs = list(itertools.combinations(sets, 2))
    return sum(len(a & b) for a, b in pairs) / n_pruned / len(pairs)


def test_the_shipped_networks_layers_are_aligned() -> None:
    """Ten coupled layers of 32, half of them to go, 1000 steps of the alignment loss alone."""
    network = load_network("edsr-s-x2")
    group = group_with(find_groups(network), "head.0")
    layers = [network.module.get_submodule(axis.layer) for axis in group.out_axes()]
    norms = torch.stack([layer.weight.detach().flatten(1).norm(dim=1) for layer in layers])
    assert norms.shape == (10, 32)
    gammas = norms.double().requires_grad_()
    optimiser = torch.optim.Adam([gammas], lr=2e-4)
    losses, overlaps = [], []
    for _ in range(1001):
        optimiser.zero_grad()
        loss = alignment_loss(gammas, 16)
        losses.append(float(loss.detach()))
        overlaps.append(overlap(gammas.detach(), 16))
        loss.backward()
        optimiser.step()
    assert (losses[0], losses[-1]) == pytest.approx((-8.00, -9.21), abs=0.01)
    assert overlaps[0] == pytest.approx(0.556, abs=0.001)
    assert sum(overlaps[-200:]) / 200 > 0.565  # .57 to .59: single channels go to and fro


# The pruner.


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return create("ledsr", n_blocks=1, n_feats=4)


PENALTY = {"growth": 0.25, "every": 2, "limit": 1.0, "hold": 1}
ALIGNED = {"method": "assl", "exclude": ("tail.*",), "penalty": PENALTY}


@pytest.mark.parametrize(("unit", "weight"), [(1.0, 1.0), (1 / 255, 1.0), (1.0, 0.25)])
def test_the_alignment_loss_joins_in_the_networks_unit(
    network: Network, unit: float, weight: float
) -> None:
    alignment = {"iterations": 3, "weight": weight}
    walk = Walk()
    pruner = pruner_of(network, walk, unit, alignment=alignment, **ALIGNED)
    norms = torch.stack(
        [network.module.get_submodule(name).weight.detach().flatten(1).norm(dim=1) for name in ENDS]
    )
    wanted, _ = published(norms.double().numpy(), 2)
    pruner.compress()
    added = [patched - plain for plain, patched in walk.losses]
    assert added[:3] == pytest.approx([unit * weight * wanted] * 3, rel=1e-4)
    assert not any(added[3:])  # the alignment has ended
    assert len(added) == 3 + 4 * 2 + 1


def test_without_coupled_layers_nothing_is_aligned() -> None:
    network = create("vdsr", n_layers=4, n_feats=4)
    walk = Walk()
    pruner_of(network, walk, method="assl", penalty=PENALTY, alignment={"iterations": 9}).compress()
    assert walk.losses == [(plain, plain) for plain, _ in walk.losses]
    assert len(walk.losses) == 4 * 2 + 1


def test_layers_that_are_to_lose_the_same_indices_are_aligned_too() -> None:
    network = create("vdsr", n_layers=4, n_feats=4)
    walk = Walk()
    layers = [m.conv.weight.detach() for m in network.module.residual_layer]
    norms = torch.stack([w.flatten(1).norm(dim=1) for w in layers])
    pruner_of(
        network, walk, method="assl", penalty=PENALTY, alignment={"iterations": 1},
        same_index=("residual_layer.*.conv",),
    ).compress()  # fmt: skip
    plain, patched = walk.losses[0]
    wanted, _ = published(norms.double().numpy(), 2)
    assert patched - plain == pytest.approx(wanted, rel=1e-4)


def test_every_layer_chooses_again_after_the_alignment(network: Network) -> None:
    """What the gammas are *then* decides, in free layers too."""
    for name in (FREE, *ENDS):
        set_filters(network.module.get_submodule(name), [1.0, 2.0, 3.0, 4.0])
    seen: list[dict[str, list[int]]] = []

    def visit(iteration: int) -> None:
        seen.append(dict(pruner.removed))
        if iteration == 1:
            for name in (FREE, *ENDS):
                with torch.no_grad():
                    gamma = gamma_of(network.module, name)
                    gamma.copy_(gamma.flatten().flip(0).view(gamma.shape))

    alignment = {"iterations": 3, "weight": 0.0}
    pruner = pruner_of(network, Walk(visit=visit), alignment=alignment, **ALIGNED)
    grouping = find_groups(network)
    free, coupled = group_with(grouping, FREE).name, group_with(grouping, "head.0").name
    pruner.compress()
    assert seen[:3] == [{free: [0, 1]}] * 3
    assert seen[3:] == [{free: [2, 3], coupled: [2, 3]}] * len(seen[3:])


def test_who_is_penalised_when(network: Network) -> None:
    """Free layers from the first iteration, coupled ones after the alignment; gamma alone."""
    start = {n: network.module.get_submodule(n).weight.detach().clone() for n in (FREE, *ENDS)}
    sizes: list[dict[str, float]] = []

    def visit(iteration: int) -> None:
        sizes.append({n: float(gamma_of(network.module, n).abs().sum()) for n in (FREE, *ENDS)})

    walk = Walk(lr=0.1, pull=0.0, visit=visit)
    pruner_of(network, walk, alignment={"iterations": 4, "weight": 0.0}, **ALIGNED).compress()
    assert all(a[FREE] > b[FREE] for a, b in itertools.pairwise(sizes))
    for name in ENDS:
        assert len({size[name] for size in sizes[:4]}) == 1
        assert all(a[name] > b[name] for a, b in itertools.pairwise(sizes[3:]))
    for name, weight in start.items():
        after = network.module.get_submodule(name).weight.detach()
        directions = [torch.nn.functional.normalize(w.flatten(1), dim=1) for w in (weight, after)]
        torch.testing.assert_close(*directions)


def test_the_result_is_an_ordinary_network(network: Network) -> None:
    before = {n: t.clone() for n, t in network.module.state_dict().items()}
    pruner_of(network, Walk(), alignment={"iterations": 1}, **ALIGNED).compress()
    after = network.module.state_dict()
    assert after.keys() == before.keys()
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor)
