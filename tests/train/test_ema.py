from __future__ import annotations

import pytest
import torch
from torch import nn

from srdeploy.train.hooks import Ema


def test_follows_its_formula_and_leaves_frozen_weights_out() -> None:
    module = nn.Linear(1, 1)
    module.bias.requires_grad_(False)
    expected = float(module.weight.detach())
    ema = Ema(module, decay=0.3)
    for t in range(5):
        with torch.no_grad():
            module.weight.fill_(float(t))
        ema.update()
        decay = min(0.3, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * t
    assert set(ema.average) == {"weight"}
    assert float(ema.average["weight"]) == pytest.approx(expected, rel=1e-6)


def test_state_round_trip() -> None:
    module = nn.Linear(2, 2)
    ema = Ema(module, 0.9)
    nn.init.ones_(module.weight)
    ema.update()
    other = Ema(nn.Linear(2, 2), 0.9)
    other.load_state_dict(ema.state_dict())
    assert other.updates == 1
    assert torch.equal(other.average["weight"], ema.average["weight"])
