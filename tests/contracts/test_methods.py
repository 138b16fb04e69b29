"""The contract of :mod:`srdeploy.testing.methods`, kept by the methods that do not train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from srdeploy.errors import SrdeployError, UserError
from srdeploy.line.recipe import OneShot
from srdeploy.line.schema import line_schema
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.pruning.methods.oneshot import plan_oneshot
from srdeploy.pruning.methods.table import METHODS, Method, check_settings, names
from srdeploy.pruning.options import PruneOptions
from srdeploy.pruning.tracing.groups import Grouping
from srdeploy.testing.methods import MethodContract

FIRST = Method("first", "scored", "the first channels go", chooses=f"{__name__}:first")
WRONG = Method("wrong", "scored", "gives what is told", chooses=f"{__name__}:wrong")
ANSWER: dict[str, Sequence[int]] = {}


def first(
    network: Network, grouping: Grouping, counts: Mapping[str, int], options: PruneOptions
) -> dict[str, list[int]]:
    """A choice of the simplest kind."""
    return {name: list(range(count)) for name, count in counts.items()}


def wrong(network: Any, grouping: Any, counts: Mapping[str, int], options: Any) -> Any:
    """What the test wants, in place of the choice for the first group."""
    return first(network, grouping, counts, options) | ANSWER


@pytest.fixture(autouse=True)
def _own_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "first", FIRST)
    monkeypatch.setitem(METHODS, "wrong", WRONG)


class TestL1(MethodContract):
    method = "l1"


class TestObs(MethodContract):
    method = "obs"


class TestReconstruct(MethodContract):
    method = "reconstruct"


class TestScoresOfItsOwn(MethodContract):
    method = "first"

    def test_it_is_what_chooses(self, row: Method, network: Network) -> None:
        _, report = self.pruned(network, row)
        assert all(gone == list(range(len(gone))) for gone in report.plan.removed.values())
        assert "criterion" not in report.plan.options


def test_no_method_is_forgotten() -> None:
    classes = [c for c in globals().values() if isinstance(c, type) and c is not MethodContract]
    kept = {c.method for c in classes if issubclass(c, MethodContract)}
    assert kept == {*names("scored", "reconstructed")} - {"wrong"}


@pytest.mark.parametrize(
    "answer", [{"g1": [0]}, {"g1": [0, 0, 0, 0]}, {"g1": range(5, 9)}, {"x": [1]}]
)
def test_a_wrong_choice_removes_nothing(
    answer: dict[str, Sequence[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = create("edsr", n_blocks=1, n_feats=8)
    monkeypatch.setitem(globals(), "ANSWER", answer)
    with pytest.raises(SrdeployError, match="The method wrong was to choose"):
        plan_oneshot(network, PruneOptions(ratio=0.5), method=WRONG)


def test_its_settings_are_checked_and_its_name_is_taken() -> None:
    with pytest.raises(UserError, match="criterion belongs to method l1; first chooses by scores"):
        check_settings(FIRST, scores=True)
    check_settings(FIRST, refits=True, calibrates=True)
    assert OneShot(method="first").method == "first"
    known = line_schema()["$defs"]["OneShot"]["properties"]["method"]["enum"]
    assert known == ["l1", "obs", "reconstruct", "first", "wrong"]
    with pytest.raises(ValueError, match="which prune without training"):
        OneShot(method="srp")
