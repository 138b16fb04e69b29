"""Sizes of the published pruned networks, reached by pruning."""

from __future__ import annotations

import pytest

from srdeploy.compacting.surgery import compact
from srdeploy.models.count import count
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.pruning.methods.oneshot import default_exclude, plan_oneshot
from srdeploy.pruning.options import PruneOptions, removals
from srdeploy.pruning.plan import cut, make_plan
from srdeploy.pruning.tracing.groups import Grouping, find_groups


@pytest.fixture(scope="module")
def edsr() -> tuple[Network, Grouping]:
    network = create("edsr-baseline", scale=2)
    return network, find_groups(network)


@pytest.mark.parametrize(
    ("ratio", "params_k", "gmacs"),
    [
        (0.1, 1101.8, 254.5),
        (0.3, 681.1, 157.7),
        (0.5, 381.8, 88.9),
        (0.7, 154.2, 36.5),
        (0.9, 26.9, 7.3),
    ],
)
def test_edsr_baseline_x2(edsr, ratio, params_k, gmacs):
    network, grouping = edsr
    options = PruneOptions(ratio=ratio, exclude=default_exclude(network))
    plan = plan_oneshot(network, options, grouping)
    sizes = count(Network(cut(network.module, plan), network.card))
    assert sizes.params / 1e3 == pytest.approx(params_k, abs=0.1)
    assert sizes.macs_720p / 1e9 == pytest.approx(gmacs, abs=0.1)


SLOW = pytest.mark.slow  # the same body again, before another tail


@pytest.mark.parametrize(
    ("scale", "params_m"),
    [(2, 14.93), pytest.param(3, 15.20, marks=SLOW), pytest.param(4, 15.26, marks=SLOW)],
)
def test_srpn(scale, params_m):
    network = create("rirsr-96", scale=scale)
    grouping = find_groups(network)
    options = PruneOptions(ratio=0.34, exclude=default_exclude(network))
    removed = {name: list(range(n)) for name, n in removals(grouping, options).items()}
    small = cut(network.module, make_plan(grouping, removed, "first", {}))
    assert {layer.out_channels for layer in small.body.modules() if hasattr(layer, "bias")} == {63}
    assert sum(p.numel() for p in small.parameters() if p.requires_grad) / 1e6 == pytest.approx(
        params_m, abs=0.01
    )


def test_the_card_tells_what_was_done():
    network = create("edsr", n_blocks=1, n_feats=8)
    plan = plan_oneshot(network, PruneOptions(ratio=0.5, exclude=("tail.*",)))
    card = compact(network, plan).card
    assert card.pruned
    assert not network.card.pruned
    assert card.history[-1] == {
        "step": "prune", "method": "l1", "ratio": 0.5, "layer_ratios": {}, "exclude": ["tail.*"],
        "round_to": 1, "criterion": "l1", "seed": 0,
    }  # fmt: skip
    assert card.shapes["head.0.weight"] == [4, 3, 3, 3]
    assert card.widths["head.0"] == 4
    assert card.widths["tail.0.0"] == 32
    assert card.proof["claim"] == "masked(x) == compact(x)"
    assert card.proof["sizes"] == [[12, 12], [24, 20], [17, 29], [136, 152]]
    assert card.proof["batch"] == 2
    assert card.proof["dtype"] == "float64"


@pytest.mark.parametrize("arch", ["vdsr", "edsr", "ledsr", "rirsr"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_our_architectures_at_every_scale(arch, scale):
    config = {"vdsr": {"n_layers": 5, "n_feats": 16}, "rirsr": {"n_groups": 2}}.get(arch, {})
    if arch != "vdsr":
        config = {**config, "n_blocks": 1, "n_feats": 8}
    network = create(arch, scale=scale, **config)
    small = compact(network, plan_oneshot(network, PruneOptions(ratio=0.5)))
    assert small.card.proof["max_difference"] < 1e-9
    twice = compact(small, plan_oneshot(small, PruneOptions(ratio=0.5)))
    assert twice.card.proof["max_difference"] < 1e-9
    assert count(twice).params < count(small).params < count(network).params
