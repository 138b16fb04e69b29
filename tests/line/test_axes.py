"""Where a name of an axis is looked up, in which order, and what it may be by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from srdeploy.errors import UserError
from srdeploy.line.axes import find_line, resolved, spelt_out
from srdeploy.util.shipped import shipped


def test_names_become_mappings() -> None:
    given = {
        "model": "m", "prune": {"ratio": 1}, "train": None, "targets": "t", "devices": ["d", {}],
        "data": "as it is", "scenarios": {"base": "s"},
    }  # fmt: skip
    before = dict(given)
    assert spelt_out(given) == {
        "model": {"base": "m"}, "prune": {"ratio": 1}, "train": None, "targets": [{"base": "t"}],
        "devices": [{"base": "d"}, {}], "data": "as it is", "scenarios": [{"base": "s"}],
    }  # fmt: skip
    assert given == before


@pytest.mark.parametrize("values", [{"model": 3}, {"model": ["a"]}, {"targets": [3]},
                                    {"targets": [["a"]]}, {"prune": True}])  # fmt: skip
def test_neither_name_nor_settings(values: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="write a name, or settings as `key: value`"):
        spelt_out(values)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_beside_the_recipe_goes_before_above_it_and_both_before_the_package(tmp_path: Path) -> None:
    folder = tmp_path / "lines"
    folder.mkdir()

    def runs() -> Any:
        return resolved("scenarios", {"base": "quick"}, folder).get("min_runs")

    package = runs()
    write(tmp_path / "scenarios" / "quick.yaml", "min_runs: 71")
    assert runs() == 71 != package
    write(folder / "scenarios" / "quick.yaml", "min_runs: 72")
    assert runs() == 72
    write(folder / "near.yml", "min_runs: 73")
    assert resolved("scenarios", {"base": "near.yml"}, folder) == {"min_runs": 73}


def test_own_settings_go_over_the_base(tmp_path: Path) -> None:
    write(tmp_path / "train" / "mine.yaml", "{optimiser: {kind: sgd, lr: 1}, batch: 3}")
    value = {"base": "mine", "optimiser": {"lr": 2}, "patch": 4}
    assert resolved("train", value, tmp_path) == {
        "optimiser": {"kind": "sgd", "lr": 2}, "batch": 3, "patch": 4,
    }  # fmt: skip
    assert value["base"] == "mine"
    assert resolved("train", {"batch": 3}, tmp_path) == {"batch": 3}


def test_files_lend_their_names_where_things_have_names(tmp_path: Path) -> None:
    write(tmp_path / "targets" / "half.yaml", "target: onnx")
    write(tmp_path / "devices" / "desk.yaml", "{uri: local, name: own}")
    write(tmp_path / "prune" / "mine.yaml", "{prune: {method: srp, ratio: 0.3}, finetune: {a: 1}}")
    write(tmp_path / "prune" / "flat.yaml", "{method: l1}")
    write(tmp_path / "scenarios" / "one.yaml", "{batch: 2}")
    assert resolved("targets", {"base": "half"}, tmp_path) == {"name": "half", "target": "onnx"}
    assert resolved("devices", {"base": "desk"}, tmp_path) == {"name": "own", "uri": "local"}
    assert resolved("prune", {"base": "mine"}, tmp_path) == {
        "name": "mine", "method": "srp", "ratio": 0.3, "finetune": {"a": 1},
    }  # fmt: skip
    assert resolved("prune", {"base": "flat"}, tmp_path) == {"method": "l1"}
    assert resolved("scenarios", {"base": "one"}, tmp_path) == {"batch": 2}


@pytest.mark.parametrize(
    ("key", "name", "value"),
    [
        ("model", "anything.pt", {"file": "anything.pt"}),
        ("prune", "l1", {"method": "l1"}),
        ("prune", "fpgm", {"method": "l1", "criterion": "fpgm"}),
        ("targets", "onnx", {"name": "onnx", "target": "onnx"}),
        ("devices", "local", {"name": "local", "uri": "local"}),
        ("devices", "ssh://me@orin", {"name": "ssh://me@orin", "uri": "ssh://me@orin"}),
        ("devices", "fake?ms=3", {"name": "fake?ms=3", "uri": "fake?ms=3"}),
        ("devices", "odd://x", {"name": "odd://x", "uri": "odd://x"}),
    ],
)
def test_what_a_name_is_by_itself(
    key: str, name: str, value: dict[str, Any], tmp_path: Path
) -> None:
    assert resolved(key, {"base": name}, tmp_path) == value
    assert resolved(key, {"base": name, "more": 1}, tmp_path) == {**value, "more": 1}


@pytest.mark.parametrize(
    ("key", "name", "sentence"),
    [
        ("prune", "srpp", "no pruning method named 'srpp'; did you mean 'srp'"),
        ("prune", "fpg", "did you mean 'fpgm'"),
        ("prune", "zo", "did you mean 'zoo'"),
        ("targets", "onnx-in8", "no target named 'onnx-in8'; did you mean 'onnx-int8'"),
        ("targets", "corml", "did you mean 'coreml'"),
        ("devices", "loal", "no device named 'loal'; did you mean 'local'"),
        ("devices", "phon", "did you mean 'phone'"),
        ("scenarios", "quik", "no scenario named 'quik'; did you mean 'quick'"),
        ("train", "shrt", "no training recipe named 'shrt'; did you mean 'short'"),
        ("train", "gone.yaml", "There is no file"),
    ],
)
def test_names_of_nothing(key: str, name: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        resolved(key, {"base": name}, tmp_path)


def test_a_base_is_a_name(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="prune: base names a file or a value of this axis, not '3'"
    ):
        resolved("prune", {"base": 3}, tmp_path)


def test_recipes_by_name_or_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_line("demo") == shipped("lines")["demo"]
    write(tmp_path / "demo", "")
    assert find_line("demo") == Path("demo")  # a file goes first
    for absent in ("x.yaml", "folder/demo", "demo.yml"):
        with pytest.raises(UserError, match=f"There is no file '{absent}'"):
            find_line(absent)
    with pytest.raises(UserError, match="There is no recipe named 'jeston'; did you mean 'jetson'"):
        find_line("jeston")
