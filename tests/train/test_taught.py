"""Learning without originals: the teacher's outputs stand in their place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from srdeploy.cli.main import run
from srdeploy.data.images import read_rgb, write_png
from srdeploy.errors import UserError
from srdeploy.models.load import load_network
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.models.store import save_network
from srdeploy.quality.evaluate import evaluate
from srdeploy.runtime.open import open_session
from srdeploy.runtime.pixels import upscale_rgb
from srdeploy.train.taught import taught_folder, taught_settings


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for name in ("framex2.png", "b.png", "b.bmp.png"):
        coarse = random.integers(0, 256, (8, 9, 3), dtype=np.uint8)
        write_png(tmp_path / "frames" / name, coarse.repeat(6, axis=0).repeat(6, axis=1))
    return tmp_path / "frames"


def network(**config: int) -> Network:
    return create("ledsr", **{"n_blocks": 1, "n_feats": 8, **config})


def test_the_teachers_outputs_are_the_originals(frames: Path) -> None:
    teacher = network()
    made = taught_folder(frames, teacher, teacher.card)
    assert made.name == "frames-taught"
    with open_session(teacher) as session:
        for path in frames.iterdir():
            wanted = np.clip(np.floor(upscale_rgb(session, read_rgb(path), 2) + 0.5), 0, 255)
            np.testing.assert_array_equal(read_rgb(made / "HR" / path.name), wanted)
            given = read_rgb(made / "LR_bicubic/X2" / f"{path.stem}x2.png")
            np.testing.assert_array_equal(given, read_rgb(path))
    before = (made / "HR/b.png").stat().st_mtime_ns
    assert taught_folder(frames, teacher, teacher.card) == made
    assert (made / "HR/b.png").stat().st_mtime_ns == before
    assert taught_folder(frames, network(), teacher.card) != made  # another teacher
    assert taught_settings([frames], teacher, teacher.card) == {
        "data": [str(made)], "output": 1.0, "eval_data": str(made)
    }  # fmt: skip
    assert evaluate(teacher, made, 2, "rgb").psnr > 50  # to 8 bits, it agrees with itself


def test_networks_that_do_not_fit(frames: Path) -> None:
    luma, other = create("vdsr", n_layers=3, n_feats=4), network(scale=3)
    for teacher, student, told in (
        (luma, network(), "vdsr takes luma"),
        (network(), luma, "vdsr takes luma"),
        (other, network(), "upscales by 3 and the network by 2"),
    ):
        with pytest.raises(UserError, match=told):
            taught_folder(frames, teacher, student.card)
    with pytest.raises(UserError, match="holds no images"):
        (frames.parent / "empty").mkdir()
        taught_folder(frames.parent / "empty", network(), network().card)


def test_a_student_comes_nearer_to_its_teacher(
    frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    dense = network()
    save_network(dense, "dense.safetensors")
    student = dense.copy()
    for parameter in student.module.parameters():
        if parameter.requires_grad:
            parameter.data.mul_(0.8)
    save_network(student, "student.safetensors")
    line = ["finetune", "student.safetensors", "--lr-data", str(frames), "-o", "tuned.safetensors"]
    assert run(line) == 2
    assert run([*line, "--teacher", "dense.safetensors", "--train-data", "builtin"]) == 2
    told = capsys.readouterr().err
    assert "--lr-data has no originals to learn from: add --teacher FILE" in told
    assert "give one of them" in told
    short = ["--iterations", "60", "--patch", "16", "--batch", "4", "--lr", "0.0003"]
    assert run([*line, "--teacher", "dense.safetensors", *short]) == 0
    tuned = load_network("tuned.safetensors")
    assert "frames-taught" in str(tuned.card.history[-1])
    before, after = (
        evaluate(one, "builtin", 2, "rgb", dense=dense).figures["agreement"]
        for one in (student, tuned)
    )
    assert after > before + 3
