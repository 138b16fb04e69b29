"""Values of a recipe as the rest of the line takes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from srdeploy.errors import UserError
from srdeploy.line.recipe import DeviceSpec, Line, TargetSpec, Trained, read_line


def line(tmp_path: Path, *changes: str, **values: Any) -> Line:
    path = tmp_path / "made.yaml"
    path.write_text(json.dumps({"model": "edsr-s-x2"} | values))
    return read_line(path, changes)


def test_defaults(tmp_path: Path) -> None:
    made = line(tmp_path)
    assert (made.name, made.description, made.data, made.repeats) == ("made", "", "builtin", 1)
    assert made.devices == (DeviceSpec(name="local", uri="local"),)
    assert (made.targets, made.prune, made.train, made.versions) == ((), None, None, None)
    assert [one.name for one in made.scenarios] == ["default"]
    pruned = line(tmp_path, prune={}).prune
    assert pruned is not None
    assert (pruned.method, pruned.ratio, pruned.default_exclude) == ("reconstruct", 0.5, True)
    assert line(tmp_path, prune={"criterion": "l2"}).prune.method == "l1"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("values", "made"),
    [
        ({}, ("dense",)),
        ({"prune": "l1"}, ("dense", "pruned")),
        ({"train": "short"}, ("dense", "tuned")),
        ({"prune": "l1", "train": "short"}, ("dense", "pruned", "tuned")),
        ({"prune": "srp"}, ("dense", "pruned", "tuned")),
        ({"prune": {"method": "srp", "finetune": {"iterations": 0}}}, ("dense", "pruned")),
        ({"prune": {"method": "srp", "finetune": {"iterations": 0}}, "train": "short"},
         ("dense", "pruned", "tuned")),
    ],
)  # fmt: skip
def test_what_comes_to_be_and_is_wanted(
    values: dict[str, Any], made: tuple[str, ...], tmp_path: Path
) -> None:
    found = line(tmp_path, **values)
    assert found.made() == made
    assert found.wanted() == tuple(dict.fromkeys((made[0], made[-1])))


def test_a_targets_versions_go_before_the_recipes(tmp_path: Path) -> None:
    own = {"target": "onnx", "versions": ["pruned"]}
    made = line(tmp_path, prune="l1", targets=[own, "coreml"], versions=["dense"])
    assert [made.wanted(target) for target in made.targets] == [("pruned",), ("dense",)]
    assert made.wanted() == ("dense",)
    with pytest.raises(
        UserError, match=r"there is no 'tuned' network in this line; it makes dense\."
    ):
        line(tmp_path, targets=[{"target": "onnx", "versions": ["tuned"]}])


@pytest.mark.parametrize(
    ("name", "target", "ending"),
    [("onnx", "onnx", ""), ("onnx-int8", "onnx", "-int8"), ("half", "onnx", "-half"),
     ("onnx8", "onnx", "-8"), ("onnx-", "onnx", ""), ("onnx--a-", "onnx", "-a")],
)  # fmt: skip
def test_endings_tell_targets_apart(name: str, target: str, ending: str) -> None:
    assert TargetSpec(name=name, target=target).ending == ending


def test_options_are_those_of_export() -> None:
    spec = TargetSpec(name="a", target="onnx", precision="int8", opset=17, versions=("dense",))
    assert spec.options() == {"precision": "int8", "opset": 17}
    assert TargetSpec(name="a", target="onnx").options() == {}
    with pytest.raises(UserError, match="onnxx"):
        TargetSpec(name="a", target="onnxx").options()
    for wrong in ({"opset": 0}, {"max_drop": 0}, {"workspace": 0}, {"palettize": 0}):
        with pytest.raises(ValidationError):
            TargetSpec.model_validate({"name": "a", "target": "onnx"} | wrong)
    TargetSpec(name="a", target="onnx", opset=1, max_drop=0.001)


def test_devices_have_a_name_or_their_uri() -> None:
    DeviceSpec(name="ssh://me@orin", uri="ssh://me@orin")
    DeviceSpec(name="desk", uri="ssh://me@orin", threads=1)
    for wrong in ({"name": "ssh://x", "uri": "local"}, {"name": "a", "uri": "local", "threads": 0}):
        with pytest.raises(ValidationError):
            DeviceSpec.model_validate(wrong)


def test_what_a_method_leaves_alone() -> None:
    trained = Trained.model_validate({"method": "srp", "ratio": 0.3, "exclude": ["a", "b"]})
    assert trained.recipe(("b", "c")).prune.exclude == ("b", "c", "a")
    own = trained.model_copy(update={"default_exclude": False})
    own = Trained.model_validate(own.model_dump(exclude_unset=True) | {"default_exclude": False})
    assert own.recipe(("b", "c")).prune.exclude == ("a", "b")
    assert trained.recipe(()).prune.ratio == 0.3


def test_sections_of_a_method_reach_its_trainings() -> None:
    trained = Trained.model_validate(
        {"method": "srp", "name": "mine", "regularise": {"batch": 3}, "finetune": {"batch": 5}}
    )
    found = trained.recipe(())
    assert found.regularise["batch"] == 3
    assert found.finetune["batch"] == 5
    assert found.training["data"] == {"folders": ["builtin"]}  # a minute's schedule
    whole = Trained.model_validate({"method": "srp", "training": {"batch": 7}}).recipe(())
    assert whole.training["batch"] == 7
    assert "data" not in whole.training  # one's own has nothing of it


def test_changes_come_one_after_another(tmp_path: Path) -> None:
    made = line(tmp_path, "repeats=2", "repeats=3", "prune=l1", "prune.ratio=0.125", "data=x")
    assert (made.repeats, made.data) == (3, "x")
    assert made.prune is not None
    assert made.prune.ratio == 0.125
    with pytest.raises(UserError, match="repeats"):
        line(tmp_path, "repeats=0")


def test_names_of_devices_and_targets_are_held_against_each_other(tmp_path: Path) -> None:
    device = {"uri": "local", "name": "desk", "targets": ["onnx", "onx"]}
    with pytest.raises(
        UserError, match="no target of device 'desk' named 'onx'; did you mean 'onnx'"
    ):
        line(tmp_path, targets=["onnx"], devices=[device])
    line(tmp_path, targets=["onnx"], devices=[device | {"targets": ["onnx"]}])
    with pytest.raises(UserError, match="two targets are called 'ONNX'; give one of them another"):
        line(tmp_path, targets=["onnx", {"target": "onnx", "name": "ONNX"}])
