from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from srdeploy.cli.main import run
from srdeploy.errors import SrdeployError, UserError
from srdeploy.models.load import load_network
from srdeploy.models.registry import create
from srdeploy.models.store import read_network, save_network
from srdeploy.pruning.options import PruneOptions
from srdeploy.quality.evaluate import evaluate
from srdeploy.reconstruct.calibration import Calibration
from srdeploy.reconstruct.run import prune_by_cost

FEW = Calibration(patches=8)


@pytest.mark.parametrize("arch", ["vdsr", "edsr", "ledsr", "rirsr"])
def test_every_architecture_is_nearer_to_the_dense_one_than_before_the_refit(arch: str) -> None:
    torch.manual_seed(0)
    size = {"vdsr": {"n_layers": 4, "n_feats": 16}, "rirsr": {"n_groups": 1}}.get(arch, {})
    if arch != "vdsr":
        size |= {"n_blocks": 2, "n_feats": 8}
    network = create(arch, **size)
    stages = {}

    def keep(stage: str, version: object) -> dict[str, float]:
        stages[stage] = {k: v.clone() for k, v in version.module.state_dict().items()}  # type: ignore
        return {"psnr_y": 30.0}

    small, report = prune_by_cost(network, PruneOptions(ratio=0.5), FEW, keep)
    assert list(stages) == list(report.quality) == ["dense", "masked", "compact", "refit"]
    moved = [n for n, t in stages["compact"].items() if not torch.equal(t, stages["refit"][n])]
    assert moved
    x = Calibration(patches=2).inputs(network)
    with torch.no_grad():
        wanted = network.module(x)
        refitted = float((small.module(x) - wanted).square().mean())
        small.module.load_state_dict(stages["compact"])
        unfitted = float((small.module(x) - wanted).square().mean())
    assert refitted < unfitted
    assert [step["step"] for step in small.card.history][-2:] == ["prune", "refit"]
    assert small.card.history[-1]["patches"] == 8
    assert small.card.history[-1]["psnr_y_after"] == 30.0
    assert small.card.history[-2]["method"] == "obs"
    assert small.card.proof is not None


def test_the_shipped_network_keeps_its_picture_without_training() -> None:
    network = load_network("edsr-s-x2")
    options = PruneOptions(ratio=0.5, exclude=("tail.*",))
    small, _ = prune_by_cost(network, options, FEW)
    turned, report = prune_by_cost(network, options, FEW, rotate=True)
    assert report.plan.method == "reconstruct"
    steps = {step["step"]: step for step in turned.card.history}
    assert steps["rotate"]["claim"] == "rotated(x) == dense(x)"
    assert steps["rotate"]["max_difference"] < steps["rotate"]["tolerance"]
    assert turned.card.widths == small.card.widths
    # l1 leaves 19.95 dB; the dense network has 34.41
    found = [evaluate(one, "builtin", 2, progress=False).psnr for one in (small, turned)]
    assert 32.0 < found[0] < found[1]


def test_the_same_network_comes_of_the_same_request() -> None:
    network = create("ledsr", scale=2, n_blocks=2, n_feats=8)
    small, again = (prune_by_cost(network, PruneOptions(ratio=0.5), FEW)[0] for _ in range(2))
    for name, tensor in small.module.state_dict().items():
        assert torch.equal(tensor, again.module.state_dict()[name]), name


