"""``srdeploy prune --method srp|assl|gassl``: the whole method by one command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from srdeploy.models.store import read_network

RECIPE = {
    "prune": {
        "method": "srp",
        "penalty": {"growth": 0.5, "every": 2, "limit": 2.0, "hold": 2},
        "alignment": {"iterations": 2},
        "search": {"growth": 0.5, "every": 1, "limit": 1.0},
    },
    "training": {
        "data": {"folders": ["builtin"]},
        "patch": 8,
        "batch": 2,
        "log_every": 2,
        "threads": 1,
        "workers": 0,
    },
    "finetune": {"iterations": 2},
}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    return path


@pytest.mark.parametrize("method", ["srp", "assl", "gassl", "guided"])
def test_prunes_recovers_and_resumes(command, tiny: Path, recipe: Path, method: str) -> None:
    output, run = recipe.parent / "small.safetensors", recipe.parent / "run"
    line = ["prune", tiny, "--method", method, "--ratio", 0.25, "--recipe", recipe,
            "--run-dir", run, "-o", output]  # fmt: skip
    result = command(*line)
    assert list(result["quality"]) == ["dense", "regularised", "compact", "tuned"]
    assert result["options"]["ratio"] == 0.25
    assert result["options"]["exclude"] == ["tail.*"]
    assert result["method"] == ("assl" if method == "guided" else method)
    small = read_network(output)
    if method != "gassl":  # which spreads the same number of filters by rank
        assert small.card.widths["head.0"] == 6
    assert small.card.widths["tail.0"] == 12
    entry = json.loads((run / "regularise" / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"penalty", "pruned", "kept", "loss"} <= set(entry)
    assert command(*line)["quality"] == result["quality"]


def test_changes_options_and_stages_of_a_recipe(command, tiny: Path, recipe: Path) -> None:
    output = recipe.parent / "small.safetensors"
    result = command(
        "prune", tiny, "--recipe", recipe, "--set", "prune.penalty.limit=1.0", "--common-set",
        "joint", "--finetune", 0, "--no-quality", "--exclude", "body.0.body.0", "--seed", 3,
        "--run-dir", recipe.parent / "run", "-o", output,
    )  # fmt: skip
    assert result["quality"] == {}
    options = result["options"]
    assert (options["penalty"]["limit"], options["penalty"]["growth"]) == (1.0, 0.5)
    assert (options["common_set"], options["seed"]) == ("joint", 3)
    assert options["exclude"] == ["tail.*", "body.0.body.0"]
    assert not (recipe.parent / "run" / "finetune").exists()
    assert read_network(output).card.history[-1]["step"] == "prune"


def test_other_options_start_over_only_when_asked(
    command, refused, tiny: Path, recipe: Path
) -> None:
    line = ["prune", tiny, "--recipe", recipe, "--no-quality", "--run-dir", recipe.parent / "run",
            "-o", recipe.parent / "small.safetensors"]  # fmt: skip
    command(*line)
    code, said = refused(*line, "--ratio", 0.75)
    assert code == 2
    assert "ratio: was 0.5, is 0.75" in said
    assert "--fresh" in said
    assert command(*line, "--ratio", 0.75, "--fresh")["widths"]["head.0"] == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--method", "spr"], "did you mean 'srp'?"),
        (["--method", "srp", "--ratio", "1"], "ratio 1 is impossible"),
        (["--method", "srp", "--exclude", "haed*"], "No layer matches 'haed*'; the layers are:"),
        (["--method", "assl", "--criterion", "l2"], "criterion belongs to method l1"),
        (["--method", "srp", "--common-set", "best"], "common_set"),
        (["--method", "srp", "--set", "prune.ratio=0.5"], "name one with --recipe"),
        (["--method", "l1", "--finetune", "10"], "choose srp, assl, gassl, guided or"),
        (["--method", "l1", "--fresh"], "leave --run-dir and --fresh out"),
        (["--method", "l1", "--run-dir", "run"], "is done at once and keeps no run folder"),
        (["--method", "srp", "--train-data", "."], "holds no images"),
        (["--method", "srp", "--layer-ratio", "tail.*=0.5"], "cannot be pruned"),
        (["--recipe", "absent.yaml"], "There is no file 'absent.yaml'"),
    ],
)
def test_refusals_are_one_sentence(
    refused,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    said: str,
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    output = tmp_path / "out.safetensors"
    code, sentence = refused("prune", tiny, *options, "--no-quality", "-o", output)
    assert code == 2
    assert said in sentence
    assert not output.exists()
