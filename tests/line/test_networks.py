"""The stages that make networks: what they say, what decides them, what they are made from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from srdeploy.errors import UserError
from srdeploy.line import networks as module
from srdeploy.line.networks import Networks
from srdeploy.line.recipe import read_line
from srdeploy.line.stage import Stage
from srdeploy.models.count import count
from srdeploy.models.load import load_network
from srdeploy.models.registry import create
from srdeploy.models.store import save_network
from srdeploy.pruning.methods.oneshot import default_exclude
from srdeploy.train.defaults import finetune_defaults
from srdeploy.util.shipped import shipped_networks

NAME = "edsr-s-x2"


def networks(tmp_path: Path, **values: Any) -> Networks:
    path = tmp_path / "made.yaml"
    path.write_text(json.dumps({"model": NAME, "scenarios": []} | values))
    return Networks(read_line(path), tmp_path / "run")


def stages(tmp_path: Path, **values: Any) -> dict[str, Stage]:
    return {stage.name: stage for stage in networks(tmp_path, **values).stages()}


def test_the_model_is_copied_and_counted(tmp_path: Path) -> None:
    made = networks(tmp_path)
    (model,) = made.stages()
    card = load_network(NAME).card
    assert model.what == f"{NAME}: {card.arch} x2"
    assert (model.how, model.parents, model.outputs) == ({}, (), ("dense.safetensors",))
    assert model.inputs["network"]() == shipped_networks()[NAME]
    folder = tmp_path / "run" / "10_model"
    folder.mkdir(parents=True)
    size = count(load_network(NAME))
    assert model.work(folder) == {"params": size.params, "macs_720p": size.macs_720p}
    assert made.file("dense") == folder / "dense.safetensors"
    assert made.load("dense").card.arch == card.arch


def test_a_file_is_found_by_variables_and_its_settings_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETS", str(tmp_path))
    save_network(create("ledsr", n_blocks=1, n_feats=4), tmp_path / "a.safetensors")
    source = {"file": "$NETS/a.safetensors", "scale": 2}
    (model,) = stages(tmp_path, model=source).values()
    assert model.inputs["network"]() == tmp_path / "a.safetensors"
    assert model.what == "a.safetensors: ledsr x2"
    assert model.how == {"scale": 2}  # where the file lies decides nothing


def test_pruning_at_once(tmp_path: Path) -> None:
    asked = {"method": "l1", "ratio": 0.25, "criterion": "fpgm", "exclude": ["body.0.*"]}
    made = stages(tmp_path, prune=asked)
    assert list(made) == ["10_model", "20_pruned"]
    pruned = made["20_pruned"]
    assert pruned.what == "prune at once by fpgm, ratio 0.25, compact, prove"
    assert (pruned.parents, pruned.outputs) == (("10_model",), ("plan.json", "pruned.safetensors"))
    usual = list(default_exclude(load_network(NAME)))
    assert pruned.how["exclude"] == [*usual, *[n for n in ["body.0.*"] if n not in usual]]
    assert (pruned.how["ratio"], pruned.how["criterion"]) == (0.25, "fpgm")
    bare = stages(tmp_path, prune=asked | {"default_exclude": False})["20_pruned"]
    assert bare.how["exclude"] == ["body.0.*"]


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ({"method": "reconstruct"}, "by reconstruct, ratio 0.5, compact, prove, refit"),
        ({"method": "obs", "ratio": 0.3}, "by obs, ratio 0.3, compact, prove, refit"),
        ({"method": "l1", "refit": True}, "by l1, ratio 0.5, compact, prove, refit"),
    ],
)
def test_pruning_with_a_refit_reads_images(
    tmp_path: Path, asked: dict[str, object], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruned = stages(tmp_path, prune=asked)["20_pruned"]
    assert pruned.what == f"prune at once {what}"
    assert (pruned.how["method"], pruned.how["refit"]) == (asked["method"], True)
    assert pruned.how["network_wise"] == (0 if asked["method"] == "l1" else "up to 2")
    more = stages(tmp_path, prune=asked | {"network_wise": 9})["20_pruned"]
    assert more.how == pruned.how | {"network_wise": 9}
    shipped = module.training_folder("builtin")
    assert {k: find() for k, find in pruned.inputs.items()} == {"calibration builtin": shipped}
    (tmp_path / "photographs").mkdir()
    monkeypatch.setenv("IMAGES", str(tmp_path))
    own = stages(tmp_path, prune=asked | {"calibration": "$IMAGES/photographs"})["20_pruned"]
    assert own.how == pruned.how  # where the images lie decides nothing
    assert [find() for find in own.inputs.values()] == [tmp_path / "photographs"]


def test_what_reads_no_images_takes_none(tmp_path: Path) -> None:
    assert stages(tmp_path, prune={"method": "l1"})["20_pruned"].inputs == {}
    with pytest.raises(UserError, match="Calibration images belong to method obs"):
        networks(tmp_path, prune={"method": "l1", "calibration": "builtin"})
    with pytest.raises(UserError, match="obs chooses by cost"):
        networks(tmp_path, prune={"method": "obs", "criterion": "l2"})


def test_a_refit_after_training_is_part_of_the_stage(tmp_path: Path) -> None:
    bare = stages(tmp_path, prune={"method": "srp"})["20_pruned"]
    refitted = stages(tmp_path, prune={"method": "srp", "refit": True})["20_pruned"]
    assert refitted.how == bare.how | {"refit": True}
    assert set(refitted.inputs) - set(bare.inputs) == {"calibration builtin"}
    with pytest.raises(UserError, match="set refit: true as well"):
        networks(tmp_path, prune={"method": "srp", "calibration": "builtin"})


def test_pruning_by_training_recovers_in_a_stage_of_its_own(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    asked = {"method": "srp", "ratio": 0.3, "training": {"data": {"folders": [str(images)]}},
             "finetune": {"iterations": 7, "distill": {"output": 0.5}}}  # fmt: skip
    made = stages(tmp_path, prune=asked)
    assert list(made) == ["10_model", "20_pruned", "40_tuned"]
    pruned, tuned = made["20_pruned"], made["40_tuned"]
    assert pruned.what == "prune by srp, ratio 0.3, compact, prove"
    assert pruned.parents == ("10_model",)
    assert pruned.outputs == ("plan.json", "pruned.safetensors")
    assert set(pruned.how) == {"prune", "training"}
    assert pruned.how["prune"]["ratio"] == 0.3
    assert list(pruned.inputs) == [f"images {images}"]
    assert pruned.inputs[f"images {images}"]() == images
    assert tuned.what == "fine-tune, 7 iterations"
    assert (tuned.parents, tuned.outputs) == (("20_pruned", "10_model"), ("tuned.safetensors",))
    named = stages(tmp_path, prune=asked | {"name": "mine"})["20_pruned"]
    assert named.what.startswith("prune by mine, ")
    other = stages(tmp_path, prune=asked | {"finetune": {"iterations": 9}})
    assert other["20_pruned"].how == pruned.how  # recovery changes without pruning anew
    assert other["40_tuned"].parents == ("20_pruned",)  # nobody teaches
    assert list(stages(tmp_path, prune=asked | {"finetune": {"iterations": 0}})) == [
        "10_model", "20_pruned",
    ]  # fmt: skip


def test_fine_tuning_takes_what_fits_the_network(tmp_path: Path) -> None:
    made = stages(tmp_path, train={"iterations": 11})
    assert list(made) == ["10_model", "40_tuned"]
    tuned = made["40_tuned"]
    assert (tuned.what, tuned.parents) == ("fine-tune, 11 iterations", ("10_model",))
    assert tuned.how["batch"] == finetune_defaults(load_network(NAME).card, 11)["batch"]
    assert tuned.how["optimiser.lr"] == 5e-4
    taught = stages(tmp_path, train={"distill": {"output": 1.0}}, prune={"method": "l1"})[
        "40_tuned"
    ]
    assert taught.parents == ("20_pruned", "10_model")
    alone = stages(tmp_path, train={"distill": {"output": 1.0}})["40_tuned"]
    assert alone.parents == ("10_model",)


def test_eight_bits_have_defaults_of_their_own(tmp_path: Path) -> None:
    rounded = {"quantise": {"precision": "int8", "calibration": "builtin"}}
    tuned = stages(tmp_path, train=rounded, prune={"method": "l1"})["40_tuned"]
    assert tuned.what == "fine-tune for int8, 400 iterations"
    assert tuned.how["optimiser.lr"] == 1e-4
    assert tuned.parents == ("20_pruned", "10_model")  # it learns from itself as it was
    assert tuned.inputs["calibration builtin"]() == module.training_folder("builtin")
    assert tuned.inputs["images builtin"]() == module.training_folder("builtin")


def test_teachers_and_files_of_images_are_inputs(tmp_path: Path) -> None:
    train = {
        "data": {"folders": [], "hdf5": "$HOME/a.h5"},
        "distill": {"output": 1.0, "teacher": NAME},
    }
    tuned = stages(tmp_path, train=train)["40_tuned"]
    assert set(tuned.inputs) >= {"images $HOME/a.h5", f"teacher {NAME}"}
    assert tuned.inputs[f"teacher {NAME}"]() == shipped_networks()[NAME]
    assert tuned.inputs["images $HOME/a.h5"]() == Path.home() / "a.h5"
    own = stages(tmp_path, train={"distill": {"output": 1.0, "teacher": "~/t.pt"}})["40_tuned"]
    assert own.inputs["teacher ~/t.pt"]() == Path.home() / "t.pt"


def test_settings_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="scale"):
        networks(tmp_path, model={"file": NAME, "scale": 3}).stages()
    with pytest.raises(UserError, match=r"absent\.pt"):
        networks(tmp_path, model="absent.pt").stages()


def test_an_outline_opens_nothing(tmp_path: Path) -> None:
    source = {"file": "/some/absent.pt", "arch": "own.nets:Net"}
    made = networks(tmp_path, model=source, prune={"method": "srp"})
    assert [(one.name, one.what) for one in made.outline()] == [
        ("10_model", "absent.pt: own.nets:Net"), ("20_pruned", "prune by srp"),
        ("40_tuned", "fine-tune"),
    ]  # fmt: skip
    assert all((one.how, one.outputs) == ({}, ()) for one in made.outline())
    bare = networks(tmp_path, model=source)
    assert [(one.name, one.what) for one in bare.outline()] == [
        ("10_model", "absent.pt: own.nets:Net"),
    ]  # fmt: skip
    for refused in (made.stages, lambda: made.load("dense")):
        with pytest.raises(UserError, match="--allow-code"):
            refused()


def test_what_pruning_leaves(tmp_path: Path) -> None:
    save_network(create("ledsr", n_blocks=1, n_feats=8), tmp_path / "a.safetensors")
    source = str(tmp_path / "a.safetensors")
    made = networks(tmp_path, model=source, prune={"method": "l1", "ratio": 0.5})
    for stage in made.stages():
        folder = tmp_path / "run" / stage.name
        folder.mkdir(parents=True)
        found = stage.work(folder)
    assert set(found) == {"params", "macs_720p", "proof"}
    assert sorted(path.name for path in folder.iterdir()) == ["plan.json", "pruned.safetensors"]
    small, whole = (count(made.load(version)).params for version in ("pruned", "dense"))
    assert found["params"] == {"dense": whole, "compact": small}
    assert small < whole
    plan = (folder / "plan.json").read_text(encoding="utf-8")
    assert plan == json.dumps(json.loads(plan), indent=1, ensure_ascii=False) + "\n"


def test_what_chooses_the_tuned_network_decides_it(tmp_path: Path) -> None:
    def tuned(**check: Any) -> Stage:
        train = {"iterations": 4, **({"validation": check} if check else {})}
        return stages(tmp_path, train=train)["40_tuned"]

    plain = tuned()
    kept = tuned(data=str(tmp_path), every=2, scale=2)
    assert {key: kept.how[key] for key in kept.how if key not in plain.how} == {
        "kept by": f"{tmp_path}, x2",
        "kept every": 2,
    }
    (name,) = set(kept.inputs) - set(plain.inputs)
    assert kept.inputs[name]() == tmp_path
    held = tuned(data="held-out", every=2)
    assert held.how["kept by"] == "held-out"
    assert set(held.inputs) == set(plain.inputs)
    last = tuned(data=str(tmp_path), every=2, keep="last")
    assert (last.how, set(last.inputs)) == (plain.how, set(plain.inputs))
