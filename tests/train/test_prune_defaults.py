"""Recipes made without a recipe file, and the shorthand ``fade``."""

from __future__ import annotations

from pathlib import Path

import pytest

from srdeploy.errors import UserError
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.pruning.methods.table import names
from srdeploy.train.method import read_prune_recipe
from srdeploy.train.prune_defaults import prune_recipe

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def network() -> Network:
    return create("ledsr", n_blocks=1, n_feats=4)


@pytest.mark.parametrize("method", names("trained"))
def test_every_method_has_a_short_recipe(method: str, network: Network) -> None:
    recipe = prune_recipe(network, method, None, prune={"ratio": 0.4})
    assert recipe.prune.ratio == 0.4
    assert recipe.prune.method == {"fade": "srp", "guided": "assl"}.get(method, method)
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


@pytest.mark.parametrize("base", ["srp", "assl"])
def test_guided_is_what_its_recipe_says(
    base: str, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SRDEPLOY_DATA", "/data")
    written = read_prune_recipe(CONFIGS / "prune" / "guided.yaml")
    path = CONFIGS / "prune" / f"{base}.yaml"
    laid_over = prune_recipe(network, "guided", path, published_exclude=False)
    assert (written.prune.method, written.prune.agreement) == ("assl", "joint")
    assert (laid_over.prune.method, laid_over.prune.agreement) == ("assl", "joint")
    assert laid_over.training == written.training
    assert written.training["distill"] == {"output": 0.9}
    if base == "assl":
        assert laid_over == written


@pytest.mark.parametrize("method", ["srp", "assl", "gassl", "guided"])
def test_without_a_recipe_a_penalty_grows_by_a_factor(method: str, network: Network) -> None:
    """Equal steps to the limit of a short schedule lost at removal in the study's controls."""
    recipe = prune_recipe(network, method, None)
    ramp = recipe.prune.penalty.ramp()
    growth = [ramp.penalty(i * ramp.every + 1) / ramp.penalty(i * ramp.every) for i in range(9)]
    assert growth == [1.0] * 9
    steps = [ramp.penalty((i + 1) * ramp.every) / ramp.penalty(i * ramp.every) for i in range(80)]
    assert steps == pytest.approx([1.1] * 80)
    stage = recipe.regularise_recipe(network.card)
    assert (stage.schedule.kind, stage.clip.kind) == ("constant", "norm")


@pytest.mark.parametrize(
    ("method", "given", "agreement"),
    [
        ("srp", None, "joint"),
        ("srp", "random", "random"),
        ("assl", None, "first-layer"),
        ("gassl", None, "first-layer"),
        ("guided", None, "joint"),
        ("fade", None, "reconstruct"),
    ],
)
def test_who_agrees_without_a_recipe(
    method: str, given: str | None, agreement: str, network: Network
) -> None:
    recipe = prune_recipe(network, method, None, prune={"common_set": given})
    assert recipe.prune.agreement == agreement


def test_our_own_methods_learn_from_the_dense_network(network: Network) -> None:
    for method in names("trained"):
        recipe = prune_recipe(network, method, None)
        taught = recipe.finetune_recipe(network.card).distill is not None
        assert taught == (method in ("guided", "fade")), method


def test_the_published_form_is_a_recipe_away(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SRDEPLOY_DATA", "/data")
    srp = prune_recipe(network, None, CONFIGS / "recipes" / "srpn-lite.yaml").prune
    assert (srp.method, srp.agreement, srp.penalty.first) == ("srp", "random", None)
    assert srp.penalty.ramp().total == 143_150
    assl = prune_recipe(network, None, CONFIGS / "recipes" / "assln.yaml").prune
    assert (assl.method, assl.agreement, assl.penalty.first) == ("assl", "first-layer", None)
    assert assl.alignment.iterations == 17_260
    linear = prune_recipe(
        network, None, CONFIGS / "prune" / "srp.yaml",
        ["prune.penalty.first=null", "prune.penalty.growth=5"],
    ).prune.penalty.ramp()  # fmt: skip
    assert [linear.penalty(i) for i in (0, 20, 40)] == [5, 10, 15]


def test_fade_replaces_a_ramp_that_was_made_for_adam(network: Network) -> None:
    recipe = prune_recipe(
        network, "fade", CONFIGS / "prune" / "srp.yaml", ["prune.penalty.first=0.1"]
    )
    penalty = recipe.prune.penalty
    assert (penalty.through, penalty.limit, penalty.first) == ("decoupled", 1.0, None)


def test_unknown_settings_are_refused(network: Network) -> None:
    with pytest.raises(UserError, match="ratio"):
        prune_recipe(network, "srp", None, prune={"ratio": 1.5})