@pytest.mark.usefixtures("small_builtin")
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "small.safetensors"
    source = tmp_path / "net.safetensors"
    save_network(create("ledsr", scale=2, n_blocks=2, n_feats=8), source)
    assert run(["prune", str(source), "--method", "obs", "--ratio", "0.7", "-o", str(out)]) == 0
    told = capsys.readouterr()
    assert "refit" in told.err
    assert read_network(out).card.history[-1]["step"] == "network-wise"
    for wrong, words in (
        (
            ["--method", "l1", "--calibration", "X"],
            "Calibration images belong to method obs or reconstruct",
        ),
        (["--method", "obs", "--no-rotate"], "Rotation belongs to method reconstruct"),
        (
            ["--method", "l1", "--macs", "1G"],
            "A budget of MACs or parameters belongs to method obs or",
        ),
        (["--method", "obs", "--ratio", "auto"], "--ratio auto needs a budget"),
        (["--method", "obs", "--ratio", "half"], "--ratio 'half' is no fraction"),
        (["--method", "obs", "--ratio", "0.5", "--macs", "1G"], "exclude each other"),
        (["--method", "obs", "--macs", "ten"], "--macs 'ten' is no number"),
        (["--method", "obs", "--macs", "100G"], "nothing has to be removed"),
        (["--method", "obs", "--criterion", "l2"], "obs chooses by cost"),
        (["--method", "obs", "--finetune", "5"], "methods that train"),
    ):
        assert run(["prune", "edsr-s-x2", *wrong, "-o", str(tmp_path / "no.safetensors")]) == 2
        assert words in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("rotate", [False, True])
def test_masked_and_compact_networks_measure_alike_or_nothing_comes_of_it(rotate: bool) -> None:
    network = create("ledsr", scale=2, n_blocks=1, n_feats=4)
    figures = {"dense": 30.0, "masked": 25.0, "compact": 25.02}
    with pytest.raises(SrdeployError, match=r"masked network measures 25\.000 dB and the compact"):
        prune_by_cost(
            network,
            PruneOptions(ratio=0.5),
            FEW,
            lambda stage, version: {"psnr_y": figures[stage]},
            rotate=rotate,
        )


@pytest.mark.parametrize("method", ["l1", "srp"])
def test_a_refit_after_any_other_method(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The penalised stage is cut to nothing: its network is the dense one."""
    network = create("ledsr", scale=2, n_blocks=1, n_feats=8)
    dense, out = tmp_path / "dense.safetensors", tmp_path / "small.safetensors"
    save_network(network, dense)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "prune: {method: srp, penalty: {growth: 1.0, every: 1, limit: 1.0, hold: 0}}\n"
        "training: {data: {folders: [builtin]}, patch: 16, batch: 1, workers: 0}\n"
    )
    own = [] if method == "l1" else ["--recipe", str(recipe), "--iterations", "0"]
    asked = ["prune", str(dense), "--method", method, *own, "--refit", "--json", "-o", str(out)]
    assert run([*asked, "--run-dir", str(tmp_path / "run")] if own else asked) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told["quality"])[-2:] == ["compact", "refit"]
    assert told["quality"]["refit"]["psnr_y"] > told["quality"]["compact"]["psnr_y"]
    assert read_network(out).card.history[-1]["step"] == "refit"


def test_without_rotation_it_is_the_other_method(tmp_path: Path) -> None:
    dense = tmp_path / "dense.safetensors"
    save_network(create("ledsr", scale=2, n_blocks=1, n_feats=8), dense)
    for name, method in (("a", ["reconstruct", "--no-rotate"]), ("b", ["obs"])):
        out = tmp_path / f"{name}.safetensors"
        assert run(["-q", "prune", str(dense), "--method", *method, "-o", str(out)]) == 0
    first, second = (read_network(tmp_path / f"{name}.safetensors") for name in "ab")
    assert first.card == second.card
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            first.module.state_dict().values(), second.module.state_dict().values(), strict=True
        )
    )


def test_nothing_to_prune_and_no_images_are_told(tmp_path: Path) -> None:
    network = create("ledsr", scale=2, n_blocks=1, n_feats=4)
    with pytest.raises(UserError, match="Nothing to prune"):
        prune_by_cost(network, PruneOptions(ratio=0.0), FEW)
    with pytest.raises(UserError):
        prune_by_cost(network, PruneOptions(ratio=0.5), Calibration(tmp_path / "none"))
