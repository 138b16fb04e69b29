"""Networks of the user's own: imported code, strict tensors, facts measured or stated."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from srdeploy.errors import UserError
from srdeploy.models.importing.state_dict import StateDict
from srdeploy.models.importing.user_module import load_user_network
from srdeploy.models.store import read_network, save_network, user_factory

CODE = '''
import torch
from torch import nn

class Tiny(nn.Module):
    """RGB, doubles the size."""
    def __init__(self, channels=3, scale=2):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels * scale ** 2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(scale)
    def forward(self, x):
        return self.shuffle(self.conv(x))

def luma_x3():
    return Tiny(channels=1, scale=3)

class Unet(Tiny):
    """Needs even sizes; states its pixel range."""
    value_range = 255
    def forward(self, x):
        low = nn.functional.pixel_unshuffle(x, 2)
        return super().forward(nn.functional.pixel_shuffle(low, 2))

class Same(nn.Module):
    """Works on the upscaled luma image."""
    scale = 4
    receptive_field = 3
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)
    def forward(self, x):
        return x + self.conv(x)

class Shrinks(Same):
    def forward(self, x):
        return x[:, :, ::2]

class Coarse(Tiny):
    size_multiple = 10**9

class Padded(Tiny):
    """Runs on sides of more than 40 pixels, of any parity."""
    def forward(self, x):
        return super().forward(nn.functional.pad(x, (40,) * 4, mode="reflect")[..., 40:-40, 40:-40])

class Sixes(Padded):
    """Likewise, and multiples of six."""
    def forward(self, x):
        return super().forward(nn.functional.pixel_shuffle(nn.functional.pixel_unshuffle(x, 6), 6))

class Listed(Tiny):
    def forward(self, x):
        return [super().forward(x)]

class Named(Tiny):
    def forward(self, x):
        return {"sr": super().forward(x)}

def grey_listed():
    return Listed(channels=1)

class Video(nn.Module):
    """Takes [N, C, T, H, W]."""
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(3, 3, 3, padding=1)
    def forward(self, x):
        return self.conv(x)

class Broken(Tiny):
    def forward(self, x):
        raise ValueError(f"my own reason for {x.shape[1]} channels")

class BrokenGrey(Tiny):
    def __init__(self):
        super().__init__(channels=1)
    def forward(self, x):
        super().forward(x)
        raise ValueError("my own reason")

def needs_arguments(n):
    return Tiny()

def no_module():
    return 5

constant = 5
'''


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in the current folder, under a name of its own."""
    (tmp_path / f"nets_{tmp_path.name}.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return f"nets_{tmp_path.name}"


def state(spec: str) -> StateDict:
    torch.manual_seed(1)
    return StateDict(user_factory(spec)().state_dict())


def test_rgb_x2_all_measured(code: str) -> None:
    spec = f"{code}:Tiny"
    found = state(spec)
    network, assumed = load_user_network(found, spec, "file.pt")
    card = network.card
    assert (card.arch, card.scale, card.scales, card.channels) == (spec, 2, (2,), 3)
    assert (card.luma_only, card.pre_upscaled, card.size_multiple) == (False, False, 1)
    assert (card.value_range, card.receptive_field) == (1.0, 3)
    assert card.widths == {"conv": 12}
    assert any("0 to 1" in note for note in assumed)
    assert torch.equal(network.module.conv.weight, found.tensors["conv.weight"])
    assert not network.module.training


def test_luma_x3(code: str) -> None:
    network, _ = load_user_network(state(f"{code}:luma_x3"), f"{code}:luma_x3", "file.pt")
    assert (network.card.scale, network.card.channels, network.card.luma_only) == (3, 1, True)


def test_size_multiple_and_stated_range(code: str) -> None:
    network, assumed = load_user_network(state(f"{code}:Unet"), f"{code}:Unet", "file.pt")
    assert network.card.size_multiple == 2
    assert network.card.value_range == 255.0
    assert assumed == ()


@pytest.mark.parametrize(("name", "multiple"), [("Padded", 1), ("Sixes", 6)])
def test_a_smallest_size_is_no_multiple(name: str, multiple: int, code: str) -> None:
    spec = f"{code}:{name}"
    card = load_user_network(state(spec), spec, "file.pt")[0].card
    assert (card.size_multiple, card.scale, card.channels) == (multiple, 2, 3)
    if name == "Padded":
        assert card.receptive_field == 3


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Listed", "it returns a list; wrap it"),
        ("Named", "it returns a dict; wrap it"),
        ("grey_listed", "it returns a list; wrap it"),
        ("Video", "it takes 5-D input"),
        ("Broken", "my own reason for 3 channels"),
        ("BrokenGrey", "my own reason"),
    ],
)
def test_the_first_true_reason_is_told(name: str, reason: str, code: str) -> None:
    spec = f"{code}:{name}"
    with pytest.raises(UserError, match=f"^'{spec}' cannot be run on an image.*{reason}") as told:
        load_user_network(state(spec), spec, "file.pt")
    assert "but got" not in str(told.value)


