"""The command that ``prune`` ends in runs as it is printed."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from srdeploy.cli.main import run
from srdeploy.data.images import write_png
from srdeploy.models.card_file import read_card
from tests.train.conftest import textured

OWN = """
from srdeploy.models.registry import create


def net():
    return create("ledsr", n_blocks=1, n_feats=8).module
"""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a space in its name, a network of one's own, and a set to watch."""
    folder = tmp_path / "my desk"
    write_png(folder / "my set" / "a.png", textured(0, 64, 72))
    (folder / "ownnet.py").write_text(OWN)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    sys.modules.pop("ownnet", None)


def printed(text: str) -> list[str]:
    """The command after `next`, as a shell reads it."""
    return shlex.split(text.partition("\nnext")[2].partition("\n")[2].replace("\\\n", " "))


def test_it_runs(desk: Path, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["prune", str(tiny), "-o", "my nets/small.safetensors", "--eval-data", "my set"]
    for number in range(2):  # the second time, runs/small-tuned holds another network's run
        assert run([*asked, "--ratio", f"0.{3 + 2 * number}"]) == 0
        words = printed(capsys.readouterr().out)
        assert words[0] == "srdeploy"
        assert run([*words[1:], "--iterations", "2"]) == 0, capsys.readouterr().err
        card = read_card(desk / "my nets" / "small-tuned.safetensors")
        assert card is not None
        assert card.history[-1]["kept"]["data"] == "my set"
        capsys.readouterr()
    assert sorted(path.name for path in (desk / "runs").iterdir()) == [
        "small-tuned",
        "small-tuned-2",
    ]


def test_it_runs_for_a_network_of_ones_own(
    desk: Path, capsys: pytest.CaptureFixture[str], tiny: Path
) -> None:
    import torch

    from srdeploy.models.store import read_network

    torch.save(read_network(tiny).module.state_dict(), "own.pt")
    own = ("--arch", "ownnet:net")
    assert run(["prune", "own.pt", *own, "-o", "small.safetensors", "--no-quality"]) == 0
    words = printed(capsys.readouterr().out)
    assert words[1:5] == ["finetune", "small.safetensors", *own]
    assert run([*words[1:], "--iterations", "2", "--eval-data", "my set"]) == 0, (
        capsys.readouterr().err
    )
