"""Recipes made without a recipe file, and the shorthand ``fade``."""

from __future__ import annotations

from pathlib import Path

import pytest

from srdeploy.errors import UserError
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.train.method import read_prune_recipe
from srdeploy.train.prune_defaults import METHODS, prune_recipe

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def network() -> Network:
    return create("ledsr", n_blocks=1, n_feats=4)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_short_recipe(method: str, network: Network) -> None:
    recipe = prune_recipe(network, method, None, prune={"ratio": 0.4})
    assert recipe.prune.ratio == 0.4
    assert recipe.prune.method == ("srp" if method == "fade" else method)
    assert recipe.regularise_recipe(network.card).iterations > 0
    assert recipe.finetune_recipe(network.card) is not None


def test_fade_is_what_its_recipe_says(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRDEPLOY_DATA", "/data")
    written = read_prune_recipe(CONFIGS / "prune" / "fade.yaml")
    laid_over = prune_recipe(
        network, "fade", CONFIGS / "prune" / "srp.yaml", published_exclude=False
    )
    for section in ("prune", "training", "regularise", "finetune"):
        assert getattr(laid_over, section) == getattr(written, section), section


def test_fade_replaces_a_ramp_that_was_made_for_adam(network: Network) -> None:
    recipe = prune_recipe(
        network, "fade", CONFIGS / "prune" / "srp.yaml", ["prune.penalty.first=0.1"]
    )
    penalty = recipe.prune.penalty
    assert (penalty.through, penalty.limit, penalty.first) == ("decoupled", 1.0, None)


def test_unknown_settings_are_refused(network: Network) -> None:
    with pytest.raises(UserError, match="ratio"):
        prune_recipe(network, "srp", None, prune={"ratio": 1.5})
