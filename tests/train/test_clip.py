from __future__ import annotations

import pytest
import torch
from torch import nn

from srdeploy.train.hooks import clip_gradients
from srdeploy.train.recipe import Clip


def clipped(clip: Clip, lr: float = 0.1) -> list[float]:
    parameter = nn.Parameter(torch.zeros(3))
    parameter.grad = torch.tensor([3.0, -4.0, 0.0])
    clip_gradients([parameter], clip, lr)
    return parameter.grad.tolist()


def test_none() -> None:
    assert clipped(Clip()) == [3.0, -4.0, 0.0]


def test_value() -> None:
    assert clipped(Clip(kind="value", limit=3.5)) == [3.0, -3.5, 0.0]


def test_norm_keeps_the_direction() -> None:
    assert clipped(Clip(kind="norm", limit=1.0)) == pytest.approx([0.6, -0.8, 0.0], abs=1e-5)


def test_adjustable_bounds_the_step_not_the_gradient() -> None:
    clip = Clip(kind="adjustable", limit=0.2)
    assert clipped(clip, lr=0.1) == pytest.approx([2.0, -2.0, 0.0])
    assert clipped(clip, lr=0.01) == [3.0, -4.0, 0.0]
