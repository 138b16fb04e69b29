"""Networks built from a card alone, and factories that are none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from srdeploy.errors import UserError
from srdeploy.models import (
    store,
)
from srdeploy.models.network import Network
from srdeploy.models.registry import create


@pytest.fixture
def edsr() -> Network:
    return create("edsr", n_blocks=1, n_feats=4)


def test_fresh_weights_leave_the_shifts_as_they_are(edsr: Network) -> None:
    made = store.build(edsr.card)
    for name in ("sub_mean", "add_mean"):
        for key, value in edsr.module.get_submodule(name).state_dict().items():
            torch.testing.assert_close(made.module.get_submodule(name).state_dict()[key], value)
    assert not made.module.training


@pytest.mark.parametrize(
    ("spec", "told"),
    [("json:nothing", "Cannot import"), ("no_such_module:x", "Cannot import"),
     ("math:pi", "is not callable"), ("builtins:dict", "returned dict, not a module")],
)  # fmt: skip
def test_what_is_no_factory_of_networks(spec: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        store.user_factory(spec)()


@pytest.mark.parametrize("error", [OSError("gone"), ValueError("odd"), RuntimeError("short")])
def test_tensors_that_cannot_be_read_are_one_sentence(
    error: Exception, edsr: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    store.save_network(edsr, tmp_path / "a.safetensors")
    monkeypatch.setattr(store, "safe_open", fail)
    with pytest.raises(UserError, match=rf"Cannot read the tensors in '.*' \({error}\)\.$"):
        store.read_network(tmp_path / "a.safetensors")
