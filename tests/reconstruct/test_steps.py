"""What is kept of an unfinished reconstruction, and that it is gone on from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.pruning.options import PruneOptions
from srdeploy.reconstruct import refit as refit_module
from srdeploy.reconstruct import run as run_module
from srdeploy.reconstruct import steps as steps_module
from srdeploy.reconstruct.calibration import Calibration
from srdeploy.reconstruct.run import prune_by_cost
from srdeploy.reconstruct.steps import CHOSEN, FITTED, Steps, origin_of

FEW = Calibration(patches=4)
HALF = PruneOptions(ratio=0.5, exclude=("tail.*",))


class Killed(Exception):
    """The process ends here."""


@pytest.fixture
def network() -> Network:
    torch.manual_seed(3)
    return create("edsr", n_blocks=2, n_feats=8)


@pytest.fixture(autouse=True)
def _always_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps_module, "EVERY_SECONDS", 0.0)


class Solves:
    """Counts the layers that are solved for, and ends before a certain one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, last: int | None = None) -> None:
        self.layers: list[str] = []
        solve = refit_module._solve

        def counted(name: str, *given: Any) -> Any:
            if len(self.layers) == last:
                raise Killed
            self.layers.append(name)
            return solve(name, *given)

        monkeypatch.setattr(refit_module, "_solve", counted)


def made(network: Network, folder: Path | None, **how: Any) -> dict[str, torch.Tensor]:
    small, _ = prune_by_cost(network, HALF, FEW, rotate=True, folder=folder, **how)
    return small.module.state_dict()


def test_it_goes_on_with_the_layer_that_was_next(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "runs" / "small" / "reconstruct"
    with monkeypatch.context() as patch:
        whole = Solves(patch)
        wanted = made(network, None)
    with monkeypatch.context() as patch:
        first = Solves(patch, last=3)
        with pytest.raises(Killed):
            made(network, folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        f"{CHOSEN}.safetensors", f"{FITTED}.safetensors",
    ]  # fmt: skip
    with monkeypatch.context() as patch:
        rest = Solves(patch)
        patch.setattr(run_module._Chooser, "best", None)  # is not called again
        found = made(network, folder)
    assert first.layers + rest.layers == whole.layers
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("changed", ["weights", "ratio", "images", "method", "damaged"])
def test_what_another_call_left_is_not_gone_on_from(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    folder = tmp_path / "reconstruct"
    with monkeypatch.context() as patch:
        Solves(patch, last=3)
        with pytest.raises(Killed):
            made(network, folder)
    options, images, rotate = HALF, FEW, True
    if changed == "weights":
        with torch.no_grad():
            network.module.get_parameter("head.0.weight").mul_(1.5)
    elif changed == "ratio":
        options = PruneOptions(ratio=0.25, exclude=HALF.exclude)
    elif changed == "images":
        images = Calibration(patches=3)
    elif changed == "method":
        rotate = False
    else:
        for path in folder.iterdir():
            path.write_bytes(path.read_bytes()[:-40])
    small, _ = prune_by_cost(network, options, images, rotate=rotate, folder=folder)
    wanted, _ = prune_by_cost(network, options, images, rotate=rotate)
    for name, tensor in wanted.module.state_dict().items():
        assert torch.equal(small.module.state_dict()[name], tensor), name


def test_without_a_folder_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    steps = Steps()
    steps.write(CHOSEN, {"a": torch.ones(2)}, [])
    assert steps.read(CHOSEN) is None
    assert not steps.due()
    steps.clear()
    assert list(tmp_path.iterdir()) == []


def test_the_folder_stays_where_something_else_is_in_it(tmp_path: Path) -> None:
    steps = Steps(tmp_path / "run", origin_of({"a": torch.ones(2)}, {"ratio": 0.5}))
    steps.write(CHOSEN, {"a": torch.ones(2)}, {"plan": [1]})
    tensors, facts = steps.read(CHOSEN) or ({}, None)
    assert facts == {"plan": [1]}
    assert torch.equal(tensors["a"], torch.ones(2))
    (tmp_path / "run" / "mine.txt").write_text("mine")
    steps.clear()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine.txt"]


def test_the_origin_is_all_that_decides() -> None:
    one = origin_of({"a": torch.ones(2)}, {"ratio": 0.5})
    assert one == origin_of({"a": torch.ones(2)}, {"ratio": 0.5})
    assert one != origin_of({"a": torch.zeros(2)}, {"ratio": 0.5})
    assert one != origin_of({"a": torch.ones(2)}, {"ratio": 0.25})


def test_a_folder_above_the_run_stays(tmp_path: Path) -> None:
    steps = Steps(tmp_path / "mine" / "run" / "reconstruct", "origin")
    steps.write(CHOSEN, {"a": torch.ones(2)}, {})
    steps.clear()
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_kept_network_that_computes_something_else_is_not_believed(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "reconstruct"
    wanted = made(network, None)
    with monkeypatch.context() as patch:
        Solves(patch, last=0)
        read = Steps.read
        with pytest.raises(Killed):
            made(network, folder)

        def altered(self: Steps, name: str) -> Any:
            found = read(self, name)
            if found is not None:
                found[0]["head.0.weight"] *= 1.01
            return found

    monkeypatch.setattr(Steps, "read", altered)
    found = made(network, folder)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
