"""The places around a training step, and that nothing stays in them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tests.pruning.walk import Walk


class Memory:
    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def test_what_is_added_is_called_and_taken_away_again() -> None:
    module, walk = nn.Linear(1, 1), Walk()
    called: list[str] = []
    walk._init_optimizer_helpers(module)
    walk.bind_model(module)
    assert walk.model is module
    walk.patch_optimizer_step([lambda: called.append("before")], [lambda: called.append("after")])
    walk.patch_optimizer_step([lambda: called.append("2nd")], [])
    walk.patch_loss(lambda loss, _: loss + 1)
    walk.patch_loss(lambda loss, _: loss * 3)
    walk.report(dict)
    walk.remember(Memory())
    walk.train(1)
    assert called == ["before", "2nd", "after"]
    plain, patched = walk.losses[0]
    assert abs(patched - (plain + 1) * 3) < 1e-5
    walk.revert_loss()
    walk.train(1)
    assert walk.losses[1][0] == walk.losses[1][1]
    walk.revert_optimizer_step()
    walk.train(1)
    assert called == ["before", "2nd", "after"] * 2


def test_unbinding_forgets_everything() -> None:
    module, walk = nn.Linear(1, 1), Walk()
    walk.bind_model(module)
    walk.patch_optimizer_step([lambda: None], [lambda: None])
    walk.patch_loss(lambda loss, _: loss)
    walk.report(dict)
    walk.remember(Memory())
    removed: list[bool] = []
    walk.remove_all_hooks = lambda: removed.append(True)  # type: ignore[method-assign]
    walk.unbind_model()
    assert removed == [True]  # NNI's own hooks on the module
    kept = (walk.before_step, walk.after_step, walk.loss_patches, walk.reporters, walk.remembered)
    assert [len(found) for found in kept] == [0] * 5
    assert walk.model is None
    assert torch.is_tensor(module.weight)
