from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from srdeploy.errors import UserError
from srdeploy.train.recipe import Adam, Step, TrainRecipe
from srdeploy.util.strict import Strict, expand, parse, read_yaml


class Square(Strict):
    kind: Literal["square"]
    side: float


class Circle(Strict):
    kind: Literal["circle"]
    radius: float


class Drawing(Strict):
    title: str = ""
    shapes: tuple[Square, ...] = ()
    frame: Annotated[Square | Circle, Field(discriminator="kind")] | None = None


def test_misspelt_key_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"here: There is no key named 'titel'.*'title'"):
        parse(Drawing, {"titel": "x"}, "here")


def test_misspelt_key_inside_a_list_and_beside_a_missing_one() -> None:
    with pytest.raises(UserError, match=r"key in 'shapes.0' named 'sied'.*'side'"):
        parse(Drawing, {"shapes": [{"kind": "square", "sied": 2}]}, "here")


def test_misspelt_key_inside_an_optional_choice() -> None:
    with pytest.raises(UserError, match="did you mean 'radius'"):
        parse(Drawing, {"frame": {"kind": "circle", "raduis": 2}}, "here")


def test_wrong_value_names_its_key() -> None:
    with pytest.raises(UserError, match=r"shapes\.0\.side"):
        parse(Drawing, {"shapes": [{"kind": "square", "side": "long"}]}, "here")


@pytest.mark.parametrize("text", ["", "- a list", "title: [unclosed", "\tx: 1"])
def test_not_a_mapping(tmp_path: Path, text: str) -> None:
    path = tmp_path / "drawing.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"drawing\.yaml"):
        read_yaml(Drawing, path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no file"):
        read_yaml(Drawing, tmp_path / "none.yaml")


def test_expand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICTURES", "/pictures")
    monkeypatch.delenv("ELSEWHERE", raising=False)
    assert expand("$PICTURES/a") == Path("/pictures/a")
    with pytest.raises(UserError, match="variable ELSEWHERE, which is not set"):
        expand("${ELSEWHERE}/a")


def test_base_holds_what_does_not_differ(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        "iterations: 100\nscales: [2]\nbatch: 4\ndata: {folders: [a]}\n"
        "optimiser: {kind: adam, lr: 0.1, eps: 0.001}\nschedule: {kind: cosine, final: 0.5}\n"
    )
    (tmp_path / "small.yaml").write_text(
        "base: base.yaml\niterations: 5\noptimiser: {lr: 0.2}\nschedule: {kind: step, every: 3}\n"
    )
    recipe = read_yaml(TrainRecipe, tmp_path / "small.yaml", ["data.folders=[b, c]", "batch=8"])
    assert (recipe.iterations, recipe.batch) == (5, 8)
    assert [f.path for f in recipe.data.folders] == ["b", "c"]
    assert recipe.optimiser == Adam(lr=0.2, eps=0.001)
    assert recipe.schedule == Step(kind="step", every=3)  # nothing is left of the cosine


@pytest.mark.parametrize(
    ("text", "changes", "sentence"),
    [
        ("base: missing.yaml", [], "no file '.*missing.yaml'"),
        ("base: recipe.yaml", [], "base names another YAML file"),
        ("base: [1]", [], "base names another YAML file"),
        ("iterations: 3", ["iterations"], "'iterations' is not KEY=VALUE"),
        ("iterations: 3", ["a..b=1"], "is not KEY=VALUE"),
        ("iterations: 3", ["itertions=4"], "with itertions=4: .*'iterations'"),
        ("iterations: 3", ["iterations=many"], "with iterations=many: iterations: .*integer"),
    ],
)
def test_bases_and_changes_that_do_not_fit(
    tmp_path: Path, text: str, changes: list[str], sentence: str
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"{text}\nscales: [2]\ndata: {{folders: [a]}}\n")
    with pytest.raises(UserError, match=sentence):
        read_yaml(TrainRecipe, path, changes)


def test_bases_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("base: b.yaml")
    (tmp_path / "b.yaml").write_text("base: a.yaml")
    with pytest.raises(UserError, match=r"b\.yaml': base names another YAML file"):
        read_yaml(TrainRecipe, tmp_path / "a.yaml")
