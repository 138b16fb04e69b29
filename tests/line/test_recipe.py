"""Recipes of the line: names, bases, changes, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from srdeploy.errors import UserError
from srdeploy.line.axes import find_line
from srdeploy.line.recipe import Line, OneShot, Trained, read_line
from srdeploy.line.run import as_yaml
from srdeploy.util.shipped import shipped

DEMO = find_line("demo")


def test_demo() -> None:
    line = read_line(DEMO)
    assert line.name == "demo"
    assert isinstance(line.prune, OneShot)
    assert line.made() == line.wanted() == ("dense", "pruned", "tuned")
    assert [target.name for target in line.targets] == ["onnx", "coreml"]
    assert line.scenarios[0].name == "quick"


def test_changes_are_typed() -> None:
    line = read_line(DEMO, ["prune.ratio=0.3", "train.optimiser.lr=1.0e-4", "targets=[onnx-int8]",
                            "scenarios=[quick, {base: frame-360p, min_runs: 7}]",
                            "versions=null"])  # fmt: skip
    assert line.prune is not None
    assert line.prune.ratio == 0.3
    assert line.train is not None
    assert line.train["optimiser"]["lr"] == 1e-4
    assert line.targets[0].options() == {"precision": "int8"}
    assert line.targets[0].ending == "-int8"
    assert [s.min_runs for s in line.scenarios] == [5, 7]
    assert line.wanted() == ("dense", "tuned")


def test_a_method_by_its_name_or_its_recipe() -> None:
    by_file = read_line(DEMO, ["prune=zoo", "prune.ratio=0.3", "train=null"])
    assert isinstance(by_file.prune, Trained)
    assert by_file.prune.name == "zoo"
    assert by_file.prune.recipe(("tail.*",)).prune.exclude == ("tail.*",)
    assert by_file.prune.recipe(()).prune.ratio == 0.3
    assert by_file.made() == ("dense", "pruned", "tuned")  # its own recovery
    short = read_line(DEMO, ["prune={method: fade}"]).prune
    assert isinstance(short, Trained)
    assert short.recipe(()).prune.penalty.through == "decoupled"
    assert short.recipe(()).training["data"] == {"folders": ["builtin"]}
    guided = read_line(DEMO, ["prune={method: guided}"]).prune
    assert isinstance(guided, Trained)
    assert (guided.recipe(()).prune.method, guided.recipe(()).prune.agreement) == ("assl", "joint")
    assert guided.recipe(()).training["distill"] == {"output": 0.9}
    alone = read_line(DEMO, ["prune={method: srp, finetune: {iterations: 0}}", "train=null",
                             "versions=null"])  # fmt: skip
    assert alone.made() == ("dense", "pruned")
    fpgm = read_line(DEMO, ["prune=fpgm"]).prune
    assert isinstance(fpgm, OneShot)
    assert fpgm.criterion == "fpgm"


def test_own_values_beside_the_recipe_go_first(tmp_path: Path) -> None:
    (tmp_path / "lines").mkdir()
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "onnx-fp16.yaml").write_text("{target: onnx, precision: mixed}")
    (tmp_path / "lines" / "near.yaml").write_text("{method: l1, ratio: 0.25}")
    recipe = tmp_path / "lines" / "mine.yaml"
    recipe.write_text("{model: edsr-s-x2, prune: near.yaml, targets: onnx-fp16}")
    line = read_line(recipe)
    assert line.prune is not None
    assert line.prune.ratio == 0.25
    assert line.targets[0].precision == "mixed"


def test_a_resolved_recipe_reads_as_the_same(tmp_path: Path) -> None:
    for path in shipped("lines").values():
        line = read_line(path)
        (tmp_path / "line.yaml").write_text(as_yaml(line))
        assert read_line(tmp_path / "line.yaml") == line


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("prun.ratio=3", "did you mean 'prune'"),
        ("prune.ration=.3", "did you mean 'ratio'"),
        ("prune.ratio=3", "Pruning ratio 3 is impossible"),
        ("prune=fad", "did you mean 'fade'"),
        ("prune.method=srpp", "did you mean 'srp'"),
        ("prune={method: srp, penalty: {limt: 3}}", "did you mean 'limit'"),
        ("prune={method: srp, training: {bach: 3}}", "did you mean 'batch'"),
        ("prune={method: srp, weight_group: weight}", "removes no channels"),
        ("train=shrt", "did you mean 'short'"),
        ("train.iterations=many", "train.*iterations"),
        ("train.optimiser.lrr=3", "did you mean 'lr'"),
        ("targets=onxx", "did you mean 'onnx'"),
        ("targets=[{target: onnx, precison: int8}]", "did you mean 'precision'"),
        ("targets=[{target: onnx, precision: int9}]", "did you mean 'int8'"),
        ("targets=[{target: onnx, images: true}]", "--images does not apply"),
        ("targets=[onnx, onnx]", "two targets are called 'onnx'"),
        ("targets=3", "targets holds '3'"),
        ("scenarios=quik", "did you mean 'quick'"),
        ("scenarios=[{min_run: 3}]", "did you mean 'min_runs'"),
        ("devices=jetsn", "did you mean 'jetson'"),
        ("devices=[{uri: local, targets: [onx]}]", "did you mean 'onnx'"),
        ("versions=[tuend]", "versions"),
        ("train=null", "no 'tuned' network"),
        ("name=a/b", "name: 'a/b' is no name"),
        ("targets=[{target: onnx, name: a/../../../victim}]", "'a/../../../victim' is no name"),
        ("targets=[{target: onnx, name: ..}]", r"'\.\.' is no name"),
        ("targets=[{target: onnx, name: .hidden}]", "is no name"),
        ('targets=[{target: onnx, name: "a\\n"}]', "is no name"),
        ('targets=[{target: onnx, name: "a\\e[2J"}]', r"'a\\x1b\[2J' is no name"),
        (f"targets=[{{target: onnx, name: {'n' * 65}}}]", "64 characters at most"),
        ("targets=[{target: onnx, name: A}, {target: onnx, name: a}]", "two targets are called"),
        ("devices=[{uri: local, name: a/b}]", "'a/b' is no name"),
        ("scenarios=[{name: ../x}]", "'../x' is no name"),
        ("prune={method: srp, name: ../x}", "'../x' is no name"),
        ("prune", "KEY=VALUE"),
    ],
)
def test_what_is_refused(change: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        read_line(DEMO, [change])


def test_names_that_are_names() -> None:
    changes = ["name=run_2.b-1", f"targets=[{{target: onnx, name: {'n' * 64}}}]"]
    line = read_line(DEMO, [*changes, "devices=[ssh://me@orin, {uri: local, name: desk}]"])
    assert line.name == "run_2.b-1"
    assert [device.name for device in line.devices] == ["ssh://me@orin", "desk"]


def test_unknown_recipes() -> None:
    with pytest.raises(UserError, match="did you mean 'demo'"):
        find_line("dmo")
    with pytest.raises(UserError, match="There is no file"):
        find_line("dmo.yaml")
    with pytest.raises(UserError, match="There is no file"):
        read_line(DEMO, ["prune=gone.yaml"])


def test_a_line_needs_a_model(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("targets: onnx\n")
    with pytest.raises(UserError, match="model"):
        read_line(tmp_path / "x.yaml")


def test_targets_of_a_jetson_are_onnx_files() -> None:
    line: Line = read_line(find_line("jetson"))
    assert {target.options().get("precision") for target in line.targets} == {"fp16", "int8"}
    assert line.devices[0].uri.startswith("ssh://")
    assert line.devices[0].runtime == "tensorrt"
