"""Networks built from a card alone, and factories that are none."""

from __future__ import annotations

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
