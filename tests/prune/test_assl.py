from __future__ import annotations

import math

import pytest
import torch

from srdeploy.prune.assl import alignment_loss


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_alignment_loss_by_hand() -> None:
    gammas = torch.tensor([[3.0, 1.0, 2.0], [0.5, 4.0, 1.0]])
    # Two of three go: the second smallest of each row is the threshold.
    first = [sigmoid(3 - 2), sigmoid(1 - 2), sigmoid(0)]
    second = [sigmoid(0.5 - 1), sigmoid(4 - 1), sigmoid(0)]
    products = [
        sum(a * b for a, b in zip(x, y, strict=True))
        for x in (first, second)
        for y in (first, second)
    ]
    assert float(alignment_loss(gammas, 2)) == pytest.approx(-sum(products) / 4, rel=1e-6)


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
    gammas = torch.stack([others, others, torch.tensor([1.0, 1.0, 1.0])]).requires_grad_()
    alignment_loss(gammas, 2).backward()
    assert gammas.grad is not None
    pull = -gammas.grad[2]
    assert pull[2] > pull[0]
    assert pull[2] > pull[1]
