"""Needs the extra ``litert`` (1.3 GB): skipped where it is not installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from srdeploy.errors import UserError
from srdeploy.models.registry import create
from srdeploy.runtime.open import open_session
from srdeploy.runtime.table import LITERT, LITERT_TORCH

if not (LITERT_TORCH.availability() and LITERT.availability()):
    pytest.skip("pip install 'srdeploy[litert]' to run this", allow_module_level=True)

from srdeploy.exporting.litert import export_litert


@pytest.mark.parametrize(
    ("arch", "config"),
    [
        ("vdsr", {"n_layers": 3, "n_feats": 4}),
        ("edsr", {"n_blocks": 1, "n_feats": 8}),
        ("ledsr", {"n_blocks": 1, "n_feats": 8}),
        ("rirsr", {"n_groups": 1, "n_blocks": 1, "n_feats": 8}),
    ],
)
def test_every_architecture_at_x3(arch: str, config: dict, tmp_path: Path) -> None:
    network = create(arch, scale=3, **config)
    report = export_litert(network, tmp_path / "net.tflite", sizes="23x17")
    assert report.parity is not None
    assert report.parity.relative < 1e-5
    assert report.operators["CONV_2D"] >= 2  # of one channel: DEPTHWISE_CONV_2D
    with open_session(tmp_path / "net.tflite", threads=1) as session, open_session(network) as own:
        assert session.runtime == "litert"
        assert session.card.model_copy(update={"history": []}) == network.card
        x = np.random.default_rng(0).uniform(0, 1, (2, network.card.channels, 17, 23))
        x = (x * network.card.value_range).astype(np.float32)
        np.testing.assert_allclose(session.run(x), own.run(x), atol=1e-4 * network.card.value_range)
        with pytest.raises(UserError, match="takes 1x"):
            session.run(x[..., :20].copy())


def test_equal_networks_give_equal_bytes(tmp_path: Path) -> None:
    network = create("ledsr", scale=2, n_blocks=1, n_feats=4)
    first = export_litert(network, tmp_path / "a.tflite", sizes="16x16")
    assert export_litert(network, tmp_path / "b.tflite", sizes="16x16").sha256 == first.sha256


def test_damaged_files_are_one_sentence(tmp_path: Path) -> None:
    network = create("ledsr", scale=2, n_blocks=1, n_feats=4)
    export_litert(network, tmp_path / "net.tflite", sizes="16x16")
    whole = (tmp_path / "net.tflite").read_bytes()
    for data in (whole[: len(whole) // 2], whole[:40], b"", b"hello world"):
        (tmp_path / "bad.tflite").write_bytes(data)
        with pytest.raises(UserError, match=r"truncated|no TFLite"):
            open_session(tmp_path / "bad.tflite")
