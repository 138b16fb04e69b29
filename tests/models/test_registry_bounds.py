"""Configurations: each limit from both sides, and the sentences beyond it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from srdeploy.errors import UserError
from srdeploy.models import (
    registry,
)
from srdeploy.models.network import Network
from srdeploy.models.registry import ARCHITECTURES, base_module, checked_config, create


@pytest.fixture
def edsr() -> Network:
    return create("edsr", n_blocks=1, n_feats=4)


@pytest.mark.parametrize(
    ("arch", "config", "told"),
    [
        ("edsr", {"n_blocks": 0}, "n_blocks of edsr is a whole number from 1 to 65536, not 0"),
        ("edsr", {"n_blocks": 65537}, "not 65537"),
        ("edsr", {"n_blocks": True}, "not True"),
        ("edsr", {"n_blocks": 2.0}, "not 2.0"),
        ("edsr", {"res_scale": 65536.5}, "a number of at most 65536, not 65536.5"),
        ("edsr", {"res_scale": -65537}, "not -65537"),
        ("edsr", {"res_scale": True}, "not True"),
        ("edsr", {"res_scale": "1"}, "not '1'"),
        ("edsr", {"mean_shift": 1}, "mean_shift of edsr is true or false, not 1"),
        *(("edsr", {"scale": n}, f"has no x{n} upsampler; choose") for n in (1, 5, 6, 7, 9, 16)),
        ("vdsr", {"scale": 17}, "VDSR, CVPR 2016 has no scale 17; choose 2 to 16"),
    ],
)
def test_configurations_beyond_the_line(arch: str, config: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as caught:
        checked_config(ARCHITECTURES[arch], config)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("scales", "choices"), [((2, 3, 4, 8), "2, 3, 4 or 8"), ((1, 4), "1 or 4"), ((4,), "4")]
)
def test_a_row_says_what_it_is_built_for(scales: tuple[int, ...], choices: str) -> None:
    row = replace(ARCHITECTURES["edsr"], scales=scales)
    assert checked_config(row, {"scale": 4})["scale"] == 4
    with pytest.raises(UserError, match=rf"no x5 upsampler; choose scale {choices}\.$"):
        checked_config(row, {"scale": 5})


@pytest.mark.parametrize(
    ("arch", "config"),
    [
        ("edsr", {"n_blocks": 1}), ("edsr", {"n_blocks": 65536}), ("edsr", {"res_scale": 65536}),
        ("edsr", {"res_scale": -65536.0}), ("edsr", {"res_scale": 1}), ("vdsr", {"scale": 16}),
        *(("smsr", {"scale": n}) for n in (2, 3, 4, 8)), ("vdsr", {"scale": 7}),
    ],
)  # fmt: skip
def test_configurations_within_the_line(arch: str, config: dict[str, Any]) -> None:
    found = checked_config(ARCHITECTURES[arch], config)
    assert found | config == found
    assert found["scale"] == config.get("scale", 2)


@pytest.mark.parametrize(
    ("preset", "config"),
    [
        ("edsr-baseline", {"n_blocks": 16, "n_feats": 64, "res_scale": 1.0}),
        ("edsr-full", {"n_blocks": 32, "n_feats": 256, "res_scale": 0.1}),
        ("ledsr-256", {"n_blocks": 16, "n_feats": 256}),
        ("rirsr-96", {"n_groups": 10, "n_blocks": 20, "n_feats": 96}),
    ],
)
def test_presets_are_the_papers(preset: str, config: dict[str, Any]) -> None:
    with torch.device("meta"):
        found = create(preset).card.config
    assert {key: found[key] for key in config} == config


def test_only_as_many_layers_as_widths_are_built(edsr: Network) -> None:
    card = edsr.card
    n = len(card.widths)
    for blocks, built in ((n, True), (n + 1, False)):
        other = card.model_copy(update={"config": {**card.config, "n_blocks": blocks}})
        if built:
            assert len(base_module(other).body) == blocks + 1  # type: ignore[arg-type]
        else:
            with pytest.raises(UserError, match=f"says n_blocks {blocks}, but widths of {n} layer"):
                base_module(other)
    for row in ARCHITECTURES.values():
        assert row.factory().__name__.lower().removesuffix("compact") == row.name


def test_unknown_names_are_refused() -> None:
    assert registry.MAX_SCALE == 16
    with pytest.raises(UserError, match="no architecture named"):
        base_module(create("edsr", n_blocks=1, n_feats=4).card.model_copy(update={"arch": "x"}))
