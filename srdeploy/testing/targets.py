"""What every export target must do. A target's test subclasses, and names it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from srdeploy.errors import UserError
from srdeploy.exporting.probe import run_torch
from srdeploy.exporting.range_folding import change_range
from srdeploy.exporting.run import export
from srdeploy.exporting.targets import TARGETS, Target
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.runtime.card_of import read_card_of
from srdeploy.runtime.open import open_session
from srdeploy.runtime.table import RUNTIMES
from srdeploy.testing.pictures import measured_on, write_middles
from srdeploy.util.plugins import code_of


class TargetContract:
    """Tests of one target; they build small networks with it and run them.

    Attributes:
        target: Its name in the table.
        options: What the exporter is given.
        size: Height and width of an input that the artifact takes.
        tolerance: Of its results against torch, over the value range.
        reproducible: Equal networks give equal content.
        value_range: Pixels run to this in all of its artifacts; None: as in the network.
    """

    target: ClassVar[str]
    options: ClassVar[dict[str, Any]] = {}
    size: ClassVar[tuple[int, int]] = (17, 23)
    tolerance: ClassVar[float] = 1e-4
    reproducible: ClassVar[bool] = True
    value_range: ClassVar[float | None] = None

    @pytest.fixture(autouse=True)
    def _small_builtin(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        with measured_on(write_middles(tmp_path_factory.mktemp("builtin"))):
            yield

    @pytest.fixture
    def row(self) -> Target:
        row = TARGETS[self.target]
        if not (can := row.availability()):
            pytest.skip(f"{self.target}: {can.reason}")
        return row

    @pytest.fixture(params=["rgb", "luma"])
    def network(self, request: pytest.FixtureRequest) -> Network:
        if request.param == "luma":
            return create("vdsr", n_layers=3, n_feats=4)
        return create("ledsr", scale=3, n_blocks=1, n_feats=8)

    def test_the_row_is_sound(self, row: Target) -> None:
        assert row.name == self.target
        assert row.title
        assert row.builds_on
        assert row.runs_on
        assert row.suffix in RUNTIMES[row.runtime].suffixes
        for place, source in ((row.exporter, "network"), (row.converter, "onnx")):
            if place:
                known = inspect.signature(code_of(place)).parameters
                taken = {k for k, o in row.own_options().items() if o.source in (None, source)}
                assert taken <= {*known} or "options" in known

    def test_the_artifact_is_the_network(
        self, row: Target, network: Network, tmp_path: Path
    ) -> None:
        path = tmp_path / f"net{row.suffix}"
        report = export(network, self.target, path, **self.options)
        assert report.target == self.target
        assert Path(report.path) == path
        assert report.bytes > 0
        assert report.parity is not None, "the exporter compares its result with the network"
        assert report.parity.relative <= self.tolerance
        if self.value_range is not None:
            network = change_range(network, self.value_range).network
        card = read_card_of(path)
        assert card.model_copy(update={"history": []}) == network.card.model_copy(
            update={"history": []}
        )
        assert card.history[-1]["step"] == "export"
        assert card.history[-1]["target"] == self.target
        shape = (1, card.channels, *self.size)
        x = np.random.default_rng(0).random(shape, np.float32) * np.float32(card.value_range)
        with open_session(path, threads=1) as session:
            assert session.card == card
            found = session.run(x)
        np.testing.assert_allclose(
            found, run_torch(network, x), atol=self.tolerance * card.value_range
        )

    def test_equal_networks_give_equal_content(
        self, row: Target, network: Network, tmp_path: Path
    ) -> None:
        if not self.reproducible:
            pytest.skip(f"{self.target} files differ each time")
        first, second = (
            export(network, self.target, tmp_path / f"{name}{row.suffix}", **self.options)
            for name in ("first", "second")
        )
        assert first.sha256 == second.sha256

    def test_a_network_that_breaks_leaves_nothing(
        self, row: Target, network: Network, tmp_path: Path
    ) -> None:
        next(network.module.parameters()).data.fill_(np.nan)
        with pytest.raises(Exception, match=r"\w"):
            export(network, self.target, tmp_path / f"net{row.suffix}", **self.options)
        assert not list(tmp_path.iterdir())

    def test_what_is_not_offered_is_refused(self, row: Target, tmp_path: Path) -> None:
        network = create("ledsr", n_blocks=1, n_feats=8)
        with pytest.raises(UserError, match="does not apply to"):
            export(network, self.target, tmp_path / f"net{row.suffix}", nonsense=1)
        with pytest.raises(UserError, match="must end in"):
            export(network, self.target, tmp_path / "net.other")
