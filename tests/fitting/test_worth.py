"""What quality costs: prices of removals against networks that lost as much."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from srdeploy.fitting.subject import Subject
from srdeploy.fitting.worth import Measured
from srdeploy.models.probes import run
from srdeploy.models.registry import create
from srdeploy.pruning.methods.table import find_method
from srdeploy.reconstruct.budget import Budget
from srdeploy.reconstruct.calibration import Calibration
from srdeploy.reconstruct.rotate import why_not_linear
from srdeploy.reconstruct.run import prune_at_once


def test_half_of_the_streams_and_of_the_others_costs_what_such_networks_lose(
    small_images: Path,
) -> None:
    torch.manual_seed(0)
    network = create("edsr", scale=2, n_feats=8, n_blocks=2)
    subject = Subject.of(network)
    calibration = Calibration(str(small_images), network_wise=0)
    x = calibration.inputs(network)
    worth = Measured(subject, x).removals()
    streams = {g.name for g in subject.groups if not why_not_linear(network, g)}
    assert len(streams) == 1
    for groups in (
        [g for g in subject.groups if g.name in streams],
        [g for g in subject.groups if g.name not in streams],
    ):
        half = {g.name: len(g.atoms) // 2 for g in groups}
        small, _ = prune_at_once(
            network, find_method("reconstruct"), subject.options, calibration,
            budget=Budget(0.0, "MACs", lambda *_: lambda removed: 0.0, (half,)),
        )  # fmt: skip
        lost = float((run(small.module, x) - run(network.module, x)).square().mean())
        assert sum(worth[name][count - 1] for name, count in half.items()) == pytest.approx(
            lost,
            rel=0.15,  # tried on fewer images
        )
        for name in half:
            assert list(worth[name]) == sorted(worth[name])
