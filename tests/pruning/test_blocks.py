"""The blocks of channels that targets compute in."""

from __future__ import annotations

import pytest

from srdeploy.errors import UserError
from srdeploy.pruning.blocks import BLOCKS, UNKNOWN, find_block, targets
from srdeploy.pruning.options import PruneOptions, count_removed


@pytest.mark.parametrize(
    ("features", "channels"),
    [(("avx2", "avx512f"), 16), (("avx2",), 8), ((), 8), (("asimd", "asimddp"), 4)],
)
def test_the_cpu_decides_for_onnxruntime(features: tuple[str, ...], channels: int) -> None:
    assert find_block("onnxruntime", features).channels == channels


def test_gpus_do_not_ask_the_cpu() -> None:
    assert find_block("trt", ("avx512f",)).channels == 8
    assert find_block("trt-int8").channels == 32


@pytest.mark.parametrize("target", UNKNOWN)
def test_no_number_is_made_up(target: str) -> None:
    with pytest.raises(UserError, match=r"No block .* give --round-to a number"):
        find_block(target)


def test_unknown_target_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'onnxruntime'"):
        find_block("onnxruntme")


def test_every_row_is_reachable_and_explained() -> None:
    for row in BLOCKS:
        assert find_block(row.target, row.needs) is row
        assert row.why
    assert set(targets()) == {row.target for row in BLOCKS} | set(UNKNOWN)


def test_the_measured_case() -> None:
    """64 channels at ratio 0.3 leave 45, which cost what 48 cost: auto keeps 48."""
    block = find_block("onnxruntime", ("avx512f",)).channels
    assert 64 - count_removed(64, 0.3) == 44
    assert 64 - count_removed(64, 0.3, block) == 48


@pytest.mark.parametrize(
    ("asked", "channels"), [("auto", 4), ("trt-int8", 32), ("24", 24), (24, 24)]
)
def test_options_take_a_block_by_name(
    asked: str | int, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("srdeploy.pruning.blocks.cpu_features", lambda: ["asimd"])
    options = PruneOptions.model_validate({"ratio": 0.5, "round_to": asked})
    assert options.round_to == options.model_dump()["round_to"] == channels


@pytest.mark.parametrize(
    ("asked", "reason"),
    [("atuo", "did you mean 'auto'"), ("coreml", "No block of channels is known"), (0, "give 1")],
)
def test_options_refuse_what_is_no_block(asked: str | int, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        PruneOptions.model_validate({"ratio": 0.5, "round_to": asked})
