"""Networks of live modules: what is found out, what is asked, and what the network can do then."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import srdeploy as sr
from srdeploy.errors import UserError
from srdeploy.exporting.provenance import tell
from srdeploy.models.importing.live_module import wrap
from srdeploy.models.load import load_network


class Own(nn.Module):
    """Needs an argument, so no import makes it again."""

    def __init__(self, width: int, scale: int = 2, channels: int = 3) -> None:
        super().__init__()
        self.head = nn.Conv2d(channels, width, 3, padding=1)
        self.body = nn.Conv2d(width, width, 3, padding=1)
        self.tail = nn.Conv2d(width, channels * scale**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, x: Tensor) -> Tensor:
        return self.shuffle(self.tail(torch.relu(self.body(torch.relu(self.head(x))))))


class Same(Own):
    def __init__(self) -> None:
        super().__init__(8, scale=1, channels=1)


def test_what_running_it_shows() -> None:
    module = Own(8, scale=3).double().train()
    before = copy.deepcopy(module.state_dict())
    with pytest.warns(UserWarning, match=r":Own': assumed that pixel values run from 0 to 1"):
        network = wrap(module)
    card = network.card
    assert (card.arch, card.scale, card.channels) == (f"{__name__}:Own", 3, 3)
    assert (card.value_range, card.receptive_field, card.size_multiple) == (1.0, 7, 1)
    assert card.widths == {"head": 8, "body": 8, "tail": 27}
    assert not network.module.training
    assert network.module.head.weight.dtype == torch.float32
    assert module.training
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    with torch.no_grad():
        network.module.head.weight.zero_()
    assert module.head.weight.any()  # its tensors are its own


def test_what_is_given_is_not_assumed() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        card = wrap(Own(8), value_range=255).card
    assert card.value_range == 255.0
    (step,) = card.history
    assert (step["step"], step["assumed"]) == ("import", [])
    assert wrap(Same(), scale=4, value_range=1).card.pre_upscaled
    flat = wrap(Same(), scale=1, value_range=1).card
    assert (flat.scale, flat.pre_upscaled, flat.luma_only) == (1, False, True)


def test_a_trained_module_shows_its_range() -> None:
    module = nn.Sequential(load_network("edsr-s-x2-p70").module)  # which says nothing of itself
    with pytest.warns(UserWarning, match="run from 0 to 255"):
        assert wrap(module).card.value_range == 255.0


class Around(nn.Module):
    """As torch.compile puts itself around a module."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._orig_mod = module

    def forward(self, x: Tensor) -> Tensor:
        return self._orig_mod(x)


def test_what_is_put_around_it_is_taken_off() -> None:
    network = wrap(nn.DataParallel(Around(Own(8))), value_range=1)
    assert type(network.module) is Own
    assert list(network.card.widths) == ["head", "body", "tail"]


class Uncopyable(Own):
    def __deepcopy__(self, memo: object) -> None:
        raise RuntimeError("holds a file\nand more")


class Boastful(Own):
    value_range = -1.0


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("a.pt", "takes a torch module, not a str; files, and names of shipped networks, are for"),
        (Same(), r":Same' returns images of the size it takes.*scale=2\); if .* nothing, scale=1"),
        (Uncopyable(8), r":Uncopyable' cannot be copied \(holds a file\); give a new module"),
        (nn.Linear(3, 3), "Linear' cannot be run on an image"),
        (torch.jit.script(nn.ReLU()), "A TorchScript program has no layers to prune"),
        (Boastful(8), r":Boastful' says of itself cannot be \(value_range"),
    ],
)
def test_modules_that_cannot_serve(given: object, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        wrap(given)  # type: ignore[arg-type]


def test_it_is_pruned_twice_saved_and_loaded_without_an_import(tmp_path: Path) -> None:
    torch.manual_seed(0)
    dense = wrap(Own(16), value_range=1)
    once = sr.prune(dense, 0.5)
    tuned = sr.finetune(once, run_dir=tmp_path / "r", iterations=1, batch=1, patch=8)
    small = sr.prune(tuned, 0.5, method="l1")
    steps = ["import", "prune", "refit", "network-wise", "finetune", "prune"]
    assert [n["step"] for n in small.card.history] == steps
    assert small.card.widths == {"head": 4, "body": 4, "tail": 12}
    assert small.card.shapes["body.weight"] == [4, 4, 3, 3]
    sr.save(small, tmp_path / "small.safetensors")
    again = sr.load(tmp_path / "small.safetensors", arch=lambda: Own(16))
    x = torch.rand(1, 3, 9, 8)
    with torch.no_grad():
        assert torch.equal(again.module(x), small.module(x))
    assert sr.prune(again, 0.5).card.widths["body"] == 2
    story = tell(tmp_path / "small.safetensors")
    assert story.chapters[0].told[0] == f"a live module, {__name__}:Own"
    with pytest.raises(UserError, match="pass --arch"):
        sr.load(tmp_path / "small.safetensors")
    with pytest.raises(UserError, match=r"failed when called without arguments \(TypeError"):
        sr.load(tmp_path / "small.safetensors", arch=Own)


@pytest.mark.parametrize("method", ["reconstruct", "obs"])
def test_methods_that_refit_know_it_too(method: str) -> None:
    small = sr.prune(wrap(Own(8), value_range=1), 0.5, method=method)
    assert sr.prune(small, 0.5).card.widths["body"] == 2


def test_weights_alone_with_what_makes_the_module(tmp_path: Path) -> None:
    module = Own(8)
    torch.save(module.state_dict(), tmp_path / "w.pt")
    network = sr.load(tmp_path / "w.pt", arch=lambda: Own(8))
    assert network.card.arch == f"{__name__}:Own"
    assert sr.prune(network, 0.5).card.widths["body"] == 4
    with pytest.raises(UserError, match="returned int, not a module"):
        sr.load(tmp_path / "w.pt", arch=lambda: 5)  # type: ignore[arg-type,return-value]


def test_a_network_of_ours_needs_no_code() -> None:
    with pytest.raises(UserError, match="srdeploy's own ledsr; leave arch out"):
        sr.load("edsr-s-x2", arch=lambda: Own(8))