def test_pre_upscaled(code: str) -> None:
    spec = f"{code}:Same"
    card = load_user_network(state(spec), spec, "file.pt")[0].card
    assert (card.pre_upscaled, card.scale, card.receptive_field) == (True, 4, 3)
    assert load_user_network(state(spec), spec, "file.pt", scale=3)[0].card.scale == 3


def test_wrapped_names_and_a_round_trip(code: str, tmp_path: Path) -> None:
    spec = f"{code}:Tiny"
    tensors = {f"module.{name}": t for name, t in state(spec).tensors.items()}
    network, _ = load_user_network(StateDict(tensors), spec, "file.pt")
    save_network(network, tmp_path / "a.safetensors")
    again = read_network(tmp_path / "a.safetensors", arch=spec)
    x = torch.rand(1, 3, 8, 9)
    with torch.no_grad():
        assert torch.equal(again.module(x), network.module(x))


def test_tensors_must_fit(code: str) -> None:
    spec = f"{code}:Tiny"
    good = state(spec).tensors
    for tensors, sentence in (
        ({"conv.weight": good["conv.weight"]}, r"'conv\.bias', which .* is missing"),
        ({**good, "more": torch.zeros(1)}, "'more' .* has no place"),
        ({**good, "conv.bias": torch.zeros(4)}, r"'conv\.bias' .* \[4\], but .* \[12\]"),
    ):
        with pytest.raises(UserError, match=sentence):
            load_user_network(StateDict(tensors), spec, "file.pt")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("Missing", "Cannot import"),
        ("constant", "not callable"),
        ("no_module", "returned int"),
        ("needs_arguments", "failed when called without arguments"),
        ("Shrinks", "no image of a whole multiple"),
    ],
)
def test_code_that_cannot_serve(name: str, sentence: str, code: str) -> None:
    found = StateDict({"conv.weight": torch.zeros(1, 1, 3, 3), "conv.bias": torch.zeros(1)})
    with pytest.raises(UserError, match=sentence):
        load_user_network(found, f"{code}:{name}", "file.pt")


def test_a_multiple_is_bounded_before_images_of_it_are_made(code: str) -> None:
    with pytest.raises(UserError, match="size_multiple must be a number from 1 to 256"):
        load_user_network(state(f"{code}:Coarse"), f"{code}:Coarse", "file.pt")


def test_a_scale_that_contradicts_the_forward_pass(code: str) -> None:
    with pytest.raises(UserError, match="upscales by 2, not by 3"):
        load_user_network(state(f"{code}:Tiny"), f"{code}:Tiny", "file.pt", scale=3)


def test_no_such_module() -> None:
    with pytest.raises(UserError, match="Cannot import"):
        load_user_network(StateDict({}), "no_such_package_at_all:Net", "file.pt")
