"""What a report of pruning tells, and which networks are measured."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest
import torch

from srdeploy.compacting import run
from srdeploy.compacting.run import PruneReport, prune_oneshot
from srdeploy.errors import SrdeployError
from srdeploy.models.registry import create
from srdeploy.pruning.options import PruneOptions
from srdeploy.pruning.tracing.groups import find_groups


@pytest.mark.parametrize(
    ("masked", "compact_", "right"),
    [({"psnr_y": 30.0}, {"psnr_y": 30.0099}, True), ({"psnr_y": 30.0}, {"psnr_y": 29.9901}, True),
     ({"psnr_y": 30.0}, {"psnr_y": 30.011}, False), ({"psnr_y": 30.0}, {"psnr_y": 29.989}, False),
     ({"psnr_rgb": 30.0}, {"psnr_rgb": 20.0}, False), ({"ssim_y": 0.9}, {"ssim_y": 0.1}, True),
     ({"psnr_y": float("inf")}, {"psnr_y": 90.0}, False)],
)  # fmt: skip
def test_masked_and_compact_within_a_hundredth(masked: dict, compact_: dict, right: bool) -> None:
    assert run.PSNR_ROUNDING == 0.01
    if right:
        run._must_measure_alike(masked, compact_)
        return
    with pytest.raises(SrdeployError, match=r"no network is written\. Please report"):
        run._must_measure_alike(masked, compact_)


@pytest.fixture(scope="module")
def pruned() -> tuple[Any, Any, PruneReport]:
    torch.manual_seed(0)
    dense = create("ledsr", n_blocks=2, n_feats=8)
    small, report = prune_oneshot(dense, PruneOptions(ratio=0.5, exclude=("body.1*",)))
    return dense, small, report


def test_the_report_adds_up(pruned: tuple[Any, Any, PruneReport]) -> None:
    dense, small, report = pruned
    told = report.to_dict()
    assert list(told) == [
        *("method", "options", "params", "macs_720p", "proof", "quality", "groups", "blocks"),
        *("remarks", "unprunable"),
    ]
    assert told["params"] == {
        "dense": sum(p.numel() for p in dense.module.parameters() if p.requires_grad),
        "compact": sum(p.numel() for p in small.module.parameters() if p.requires_grad),
    }
    assert told["macs_720p"]["compact"] < told["macs_720p"]["dense"]
    assert told["quality"] == {}
    assert told["proof"] is small.card.proof
    assert told["method"] == report.plan.method
    for row, group in zip(told["groups"], find_groups(dense).groups, strict=True):
        gone = len(report.plan.removed.get(group.name, [])) * group.block
        assert row["kept"] == row["channels"] - gone
        assert row["removed_ratio"] == round(gone / row["channels"], 4)
        excluded = row["status"] == "excluded"
        assert excluded == (row.get("why") == ["left alone by the pattern 'body.1*'"])
        assert gone == 0 or not excluded
    assert {row["status"] for row in told["groups"]} > {"excluded"}
    assert any(row["kept"] < row["channels"] for row in told["groups"])


def test_each_stage_is_measured_in_turn() -> None:
    torch.manual_seed(0)
    dense = create("ledsr", n_blocks=1, n_feats=8)
    seen: list[tuple[str, int, int]] = []

    def measure(stage: str, network: Any) -> dict[str, Any]:
        weights = list(network.module.parameters())
        zeros = sum(int((p == 0).sum()) for p in weights)
        seen.append((stage, sum(p.numel() for p in weights), zeros))
        return {"psnr_y": 30.0, "stage": stage}

    _, report = prune_oneshot(dense, PruneOptions(ratio=0.5), measure)
    assert [stage for stage, *_ in seen] == ["dense", "masked", "compact"]
    (_, full, none), (_, same, many), (_, less, _) = seen
    assert full == same > less
    assert many > none
    assert [report.quality[name]["stage"] for name in report.quality] == [*report.quality]


def test_a_report_does_not_change(pruned: tuple[Any, Any, PruneReport]) -> None:
    with pytest.raises(FrozenInstanceError):
        pruned[2].proof = {}  # type: ignore[misc]


def test_a_ratio_that_did_not_come_out_is_remarked() -> None:
    dense = create("ledsr", n_blocks=1, n_feats=16)
    _, report = prune_oneshot(dense, PruneOptions(ratio=0.3, round_to=8, exclude=("tail.*",)))
    (remark,) = report.to_dict()["remarks"]
    assert remark.startswith("of 16 channels 50% go where 30% was asked for: --round-to 8 keeps")
    assert {row["removed_ratio"] for row in report.groups} == {0.0, 0.5}
    _, near = prune_oneshot(dense, PruneOptions(ratio=0.5, round_to=8, exclude=("tail.*",)))
    assert near.remarks == []
