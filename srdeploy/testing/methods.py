"""What every pruning method that does not train must do. Subclass it, and name the method."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch

from srdeploy.compacting.run import PruneReport
from srdeploy.models.digest import weights_sha256
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.pruning.methods.table import METHODS, Method
from srdeploy.pruning.options import PruneOptions, removals
from srdeploy.pruning.tracing.groups import find_groups
from srdeploy.reconstruct.calibration import Calibration
from srdeploy.reconstruct.run import prune_at_once

CALIBRATION = Calibration(patches=4, side=16)


class MethodContract:
    """Tests of one method; they prune small networks by it.

    Attributes:
        method: Its name in the table.
        ratio: Fraction of channels that goes.
    """

    method: ClassVar[str]
    ratio: ClassVar[float] = 0.5

    @pytest.fixture
    def row(self) -> Method:
        return METHODS[self.method]

    @pytest.fixture(params=["rgb", "luma"])
    def network(self, request: pytest.FixtureRequest) -> Network:
        torch.manual_seed(0)
        if request.param == "luma":
            return create("vdsr", n_layers=4, n_feats=8)
        return create("edsr", n_blocks=2, n_feats=8)

    def pruned(
        self, network: Network, row: Method, exclude: tuple[str, ...] = ()
    ) -> tuple[Network, PruneReport]:
        options = PruneOptions(ratio=self.ratio, exclude=exclude)
        return prune_at_once(network, row, options, CALIBRATION)

    def test_the_row_is_sound(self, row: Method) -> None:
        assert row.name == self.method
        assert row.summary
        assert not row.trains

    def test_as_many_channels_go_as_were_asked(self, row: Method, network: Network) -> None:
        _, report = self.pruned(network, row)
        counts = removals(find_groups(network), PruneOptions(ratio=self.ratio))
        assert counts
        assert {name: len({*gone}) for name, gone in report.plan.removed.items()} == counts
        assert report.plan.method == self.method
        assert report.after.params < report.before.params

    def test_the_small_network_is_proven_and_runs(self, row: Method, network: Network) -> None:
        small, report = self.pruned(network, row)
        card = small.card
        assert card.proof == report.proof
        assert any(step.get("method") == self.method for step in card.history)
        x = torch.rand(1, card.channels, 12, 16) * card.value_range
        with torch.inference_mode():
            y = small.module(x.clone())
        assert y.shape == (1, card.channels, 12 * card.network_scale, 16 * card.network_scale)
        assert torch.isfinite(y).all()

    def test_the_same_network_is_pruned_alike(self, row: Method, network: Network) -> None:
        first, second = (self.pruned(network, row) for _ in range(2))
        assert first[1].plan == second[1].plan
        digests = {weights_sha256(small.module.state_dict()) for small, _ in (first, second)}
        assert len(digests) == 1

    def test_the_given_network_is_left_as_it_is(self, row: Method, network: Network) -> None:
        before = weights_sha256(network.module.state_dict()), network.card
        self.pruned(network, row)
        assert (weights_sha256(network.module.state_dict()), network.card) == before

    def test_layers_can_be_left_alone(self, row: Method, network: Network) -> None:
        group = next(g for g in find_groups(network).groups if g.status == "free")
        _, report = self.pruned(network, row, exclude=(group.layers[0],))
        assert group.name not in report.plan.removed
