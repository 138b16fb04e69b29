from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from srdeploy.errors import UserError
from srdeploy.strict import Strict, expand, parse, read_yaml


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
