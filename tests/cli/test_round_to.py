"""``srdeploy prune --round-to auto --for TARGET``."""

from __future__ import annotations

from pathlib import Path

import pytest

from srdeploy.models.registry import create
from srdeploy.models.store import save_network


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    path = tmp_path / "wide.safetensors"
    save_network(create("ledsr", n_blocks=1, n_feats=36), path)
    return path


def _widths(command, wide: Path, *options: str) -> tuple[set[int], int]:
    report = command(
        "prune", wide, "--ratio", "0.3", *options, "--no-quality", "-o", wide.with_name("s.st")
    )
    inner = {n for name, n in report["widths"].items() if name.startswith(("head", "body"))}
    return inner, report["options"]["round_to"]


@pytest.mark.parametrize(
    ("features", "target", "block", "width"),
    [(["avx512f"], (), 16, 32), (["asimd"], (), 4, 24), ([], ("--for", "trt"), 8, 24)],
)
def test_auto_takes_the_targets_block(
    command, wide: Path, monkeypatch, features: list[str], target: tuple, block: int, width: int
) -> None:
    monkeypatch.setattr("srdeploy.pruning.blocks.cpu_features", lambda: features)
    assert _widths(command, wide, "--round-to", "auto", *target) == ({width}, block)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--round-to", "atuo"), "--round-to 'atuo' is no number of channels"),
        (("--round-to", "8", "--for", "trt"), "write --round-to auto"),
        (("--round-to", "auto", "--for", "coreml"), "No block of channels is known for coreml"),
        (("--round-to", "0"), "--round-to 0 is impossible"),
    ],
)
def test_refusals(refused, tiny: Path, options: tuple[str, ...], reason: str) -> None:
    code, sentence = refused("prune", tiny, *options, "-o", tiny.with_name("s.st"))
    assert code == 2
    assert reason in sentence
