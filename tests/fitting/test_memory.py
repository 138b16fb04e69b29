from __future__ import annotations

import pytest

from srdeploy.errors import UserError
from srdeploy.fitting.memory import fit_memory, widest
from srdeploy.fitting.subject import Subject
from srdeploy.models.registry import create


def test_memory_follows_the_widest_layer() -> None:
    tiny = Subject.of(create("ledsr", n_blocks=2, n_feats=16))
    lost = [{}, {g.name: 8 for g in tiny.groups}, {g.name: 4 for g in tiny.groups}]
    observed = [(one, 30 + 0.5 * widest(tiny.uses, one)) for one in lost]
    model = fit_memory(tiny.uses, 44.0, observed)
    for one, mb in observed:
        assert model.mb(one) == pytest.approx(mb)
    assert model.allows(lost[1])
    assert not model.allows(lost[0])
    use = next(u for u in tiny.uses.layers if u.name == "body.0.body.0")
    assert model.allows_layer(use, 12, 16)
    assert not model.allows_layer(use, 13, 16)


def test_a_device_that_does_not_tell_keeps_no_limit(tiny: Subject) -> None:
    with pytest.raises(UserError, match="does not tell"):
        fit_memory(tiny.uses, 40.0, [({}, None)])
