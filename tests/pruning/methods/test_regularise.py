from __future__ import annotations

import torch
from torch import nn

from srdeploy.models.weight_norm import attach_weight_norm, gamma_of
from srdeploy.pruning.methods.regularise import Front, Regulariser, atom_masks
from srdeploy.pruning.methods.schedule import Ramp
from srdeploy.pruning.tracing.groups import find_groups
from tests.pruning.helpers import group_with, user_network
from tests.pruning.zoo import conv


def layer() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.Conv2d(3, 2, 1))


def mask(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1)


def test_gradients_gain_penalty_times_weight_on_chosen_filters_alone() -> None:
    module = layer()
    ramp = Ramp(growth=0.1, every=2, limit=0.3, hold=0)
    masks = {"0.weight": mask(0, 1, 0), "0.bias": torch.tensor([0.0, 1.0, 0.0])}
    regulariser = Regulariser(module, [Front(ramp, masks)], unit=0.5)
    for iteration, penalty in ((0, 0.1), (3, 0.2), (40, 0.3)):
        for parameter in module.parameters():
            parameter.grad = torch.ones_like(parameter)
        regulariser.add_gradients(iteration)
        weight, bias = module[0].weight, module[0].bias
        torch.testing.assert_close(weight.grad[1], 1 + 0.5 * penalty * weight[1].detach())
        torch.testing.assert_close(bias.grad[1], 1 + 0.5 * penalty * bias[1].detach())
        assert torch.equal(weight.grad[[0, 2]], torch.ones(2, 2, 3, 3))
        assert torch.equal(module[1].weight.grad, torch.ones(2, 3, 1, 1))


def test_fading_keeps_one_minus_the_penalty_of_what_there_was() -> None:
    module = layer()
    before = module[0].weight.detach().clone()
    ramp = Ramp(growth=0.25, every=2, limit=1.0, hold=0)
    regulariser = Regulariser(module, [Front(ramp, {"0.weight": mask(1, 0, 0)})])
    for iteration, left in enumerate([0.75, 0.75, 0.5, 0.5, 0.25, 0.25, 0.0, 0.0, 0.0]):
        regulariser.fade(iteration)
        torch.testing.assert_close(module[0].weight[0], before[0] * left)
        assert torch.equal(module[0].weight[1:], before[1:])
    with torch.no_grad():
        module[0].weight += 1  # whatever happens while the penalty is held at its limit
    regulariser.fade(9)
    assert not module[0].weight[0].any()


def test_what_fades_no_longer_learns() -> None:
    module = layer()
    masks = {"0.weight": mask(1, 0, 0)}
    regulariser = Regulariser(module, [Front(Ramp(0.5, 1, 1.0, 0), masks)])
    module(torch.rand(1, 2, 4, 4)).sum().backward()
    before = module[0].weight.grad.clone()
    regulariser.drop_gradients()
    assert not module[0].weight.grad[0].any()
    assert torch.equal(module[0].weight.grad[1:], before[1:])


def test_fronts_have_their_own_schedules() -> None:
    module = layer()
    early, late = Ramp(1.0, 1, 1.0, 0), Ramp(1.0, 1, 1.0, 0, start=5)
    fronts = [Front(early, {"0.weight": mask(1, 0, 0)}), Front(late, {"0.weight": mask(0, 1, 0)})]
    regulariser = Regulariser(module, fronts)
    module[0].weight.grad = torch.zeros_like(module[0].weight)
    regulariser.add_gradients(2)
    assert torch.equal(module[0].weight.grad[0], module[0].weight[0].detach())
    assert not module[0].weight.grad[1].any()
    regulariser.add_gradients(5)
    assert torch.equal(module[0].weight.grad[1], module[0].weight[1].detach())
    assert regulariser.level(2) == 1.0


def test_a_normalised_layer_is_penalised_through_gamma() -> None:
    module = layer()
    attach_weight_norm(module, [("0", 0)])
    masks = {"0.weight": mask(1, 0, 0)}
    regulariser = Regulariser(module, [Front(Ramp(0.5, 1, 0.5, 0), masks)])
    module(torch.rand(1, 2, 4, 4)).sum().backward()
    gamma = gamma_of(module, "0")
    direction = module.get_parameter("0.parametrizations.weight.original1")
    before, other = gamma.grad.clone(), direction.grad.clone()
    regulariser.add_gradients(0)
    torch.testing.assert_close(gamma.grad[0], before[0] + 0.5 * gamma[0].detach())
    assert torch.equal(gamma.grad[1:], before[1:])
    assert torch.equal(direction.grad, other)


