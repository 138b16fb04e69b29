"""Recovery of a fitted network: minutes, or a recipe."""

from __future__ import annotations

from pathlib import Path

import pytest

from srdeploy.errors import UserError
from srdeploy.fitting import recover as module
from srdeploy.fitting.recover import check_recovery, recover
from srdeploy.models.registry import create
from srdeploy.models.store import save_network


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_minutes_become_iterations_once(
    precision: str, tmp_path: Path, small_builtin: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TRIAL", 1)
    monkeypatch.setattr(module, "LEAST", 2)
    network = create("ledsr", n_blocks=1, n_feats=8)
    teacher = tmp_path / "dense.safetensors"
    save_network(network, teacher)
    found = recover(network, teacher, "0.0001", precision, (), tmp_path)
    step = found.card.history[-1]
    assert (step["step"], step["iterations"]) == ("finetune", 2)
    assert (found.card.quantised is not None) == (precision == "int8")
    assert (tmp_path / "iterations.txt").read_text() == "2"


def test_what_is_no_recovery_is_refused(tmp_path: Path) -> None:
    for asked in ("soon", "-1", "nan"):
        with pytest.raises(UserError, match="neither a number of minutes nor"):
            check_recovery(asked)
    check_recovery("0")
    check_recovery(__file__)
