from __future__ import annotations

import pytest

from srdeploy.errors import UserError
from srdeploy.fitting.subject import Subject
from srdeploy.fitting.uses import LayerKind, Width
from srdeploy.models.count import macs_by_layer
from srdeploy.models.registry import create


def test_layers_have_their_kinds_and_the_widths_that_pruning_leaves(tiny: Subject) -> None:
    uses = {use.name: use for use in tiny.uses.layers}
    first, second = uses["body.0.body.0"], uses["body.0.body.2"]
    assert first.kind == LayerKind((3, 3), 1, 1.0, "Relu")
    assert second.kind.follow == "Add"
    assert first.outputs == second.inputs
    assert str(second.kind) == "3x3 conv + Add"
    (group,) = [g for g in tiny.groups if g.layers == ["body.0.body.0"]]
    assert first.outputs.left({group.name: 6}) == 10
    assert first.inputs.left({group.name: 6}) == 16
    assert uses["head.0"].is_end
    assert not first.is_end


def test_their_arithmetic_is_the_networks() -> None:
    subject = Subject.of(create("edsr", scale=2, n_feats=8, n_blocks=1))
    found = {
        use.name: use.inputs.full * use.outputs.full * 9 * use.kind.factor**2 * 16 * 24
        for use in subject.uses.layers
        if use.kind.kernel == (3, 3)
    }
    counted = macs_by_layer(subject.network, 16, 24)
    assert found == {name: counted[name] for name in found}


def test_groups_of_concatenated_channels_add_up() -> None:
    assert Width(24, (("a", 1.0), ("b", 2.0))).left({"a": 4, "b": 3}) == 14


def test_layers_that_stay_are_no_choice() -> None:
    network = create("edsr", scale=2, n_feats=8, n_blocks=1)
    assert not Subject.of(network, ["*"]).groups
    with pytest.raises(UserError, match="No layer matches"):
        Subject.of(network, ["nothing.*"])