def test_layers_without_gradients_and_buffers_are_left_out() -> None:
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1))
    ones = torch.ones(3)
    masks = {"0.weight": mask(1, 1, 1), "1.running_mean": ones, "1.weight": ones}
    regulariser = Regulariser(module, [Front(Ramp(1.0, 1, 1.0, 0), masks)])
    module[1].weight.grad = torch.zeros(3)
    regulariser.add_gradients(0)
    assert torch.equal(module[1].weight.grad, module[1].weight.detach())
    assert module[0].weight.grad is None


def test_magnitudes_are_means_over_pruned_and_kept() -> None:
    module = nn.Sequential(nn.Conv2d(1, 3, 1, bias=False))
    with torch.no_grad():
        module[0].weight.copy_(mask(-1.0, 3.0, 8.0))
    regulariser = Regulariser(module, [Front(Ramp(1, 1, 1, 0), {"0.weight": mask(1, 1, 0)})])
    assert regulariser.magnitudes() == {"pruned": 2.0, "kept": 8.0}


def test_masks_of_atoms_lie_where_channels_are_made_or_where_they_are_read() -> None:
    network = user_network(lambda: nn.Sequential(conv(3, 8), nn.PixelShuffle(2), conv(2, 3)))
    grouping = find_groups(network)
    group = group_with(grouping, "0")
    shapes = {name: list(t.shape) for name, t in network.module.state_dict().items()}
    made = atom_masks([group], {group.name: [1]}, shapes)
    assert made["0.weight"].shape == (8, 1, 1, 1)
    assert made["0.weight"].flatten().tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert made["0.bias"].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    read = atom_masks([group], {group.name: [1]}, shapes, where_read=True)
    assert list(read) == ["2.weight"]
    assert read["2.weight"].shape == (1, 2, 1, 1)
    assert read["2.weight"].flatten().tolist() == [0, 1]


def test_linear_layers_count_and_biases_do_not() -> None:
    module = nn.Sequential(nn.Linear(2, 2))
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[-1.0, 3.0], [5.0, 7.0]]))
        module[0].bias.fill_(100.0)
    masks = {"0.weight": torch.tensor([[1.0], [0.0]]), "0.bias": torch.tensor([1.0, 0.0])}
    told = Regulariser(module, [Front(Ramp(1, 1, 1, 0), masks)]).magnitudes()
    assert told == {"pruned": 2.0, "kept": 6.0}


def test_of_nothing_the_magnitude_is_nothing() -> None:
    module = nn.Sequential(nn.Linear(1, 1))
    masks = {"0.weight": torch.zeros(1, 1)}
    told = Regulariser(module, [Front(Ramp(1, 1, 1, 0), masks)]).magnitudes()
    assert told["pruned"] == 0.0
    assert told["kept"] == float(module[0].weight.detach().abs())
    assert Regulariser(module, []).magnitudes() == {"pruned": 0.0, "kept": 0.0}
    assert Regulariser(module, []).level(3) == 0.0


def test_two_fronts_on_one_tensor_the_higher_penalty_acts() -> None:
    module = layer()
    low, high = Ramp(0.25, 1, 0.25, 0), Ramp(0.5, 1, 0.5, 0)
    fronts = [Front(low, {"0.weight": mask(1, 1, 0)}), Front(high, {"0.weight": mask(0, 1, 0)})]
    regulariser = Regulariser(module, fronts, unit=2.0)
    module[0].weight.grad = torch.zeros_like(module[0].weight)
    regulariser.add_gradients(0)
    wanted = 2.0 * mask(0.25, 0.5, 0) * module[0].weight.detach()
    torch.testing.assert_close(module[0].weight.grad, wanted)
    assert regulariser.level(0) == 0.5


def test_a_regulariser_without_weights_does_nothing() -> None:
    regulariser = Regulariser(layer(), [Front(Ramp(1.0, 1, 1.0, 0), {"9.weight": mask(1.0)})])
    regulariser.add_gradients(0)
    regulariser.drop_gradients()
    regulariser.fade(0)


def test_one_weight_is_its_own_mean() -> None:
    module = nn.Sequential(nn.Linear(1, 1))
    told = Regulariser(
        module, [Front(Ramp(1, 1, 1, 0), {"0.weight": torch.ones(1, 1)})]
    ).magnitudes()
    assert told == {"pruned": float(module[0].weight.detach().abs()), "kept": 0.0}
