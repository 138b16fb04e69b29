from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from srdeploy.errors import UserError
from srdeploy.pruning.methods.table import (
    METHODS,
    Kind,
    check_settings,
    chosen_method,
    find_method,
    names,
    plain,
)

ASSETS = Path(__file__).parents[3] / "srdeploy" / "assets" / "prune"


def test_every_kind_has_methods_and_every_recipe_is_there() -> None:
    by_kind = [names(kind) for kind in get_args(Kind)]
    assert all(by_kind)
    assert sorted(name for some in by_kind for name in some) == sorted(METHODS)
    for name, row in METHODS.items():
        assert row.name == name
        assert row.summary
        assert row.trains == (row.kind == "trained")
        assert row.recipe is None or (ASSETS / f"{row.recipe}.yaml").is_file()


def test_the_method_meant_is_the_one_named_or_the_recipes_or_the_plainest() -> None:
    assert chosen_method(None, has_recipe=True) is None
    assert chosen_method(None) == METHODS["reconstruct"]
    assert chosen_method(None, scores=True) == METHODS["l1"]
    assert chosen_method("fade", has_recipe=True) == METHODS["fade"]
    assert plain(METHODS["reconstruct"]) == METHODS["obs"]
    with pytest.raises(UserError, match="'reconstruct'"):
        find_method("reconstuct")


@pytest.mark.parametrize(
    ("method", "given", "words"),
    [
        ("l1", {"trains": True}, "choose srp, assl, gassl, guided or fade, or recover"),
        ("obs", {"trains": True}, "belong to the methods that train"),
        ("obs", {"scores": True}, "criterion belongs to method l1; obs chooses by cost"),
        ("srp", {"scores": True}, "criterion belongs to method l1; here choose the common set"),
        (None, {"scores": True}, "here choose the common set"),
        ("obs", {"rotates": True}, "Rotation belongs to method reconstruct"),
        (None, {"rotates": True}, "Rotation belongs to method reconstruct"),
        ("l1", {"calibrates": True}, "Calibration images belong to method obs or reconstruct"),
        ("l1", {"learns": True}, "belongs to method obs or reconstruct, and to l1 with --refit"),
        ("srp", {"learns": True, "refits": True}, "the methods that train fine-tune instead"),
        ("l1", {"budget": True}, "A budget of MACs or parameters belongs to method obs or"),
        ("srp", {"budget": True}, "give the others a ratio"),
    ],
)
def test_settings_of_another_method_are_refused(
    method: str | None, given: dict[str, bool], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        check_settings(METHODS[method] if method else None, **given)


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("l1", {"scores": True, "refits": True, "calibrates": True}),
        ("obs", {"calibrates": True, "budget": True}),
        ("reconstruct", {"rotates": True, "refits": True, "learns": True}),
        ("l1", {"refits": True, "learns": True}),
        ("srp", {"trains": True, "refits": True, "calibrates": True}),
        (None, {"trains": True}),
    ],
)
def test_its_own_are_taken(method: str | None, given: dict[str, bool]) -> None:
    check_settings(METHODS[method] if method else None, **given)


def test_looking_at_the_table_imports_nothing_heavy() -> None:
    code = (
        "import sys, srdeploy.pruning.methods.table; "
        "print({'torch', 'nni', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.slow
def test_nni_is_imported_where_something_is_pruned_by_it() -> None:
    code = (
        "import sys, srdeploy as sr\n"
        "from srdeploy.models.registry import create\n"
        "net = create('ledsr', n_blocks=1, n_feats=4)\n"
        "sr.load('edsr-s-x2'), sr.finetune, sr.plan, sr.prune(net, 0.5)\n"
        "assert not [m for m in sys.modules if m.split('.')[0] == 'nni']\n"
        "sr.prune(net, 0.5, method='l1')\n"
        "assert 'nni' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
