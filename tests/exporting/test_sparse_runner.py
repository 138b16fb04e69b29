"""SMSR's model files: what export writes, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting import sparse_runner
from srdeploy.exporting.run import export
from srdeploy.models.registry import create
from srdeploy.runtime.card_of import read_card_of
from srdeploy.sparse.compiler import Unavailable
from srdeploy.sparse.model_file import read_model

OPTIONS = {"n_modules": 1, "n_layers": 2, "n_feats": 8, "mask_feats": 4, "reduction": 4}


@pytest.mark.usefixtures("small_builtin")
def test_without_a_compiler_the_report_says_what_was_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> None:
        raise Unavailable("there is no C compiler (cc, gcc, clang)")

    monkeypatch.setattr(sparse_runner, "load_library", none)
    report = export(create("smsr", **OPTIONS), "sparse-runner", tmp_path / "net.smsr")
    assert report.parity is None
    assert report.notes == [
        "not compared with the network, as it cannot run here: there is no C compiler (cc, gcc, "
        "clang)"
    ]
    card, sizes = read_model(tmp_path / "net.smsr")
    assert card == read_card_of(tmp_path / "net.smsr")
    assert sizes.modules[0][3][0][0] == 8


def test_what_is_no_smsr(tmp_path: Path) -> None:
    path = tmp_path / "net.smsr"
    with pytest.raises(UserError, match="runs SMSR networks, this one is ledsr"):
        export(create("ledsr", n_blocks=1, n_feats=4), "sparse-runner", path)
    network = create("smsr", **OPTIONS)
    with pytest.raises(UserError, match="has no dense form; leave --dense-masks out"):
        export(network, "sparse-runner", path, sparse=False)
    with pytest.raises(UserError, match="--calibration goes with --precision int8"):
        export(network, "sparse-runner", path, precision="bf16", calibration="builtin")
    with torch.no_grad():
        network.module.head[0].weight[0] = float("inf")
    with pytest.raises(SrdeployError, match="are no finite numbers"):
        export(network, "sparse-runner", path)
    assert not list(tmp_path.iterdir())
