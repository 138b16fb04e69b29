from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from srdeploy.errors import UserError
from srdeploy.models.registry import ARCHITECTURES, architecture_names, base_module, create
from srdeploy.models.resize import layer_widths


def test_names_are_architectures_then_presets():
    names = architecture_names()
    assert names[: len(ARCHITECTURES)] == [*ARCHITECTURES]
    assert {"edsr-baseline", "edsr-full", "ledsr-256", "rirsr-96"} <= set(names)


def test_the_page_of_architectures_lists_all_names():
    page = (Path(__file__).parents[2] / "docs" / "architectures.md").read_text(encoding="utf-8")
    table = page.partition("|---")[2].partition("\n\n")[0]
    rows = [line.split("|") for line in table.splitlines()[1:]]
    names = re.findall(r"`([^`]+)`", " ".join(row[1] + row[-2] for row in rows))
    assert sorted(names) == sorted(architecture_names())


@pytest.mark.parametrize("arch", ["vdsr", "edsr", "ledsr", "rirsr", "smsr"])
def test_a_base_network_and_its_card_agree(arch):
    small = {"n_blocks": 1, "n_feats": 4, "scale": 3}
    small = {"vdsr": {}, "smsr": {"n_modules": 1, "scale": 3}}.get(arch, small)
    network = create(arch, **small)
    card, module = network.card, network.module
    assert (card.arch, card.pruned) == (arch, False)
    assert card.widths == layer_widths(module)
    x = torch.rand(1, card.channels, 8, 7) * card.value_range
    with torch.no_grad():
        y = module(x)
    assert y.shape == (1, card.channels, 8 * card.network_scale, 7 * card.network_scale)
    assert not module.training
    twin = base_module(card)
    assert {p.device.type for p in twin.parameters()} == {"meta"}
    assert layer_widths(twin) == card.widths


def test_presets_and_overrides():
    card = create("rirsr-96", n_groups=1, n_blocks=1).card
    assert (card.arch, card.config["n_feats"], card.config["n_groups"]) == ("rirsr", 96, 1)


@pytest.mark.parametrize(
    ("arch", "config", "message"),
    [
        ("edrs", {}, "no architecture named 'edrs'; did you mean 'edsr'"),
        ("edsr", {"n_feat": 4}, "no option of edsr named 'n_feat'; did you mean 'n_feats'"),
        ("edsr", {"scale": 5}, "no x5 upsampler"),
    ],
)
def test_impossible_requests(arch, config, message):
    with pytest.raises(UserError, match=message):
        create(arch, **config)
