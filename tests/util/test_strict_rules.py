"""Settings: names, bases, changes and variables, each where it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from srdeploy.errors import UserError
from srdeploy.util import bounded_yaml
from srdeploy.util.bounded_yaml import MAX_BYTES, MAX_SCALAR, parsed, read_file
from srdeploy.util.strict import (
    Strict,
    check_name,
    expand,
    expand_variables,
    merged,
    named,
    parse,
    read_change,
    read_mapping,
    read_yaml,
)


@pytest.mark.parametrize("name", ["a", "A1", "_a", "0", "a.b-c_d", "a" * 64])
def test_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", ".a", "-a", "a b", "a/b", "ä", "a" * 65, "a\n"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match=r"is no name; use letters, digits, '\.', '_' and '-'"):
        check_name(name)


def test_a_long_name_is_shown_in_part() -> None:
    with pytest.raises(ValueError, match="no name") as refused:
        check_name("x" * 300)
    assert str(refused.value).startswith(repr("x" * 80) + " is no name")


def test_merging() -> None:
    old = {"a": 1, "b": {"kind": "x", "c": 1, "d": {"e": 1}}, "f": {"g": 1}}
    before = repr(old)
    assert merged(old, {"a": 2, "h": 3})["a"] == 2
    assert merged(old, {"b": {"c": 2}})["b"] == {"kind": "x", "c": 2, "d": {"e": 1}}
    assert merged(old, {"b": {"kind": "x", "c": 2}})["b"]["d"] == {"e": 1}
    assert merged(old, {"b": {"kind": "a"}})["b"] == {"kind": "a"}
    assert merged(old, {"b": {"kind": "z"}})["b"] == {"kind": "z"}
    assert merged(old, {"f": {"kind": "z"}})["f"] == {"kind": "z"}
    assert merged(old, {"b": {"d": {"i": 2}}})["b"]["d"] == {"e": 1, "i": 2}
    assert merged(old, {"f": 3})["f"] == 3
    assert merged({"f": 3}, {"f": {"g": 1}})["f"] == {"g": 1}
    assert repr(old) == before


@pytest.mark.parametrize(
    ("text", "values"),
    [("a=1", {"a": 1}), ("a.b.c=x", {"a": {"b": {"c": "x"}}}), ("a=b=c", {"a": "b=c"}),
     ("a=", {"a": None}), ("a=[1, {b: 2}]", {"a": [1, {"b": 2}]})],
)  # fmt: skip
def test_changes(text: str, values: dict) -> None:
    assert read_change(text) == values


@pytest.mark.parametrize("text", ["a", "=1", "a.=1", ".a=1", "a..b=1", "a=[", "a=!!bool x"])
def test_what_is_no_change(text: str) -> None:
    told = rf"^'{text}' is not KEY=VALUE; write for instance 'prune\.ratio=0\.3'\.$"
    import re

    with pytest.raises(UserError, match=told if re.escape(text) == text else "is not KEY=VALUE"):
        read_change(text)


def test_changes_as_deep_as_settings() -> None:
    deep = ".".join("a" * 32)
    found = read_change(f"{deep}=1")
    for _ in range(32):
        found = found["a"]
    assert found == 1
    with pytest.raises(UserError, match="is not KEY=VALUE"):
        read_change(f"{deep}.a=1")
    with pytest.raises(UserError) as refused:
        read_change("x" * 200)
    assert str(refused.value).startswith(f"'{'x' * 80}' is not")


class First(Strict):
    kind: Literal["first"] = "first"
    width: int = Field(1, ge=1)


class Second(Strict):
    kind: Literal["second"]
    height: int = 1


class Whole(Strict):
    part: Annotated[First | Second, Field(discriminator="kind")]
    parts: list[First] = []
    flag: bool = False
    needed: int


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"part": {"kind": "first"}, "neded": 1},
         "There is no key named 'neded'; did you mean 'needed'?"),
        ({"part": {"kind": "second", "heigt": 1}, "needed": 1},
         "There is no key in 'part.second' named 'heigt'; did you mean 'height'?"),
        ({"part": {"kind": "first", "heigt": 1}, "needed": 1},
         "There is no key in 'part.first' named 'heigt'; known: kind, width."),
        ({"part": {"kind": "first"}, "needed": 1, "parts": [{}, {"widht": 2}]},
         "There is no key in 'parts.1' named 'widht'; did you mean 'width'?"),
        ({"part": {"kind": "first", "width": 0}, "needed": 1},
         "part.first.width: Input should be greater than or equal to 1."),
        ({"part": {"kind": "first"}}, "needed: Field required."),
        ({"part": {"kind": "first"}, "needed": 1, "flag": 7},
         "flag: Input should be a valid boolean, unable to interpret input."),
        ({"part": {"kind": "first"}, "needed": 1, "flag": 7, "flagg": 1},
         "There is no key named 'flagg'; did you mean 'flag'?"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_with_its_key(values: dict, told: str) -> None:
    with pytest.raises(UserError) as refused:
        parse(Whole, values, "here")
    assert str(refused.value) == f"here: {told}"


def test_what_fits(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("part: {kind: second}\nneeded: 3\n")
    found = read_yaml(Whole, tmp_path / "a.yaml", ["part.height=4", "needed=5"])
    assert found == Whole(part=Second(kind="second", height=4), needed=5)
    with pytest.raises(UserError, match=r"a\.yaml' with needed=x, parts=1: parts: "):
        read_yaml(Whole, tmp_path / "a.yaml", ["needed=x", "parts=1"])
    assert named("a") == "'a'"
    assert named("a", ["b=1", "c=2"]) == "'a' with b=1, c=2"
    with pytest.raises(ValueError, match="frozen"):
        found.needed = 4  # type: ignore[misc]


def test_bases_are_beside_their_file(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.yaml").write_text("x: 1\ny: {z: 1}\n")
    (tmp_path / "a.yaml").write_text("base: in/b.yaml\ny: {w: 2}\n")
    assert read_mapping(str(tmp_path / "a.yaml")) == {"x": 1, "y": {"z": 1, "w": 2}}
    (tmp_path / "c.yaml").write_text("base: ~\nx: 2\n")
    assert read_mapping(tmp_path / "c.yaml") == {"x": 2}
    for text, told in (("- 1", "holds no settings; write them as `key: value` lines"),
                       ("base: 3", "base names another YAML file, not 3")):  # fmt: skip
        (tmp_path / "d.yaml").write_text(text)
        with pytest.raises(UserError, match=told):
            read_mapping(tmp_path / "d.yaml")


def test_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", "/here")
    monkeypatch.delenv("NOT_SET", raising=False)
    assert expand_variables("a/$HERE/${HERE}") == "a//here//here"
    assert expand_variables("cost: 5 $") == "cost: 5 $"
    assert expand("~/a") == Path.home() / "a"
    for text in ("$NOT_SET/a", "x${NOT_SET}"):
        with pytest.raises(UserError) as refused:
            expand(text)
        assert str(refused.value) == (
            f"The path '{text}' needs the environment variable NOT_SET, which is not set."
        )


def test_files_up_to_a_size(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: 1\n" + "#" * (MAX_BYTES - 5))
    assert read_file(path) == {"a": 1}
    path.write_text("a: 1\n" + "#" * (MAX_BYTES - 4))
    with pytest.raises(UserError, match=r"a\.yaml' is larger than 256 KB; settings are shorter"):
        read_file(path)
    assert parsed("#" * MAX_BYTES) is None
    with pytest.raises(ValueError, match="longer than 256 KB"):
        parsed("#" * (MAX_BYTES + 1))
    path.write_bytes(b"a: \xff")
    with pytest.raises(UserError, match=r"a\.yaml' is not valid YAML \(.*utf-8"):
        read_file(path)
    path.write_text("a: [")
    with pytest.raises(UserError, match=r"is not valid YAML \(") as refused:
        read_file(path)
    assert "\n" not in str(refused.value)


def test_values_up_to_a_length() -> None:
    assert MAX_SCALAR == 64
    assert parsed("a: " + "1" * 64) == {"a": int("1" * 64)}
    for value in ("1" * 65, "!!timestamp " + "1" * 65):
        with pytest.raises(ValueError, match="a value of 65 characters that is no text"):
            parsed(f"a: {value}")
    assert parsed("a: " + "x" * 65) == {"a": "x" * 65}


def test_what_aliases_unfold_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_yaml, "MAX_NODES", 12)
    # A mapping of two keys: itself, the keys, the list of three, and that list again.
    assert parsed("a: &x [1, 2, 3]\nb: *x\n") == {"a": [1, 2, 3], "b": [1, 2, 3]}
    with pytest.raises(ValueError, match="it unfolds to more than 12 values"):
        parsed("a: &x [1, 2, 3, 4]\nb: *x\n")
    monkeypatch.setattr(bounded_yaml, "MAX_NODES", 11)
    assert parsed("a: &x [1, 2, 3]\nb: *x\n")
    monkeypatch.setattr(bounded_yaml, "MAX_NODES", 10)
    with pytest.raises(ValueError, match="it unfolds to more than 10 values"):
        parsed("a: &x [1, 2, 3]\nb: *x\n")


def test_how_deep_aliases_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_yaml, "MAX_DEPTH", 4)
    assert parsed("a: &x [1]\nb: [*x]\n") == {"a": [1], "b": [[1]]}
    with pytest.raises(ValueError, match="nested deeper than 4 levels"):
        parsed("a: &x [1]\nb: [[*x]]\n")
    assert parsed("[[[1], 2], 3]")
    with pytest.raises(ValueError, match="nested deeper than 4 levels"):
        parsed("[[[[1]]]]")
