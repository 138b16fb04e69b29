"""Networks that spandrel recognises: computed as it computes them, saved, pruned, refused."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from srdeploy.compacting.run import prune_oneshot
from srdeploy.errors import UserError
from srdeploy.models.importing import spandrel_file
from srdeploy.models.importing.assemble import Assembled
from srdeploy.models.importing.spandrel_file import load_spandrel
from srdeploy.models.importing.state_dict import StateDict
from srdeploy.models.load import load_network
from srdeploy.models.spandrel_library import installed, library
from srdeploy.models.store import build, empty_module, save_network
from srdeploy.pruning.options import PruneOptions

pytestmark = pytest.mark.skipif(not installed(), reason="spandrel is not installed")

WINDOWS: dict[str, Any] = {"window_size": 8, "img_size": 16, "mlp_ratio": 2.0, "upscale": 2}
MADE: dict[str, dict[str, Any]] = {
    "SwinIR": {"embed_dim": 8, "depths": [1], "num_heads": [2], "upsampler": "pixelshuffledirect",
               **WINDOWS},
    "HAT": {"embed_dim": 8, "depths": [1], "num_heads": [2], "upsampler": "pixelshuffle",
            "compress_ratio": 4, "squeeze_factor": 4, **WINDOWS, "img_size": 64},
    "DAT": {"embed_dim": 32, "depth": [1], "num_heads": [2], "split_size": [8, 8], "upscale": 2,
            "upsampler": "pixelshuffledirect", "expansion_factor": 2.0},
    "OmniSR": {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "block_num": 1, "pe": True,
               "window_size": 8, "res_num": 1, "up_scale": 2, "bias": True},
    "SAFMN": {"dim": 8, "n_blocks": 1, "upscaling_factor": 2},
    "SwiftSRGAN": {"num_channels": 8, "num_blocks": 1, "upscale_factor": 4},
    "NAFNet": {"width": 8, "middle_blk_num": 1, "enc_blk_nums": [1], "dec_blk_nums": [1]},
}  # fmt: skip
CLASSES = {"SwiftSRGAN": "Generator"}


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    library()
    kind = getattr(import_module(f"spandrel.architectures.{name}"), name)
    module = kind(**MADE[name]).eval()
    with torch.no_grad():
        for parameter in module.parameters():  # some begin as zeros: nothing would show
            parameter.add_(0.05 * torch.randn_like(parameter))
    return module


def loaded(module: nn.Module, **options: Any) -> Assembled:
    found = load_spandrel(StateDict(module.state_dict()), "net.pth", **options)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "scale", "smallest", "multiple"),
    [("SwinIR", 2, 16, 1), ("HAT", 2, 16, 1), ("DAT", 2, 16, 1), ("OmniSR", 2, 16, 1),
     ("SAFMN", 2, 8, 8), ("SwiftSRGAN", 4, 1, 1), ("NAFNet", 1, 1, 1)],
)  # fmt: skip
def test_it_computes_what_its_class_does(
    name: str, scale: int, smallest: int, multiple: int, tmp_path: Path
) -> None:
    module = made(name)
    found = loaded(module)
    card = found.network.card
    assert card.arch == f"spandrel:{name}" + (f".{CLASSES[name]}" if name in CLASSES else "")
    assert (card.scale, card.channels, card.value_range) == (scale, 3, 1.0)
    assert (card.smallest, card.size_multiple) == (smallest, multiple)
    title = library().MAIN_REGISTRY[name].architecture.name
    assert found.recognised_as == f"{title}, by spandrel {library().__version__}"
    assert found.facts.keys() == {"tags", "tiling"}
    save_network(found.network, tmp_path / "net.safetensors")
    again = load_network(tmp_path / "net.safetensors")
    assert again.card == card
    x = torch.rand(1, 3, 16, 24)
    with torch.no_grad():
        wanted = module(x)
        assert wanted.shape == (1, 3, 16 * scale, 24 * scale)
        assert torch.equal(found.network.module(x), wanted)
        assert torch.equal(again.module(x), wanted)


def test_windows_are_no_receptive_field() -> None:
    assert loaded(made("SwinIR")).network.card.receptive_field == 0
    assert loaded(made("SwiftSRGAN")).network.card.receptive_field > 1


def test_from_a_file_as_trainers_write_it(tmp_path: Path) -> None:
    state = {name: tensor.bfloat16() for name, tensor in made("SwiftSRGAN").state_dict().items()}
    raw = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    torch.save({"params": raw, "params_ema": state, "iter": 5}, tmp_path / "net.pth")
    network = load_network(tmp_path / "net.pth")
    (first,) = network.card.history
    assert (first["stored_as"], first["tags"]) == ("bfloat16", ["8nf", "1nb"])
    assert all(torch.equal(t, state[n].float()) for n, t in network.module.state_dict().items())
    assert load_network(tmp_path / "net.pth", arch=network.card.arch).card == network.card
    for options, told in (
        ({"scale": 2}, "upscales by 4, not by 2"),
        ({"arch": "spandrel:DAT"}, "does not have the tensors of spandrel:DAT"),
        ({"arch": "spandrel:Nothing"}, "does not have the tensors"),
        ({"arch": "edsr"}, r"Tensor '.*' is missing from"),
    ):
        with pytest.raises(UserError, match=told):
            load_network(tmp_path / "net.pth", **options)


def test_a_pruned_one_is_rebuilt_from_its_card(tmp_path: Path) -> None:
    network = loaded(made("SwiftSRGAN")).network
    small, report = prune_oneshot(network, PruneOptions(ratio=0.5))
    assert small.card.pruned
    assert report.proof is not None
    save_network(small, tmp_path / "small.safetensors")
    again = load_network(tmp_path / "small.safetensors")
    x = torch.rand(1, 3, 12, 12)
    assert torch.equal(again.module(x), small.module(x))
    assert max(empty_module(again.card).state_dict()["final_conv.pointwise.weight"].shape) < 8
    assert build(again.card).module(x).shape == (1, 3, 48, 48)
    with pytest.raises(UserError, match=r"built by spandrel:SwiftSRGAN\.Generator; leave arch out"):
        load_network(tmp_path / "small.safetensors", arch="mine:Net")


def test_what_spandrel_does_not_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = {"some.weight": torch.zeros(4, 3, 3, 3)}
    assert load_spandrel(StateDict(tensors), "net.pth") is None
    torch.save(tensors, tmp_path / "net.pth")
    with pytest.raises(UserError, match="fits no architecture srdeploy knows") as caught:
        load_network(tmp_path / "net.pth")
    assert "pip install" not in str(caught.value)
    monkeypatch.setattr("srdeploy.models.spandrel_library.installed", lambda: False)
    with pytest.raises(UserError, match=r"pip install 'srdeploy\[spandrel\]' for more, or pass"):
        load_network(tmp_path / "net.pth")


def test_tensors_that_do_not_fit() -> None:
    state = made("SwiftSRGAN").state_dict()
    short = dict(list(state.items())[:-1])
    with pytest.raises(UserError, match=r"'net\.pth' looks like spandrel's Swift-SRGAN, but its"):
        load_spandrel(StateDict(short), "net.pth")
    state["residual.900000000.x"] = torch.zeros(1)
    with pytest.raises(UserError, match="named after layer 900000000"):
        load_spandrel(StateDict(state), "net.pth")


def described(module: nn.Module | None = None, **facts: Any) -> SimpleNamespace:
    """What spandrel would say of a network, with something changed."""
    known = {
        "architecture": SimpleNamespace(name="Net", id="Net"), "purpose": "SR", "scale": 1,
        "input_channels": 3, "output_channels": 3, "model": module,
        "size_requirements": SimpleNamespace(minimum=0, multiple_of=1, square=False),
    }  # fmt: skip
    return SimpleNamespace(**known | facts)


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"purpose": "FaceSR"}, "a network for FaceSR"),
        ({"purpose": "Inpainting"}, "a network for Inpainting"),
        ({"input_channels": 4}, "4 input and 3 output channels"),
        ({"input_channels": 4, "output_channels": 4}, "4 input and 4 output channels"),
        ({"size_requirements": SimpleNamespace(minimum=0, multiple_of=8, square=True)}, "square"),
        ({"size_requirements": SimpleNamespace(minimum=512, multiple_of=1, square=False)}, "many"),
    ],
)
def test_kinds_that_are_refused(facts: dict[str, Any], told: str) -> None:
    spandrel_file._check_kind(described(), "net.pth")
    spandrel_file._check_kind(described(input_channels=1, output_channels=1), "net.pth")
    with pytest.raises(UserError, match=told):
        spandrel_file._check_kind(described(**facts), "net.pth")


class Called(SimpleNamespace):
    """A description whose call does more than its module."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return (self.model(x) * self.factor).clamp(0, 1)


def test_what_is_computed_around_the_module_is_missed() -> None:
    module = nn.Identity()
    same = Called(**vars(described(module)), factor=1.0)
    spandrel_file._check_equal(same, module, "net.pth")
    more = Called(**vars(described(module)), factor=0.5)
    with pytest.raises(UserError, match="spandrel computes more than its module"):
        spandrel_file._check_equal(more, module, "net.pth")
    with pytest.raises(UserError, match=r"does not run on an image of 25x17 pixels \('NoneType'"):
        spandrel_file._check_equal(Called(**vars(described(None)), factor=1.0), module, "net.pth")


def test_a_module_that_keeps_no_arguments() -> None:
    with pytest.raises(UserError, match="whose arguments spandrel does not keep"):
        spandrel_file._built_again(described(nn.Identity()), "net.pth")
