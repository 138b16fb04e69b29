"""Which of the tensors in a trainer's file are the network's, told by their names."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from srdeploy.models.importing.wrappers import networks_in, rank

Tensors = dict[str, torch.Tensor]


def network(value: float = 1.0) -> nn.Sequential:
    made = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 1, 3))
    for parameter in made.parameters():
        nn.init.constant_(parameter, value)
    return made


def under(prefix: str, value: float = 1.0) -> Tensors:
    return {f"{prefix}.{name}": tensor for name, tensor in network(value).state_dict().items()}


WEIGHTS = network().state_dict()
COUNTER = {"step_counter": torch.tensor(7)}
BESIDE = {
    **{f"discriminator.{name}": tensor for name, tensor in WEIGHTS.items()},
    **{f"perceptual_loss.vgg.{i}.weight": torch.zeros(1, 1, 3, 3) for i in range(20)},
}


@pytest.mark.parametrize(
    "tensors",
    [
        WEIGHTS,
        under("module"),
        under("module._orig_mod"),
        {**under("model"), **{f"loss_fn.{n}": t for n, t in WEIGHTS.items()}},  # Lightning
        {**under("generator"), **BESIDE},  # MMEditing
        {**under("generator", 2), **under("generator_ema"), **BESIDE, **COUNTER},  # MMagic
        {**under("params", 2), **under("params_ema")},  # a flattened file of BasicSR
        AveragedModel(network()).state_dict(),
        {**under("online_model", 2), **under("ema_model"), "initted": torch.tensor(True)},
    ],
    ids=lambda tensors: next(iter(tensors)),
)
def test_the_network_is_found(tensors: Tensors) -> None:
    first, *_, last = [dict(tensors), *networks_in(tensors)]
    assert first == tensors
    assert last.keys() == WEIGHTS.keys()
    assert all(torch.equal(last[name], tensor) for name, tensor in WEIGHTS.items())


@pytest.mark.parametrize(
    "tensors",
    [
        {**under("generator"), **under("refine")},  # two networks that work together
        {**under("net"), "network.head.weight": torch.zeros(1, 1, 3, 3)},  # no twins
        {"model": torch.zeros(1, 1, 3, 3), **under("head")},
        {"model": torch.zeros(1, 1, 3, 3)},
        {**under("head"), **under("tail")},
        {},
        {"n_averaged": torch.tensor(1)},
    ],
    ids=lambda tensors: " ".join(tensors)[:30],
)
def test_no_part_is_taken_for_the_whole(tensors: Tensors) -> None:
    assert [list(one) for one in networks_in(tensors)] == [list(tensors)]


def test_the_likeliest_ranks_first() -> None:
    paths = [
        *([], ["params-ema"], ["params"], ["model"], ["model", "ema"], ["model", "net"]),
        *(["netG"], ["anything"], ["net_d"]),
    ]
    ranks = [rank(path) for path in paths]
    assert all(better < worse for better, worse in pairwise(ranks))
    beside = ["D", "netD", "model_d", "dis", "DiscriminatorUNet", "pixel_loss", "cri_pix", "VGG19"]
    assert all(rank([name]) == rank(["net_d"]) for name in beside)
    assert all(rank([name]) == rank(["x"]) for name in ["decoder", "dense", "distill"])
