"""Pruning SMSR: masks go with their channels, and the compact network is the masked one."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from srdeploy.compacting.run import prune_oneshot
from srdeploy.compacting.surgery import compact
from srdeploy.models.load import load_network
from srdeploy.models.network import Network
from srdeploy.models.registry import ARCHITECTURES, create
from srdeploy.models.smsr.network import SMSR
from srdeploy.models.store import read_network, save_network
from srdeploy.pruning.options import PruneOptions
from srdeploy.pruning.plan import apply_masks
from srdeploy.pruning.tracing.groups import find_groups
from tests.pruning.helpers import group_with, random_plan


def network(seed: int, **config: int) -> Network:
    torch.manual_seed(seed)
    return create(
        "smsr", **{"n_modules": 1, "n_feats": 8, "mask_feats": 4, "reduction": 2, **config}
    )


def test_groups() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        grouping = find_groups(network(0, n_modules=2))
    trunk = group_with(grouping, "head.2")
    assert trunk.status == "coupled"
    assert {"body.0.body.collect", "body.1.body.collect", "collect.2"} <= set(trunk.layers)
    assert {"body.0.spa_mask.0", "body.0.body.body.0", "collect.0", "tail.0"} <= set(trunk.readers)
    for layer in ("body.0.body.body.0", "body.1.body.body.3", "body.0.spa_mask.3", "collect.0"):
        assert group_with(grouping, layer).status == "free"
    assert group_with(grouping, "body.0.spa_mask.5").status == "untouchable"
    # The channel mask of a layer, and of no other, goes with its channels.
    masked = group_with(grouping, "body.0.body.body.1")
    along = {axis.tensor for atom in masked.atoms for axis in atom.members if axis.role == "along"}
    assert along == {f"body.0.body.ch_mask.1.{kind}" for kind in ("dense", "sparse")}


drawn_cases = given(
    seed=st.integers(0, 10_000),
    n_layers=st.integers(1, 4),
    n_modules=st.integers(1, 2),
    scale=st.sampled_from([2, 3, 4]),
    spatial=st.sampled_from(["drawn", "empty", "full"]),
    channels=st.sampled_from(["drawn", "dense", "sparse"]),
)


def check(
    folder: Path,
    seed: int,
    n_layers: int,
    n_modules: int,
    scale: int,
    spatial: str,
    channels: str,
) -> None:
    whole = network(seed, n_layers=n_layers, n_modules=n_modules, scale=scale)
    assert isinstance(whole.module, SMSR)
    with torch.no_grad():
        for one in whole.module.mask_modules():
            if spatial != "drawn":
                one.spa_mask[-1].bias.copy_(torch.tensor([0.0, 9.0 if spatial == "full" else -9.0]))
            for mask in one.body.ch_mask:
                if channels != "drawn":
                    mask.dense.fill_(1.5 if channels == "dense" else -0.5)
    plan = random_plan(find_groups(whole), seed)
    small = compact(whole, plan)
    masked = whole.copy().module
    apply_masks(masked, plan)
    for size in ((16, 21), (9, 8)):
        x = torch.rand(2, 3, *size, dtype=torch.float64) * 255
        with torch.no_grad():
            wanted, got = masked.double()(x), small.copy().module.double()(x)
        assert float((wanted - got).abs().max()) < 255e-9
    for one in small.module.mask_modules():
        for conv, mask in zip(one.body.body, one.body.ch_mask, strict=True):
            assert mask.dense.shape == mask.sparse.shape == (1, conv.out_channels, 1, 1)
    path = folder / "n.safetensors"
    save_network(small, path)
    again = read_network(path)
    x = torch.rand(1, 3, 9, 8) * 255
    with torch.no_grad():
        assert torch.equal(again.module(x), small.module(x))


@settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@drawn_cases
@example(seed=1, n_layers=2, n_modules=1, scale=2, spatial="empty", channels="sparse")
@example(seed=2, n_layers=2, n_modules=1, scale=3, spatial="full", channels="dense")
@example(seed=3, n_layers=1, n_modules=2, scale=4, spatial="drawn", channels="drawn")
def test_masked_equals_compact(tmp_path_factory: pytest.TempPathFactory, **drawn: Any) -> None:
    check(tmp_path_factory.mktemp("smsr"), **drawn)


@pytest.mark.slow
@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@drawn_cases
def test_masked_equals_compact_many_times(
    tmp_path_factory: pytest.TempPathFactory, **drawn: Any
) -> None:
    check(tmp_path_factory.mktemp("smsr"), **drawn)


def prunes_by_half(whole: Network, last: str, left: float) -> dict[str, int]:
    small, report = prune_oneshot(
        whole, PruneOptions(ratio=0.5, exclude=ARCHITECTURES["smsr"].leave_alone)
    )
    assert report.proof["max_difference"] < 1e-9
    widths = small.card.widths
    assert (
        widths[last] == widths["head.2"] == widths["collect.0"] == whole.card.widths["head.2"] / 2
    )
    assert widths["tail.0"] == 12
    assert report.after.params < left * report.before.params
    return widths


def test_pruning_by_half() -> None:
    prunes_by_half(network(0, n_modules=2, n_feats=16), "body.1.body.body.3", 0.4)


@pytest.mark.slow
def test_published_network(shared_data: Path) -> None:
    whole = load_network(shared_data / "weights" / "smsr" / "SMSR_X2_model_1000.pt")
    assert prunes_by_half(whole, "body.4.body.body.3", 0.3)["head.2"] == 32
