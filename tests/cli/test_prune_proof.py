"""``srdeploy prune`` of a stranger's network: proven as it says, or nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from srdeploy.cli.main import run

CODE = """
import torch
from torch import nn
from torch.nn import functional as F

class Net(nn.Module):
    value_range = 1.0
    receptive_field = 5
    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 8, 3, padding=1)
        self.tail = nn.Conv2d(8, 12, 3, padding=1)
    def act(self, y, x):
        return F.relu(y)
    def forward(self, x):
        return F.pixel_shuffle(self.tail(self.act(self.head(x), x)), 2)

class Sized(Net):
    def act(self, y, x):
        return torch.sigmoid(y) if x.shape[-1] > 48 else F.relu(y)

class Batched(Net):
    def act(self, y, x):
        return torch.sigmoid(y) if len(x) > 1 else F.relu(y)

class Single(Net):
    def act(self, y, x):
        return F.relu(y.float()).to(y.dtype)

class InPlace(Net):
    def forward(self, x):
        x *= 255.0
        return super().forward(x).div_(255.0)

class Kept(Net):
    def __init__(self):
        super().__init__()
        self.more = nn.Conv2d(8, 8, 1)
    def act(self, y, x):
        return F.relu(self.more(y.cumsum(1)))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the code and weights that fit all of it."""
    name = f"proven_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    torch.manual_seed(0)
    head, tail = torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 12, 3)
    state = {"head": head, "tail": tail}
    torch.save(
        {f"{k}.{n}": t.detach() for k, m in state.items() for n, t in m.state_dict().items()},
        tmp_path / "net.pt",
    )
    return tmp_path


def typed(folder: Path, net: str, weights: str = "net.pt") -> list[str]:
    arch = f"proven_{folder.name}:{net}"
    return ["prune", weights, "--arch", arch, "--no-quality", "-o", "small.safetensors"]


@pytest.mark.parametrize(("net", "where"), [("Sized", "152x136 pixels"), ("Batched", "a batch")])
def test_code_that_depends_on_the_input_is_refused(
    refused: Any, folder: Path, net: str, where: str
) -> None:
    code, sentence = refused(*typed(folder, net))
    assert code == 2
    assert "(sigmoid) does something else on" in sentence
    assert where in sentence
    assert not (folder / "small.safetensors").exists()


@pytest.mark.parametrize(
    ("net", "dtype"), [("Net", "float64"), ("Single", "float32"), ("InPlace", "float64")]
)
def test_the_precision_is_told_everywhere(
    command: Any, folder: Path, capsys: pytest.CaptureFixture[str], net: str, dtype: str
) -> None:
    report = command(*typed(folder, net))
    assert report["proof"]["dtype"] == dtype
    assert run(typed(folder, net)) == 0
    lines = capsys.readouterr().out.splitlines()
    (told,) = [line for line in lines if line.startswith("proof: ")]
    assert f"masked(x) == compact(x) in {dtype}, to " in told
    checked = "  checked on 12x12, 20x24, 29x17, 152x136 pixels, and on 2 images at once"
    assert checked in lines
    assert max(len(told), len(checked)) <= 80
    for told_again in (["explain"], ["inspect"]):
        arch = [] if told_again == ["explain"] else ["--arch", typed(folder, net)[3]]
        assert run([*told_again, "small.safetensors", *arch]) == 0
        assert f"in {dtype}, to " in capsys.readouterr().out


def test_what_is_not_followed_is_told(
    command: Any, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = typed(folder, "Kept", "kept.pt")
    layers = torch.load("net.pt") | {
        "more.weight": torch.rand(8, 8, 1, 1),
        "more.bias": torch.rand(8),
    }
    torch.save(layers, "kept.pt")
    entry = {"operation": "cumsum", "layer": "the network's own forward", "why": "no rule for it"}
    facts = {"channels": 20, "all_channels": 28, "macs_share": 0.1888, "not_followed": [entry]}
    assert command(*own)["unprunable"] == facts
    assert command("inspect", *own[1:4])["unprunable"] == facts
    kept = "what cumsum reads is kept in the network's own forward: no rule for it"
    assert run(own) == 0
    lines = capsys.readouterr().out.splitlines()
    told = lines.index(f"  {kept}")
    assert lines[told - 1].startswith("20 of 28 channels and 19% of the MACs cannot be pruned")
    assert run(["inspect", *own[1:4], "--groups"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert kept in lines
    assert "  why:     read by cumsum (no rule for it) in the network's own forward" in lines
