"""Our files: whole or not at all, rebuilt from the card, and never a reason to run code."""

from __future__ import annotations

import sys
from functools import partial

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from srdeploy.compacting.surgery import compact
from srdeploy.errors import UserError
from srdeploy.models.card import CARD_KEY, Card
from srdeploy.models.card_file import read_card
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.models.store import (
    build,
    check_network_path,
    read_into,
    read_network,
    save_network,
)
from srdeploy.pruning.methods.oneshot import plan_oneshot
from srdeploy.pruning.options import PruneOptions
from tests.pruning.helpers import FACTORY, user_network
from tests.pruning.random_network import RandomNetwork


@pytest.fixture
def pruned() -> Network:
    network = create("edsr", n_blocks=1, n_feats=8)
    return compact(network, plan_oneshot(network, PruneOptions(ratio=0.5)))


def test_round_trip(pruned, tmp_path):
    path = tmp_path / "n.safetensors"
    save_network(pruned, path)
    again = read_network(path)
    assert again.card == pruned.card == read_card(path)
    assert Card.from_json(pruned.card.to_json()) == pruned.card
    x = torch.rand(1, 3, 9, 8) * 255
    with torch.no_grad():
        assert torch.equal(again.module(x), pruned.module(x))
    assert not again.module.training
    frozen = [name for name, p in again.module.named_parameters() if not p.requires_grad]
    assert {name.partition(".")[0] for name in frozen} == {"sub_mean", "add_mean"}


def test_build_makes_fresh_weights_of_the_same_shape(pruned):
    fresh = build(pruned.card)
    assert [p.shape for p in fresh.module.parameters()] == [
        p.shape for p in pruned.module.parameters()
    ]
    assert not torch.equal(fresh.module.head[0].weight, pruned.module.head[0].weight)
    assert torch.equal(fresh.module.sub_mean.bias, pruned.module.sub_mean.bias)


def test_no_file_and_truncated_files(pruned, tmp_path):
    path = tmp_path / "n.safetensors"
    with pytest.raises(UserError, match="There is no file"):
        read_network(path)
    save_network(pruned, path)
    whole = path.read_bytes()
    for length in (0, 4, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match="truncated"):
            read_network(path)


def test_a_failed_write_leaves_the_old_file(pruned, tmp_path, monkeypatch):
    path = tmp_path / "n.safetensors"
    save_network(pruned, path)
    before = path.read_bytes()

    def broken(tensors, file, metadata):
        file.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("srdeploy.models.store.save_file", broken)
    with pytest.raises(OSError, match="disk full"):
        save_network(pruned, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_foreign_safetensors_have_no_card(tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    assert read_card(path) is None
    with pytest.raises(UserError, match="has no srdeploy card"):
        read_network(path)


@pytest.mark.parametrize("text", ["{}", "no json", '{"arch": "edsr", "scale": 0}'])
def test_a_card_that_is_none(tmp_path, text):
    path = tmp_path / "n.safetensors"
    save_file({"weight": torch.zeros(2)}, path, metadata={CARD_KEY: text})
    with pytest.raises(UserError, match=r"network card in .* is not valid"):
        read_network(path)


@pytest.mark.parametrize("arch", ["os:system", "tests.models.must_not_be_imported:run"])
def test_a_card_cannot_name_code_to_run(pruned, tmp_path, monkeypatch, arch):
    path = tmp_path / "evil.safetensors"
    save_network(Network(pruned.module, pruned.card.model_copy(update={"arch": arch})), path)
    monkeypatch.setattr("os.system", lambda *_: pytest.fail("executed"))
    imported = set(sys.modules)
    for allowed in (None, "other.module:callable"):
        with pytest.raises(UserError, match=f"pass --arch {arch} to allow"):
            read_network(path, arch=allowed)
    assert {name for name in set(sys.modules) - imported if "must_not" in name} == set()


def test_a_card_for_other_tensors(pruned, tmp_path):
    path = tmp_path / "n.safetensors"
    wrong = pruned.card.model_copy(update={"shapes": {}})
    save_network(Network(pruned.module, wrong), path)
    with pytest.raises(UserError, match="do not fit its card"):
        read_network(path)
    widths = {**pruned.card.widths, "head.0": 99}
    save_network(Network(pruned.module, pruned.card.model_copy(update={"widths": widths})), path)
    with pytest.raises(UserError, match="widths on the card"):
        read_network(path)


def test_a_network_of_the_users_own_needs_their_word(tmp_path):
    make = partial(RandomNetwork, ["Residual", "Norm"], 3, 3, 2, "shuffle")
    network = user_network(make, scale=2)
    path = tmp_path / "n.safetensors"
    save_network(network, path)
    with pytest.raises(UserError, match="which is not part of srdeploy"):
        read_network(path)
    again = read_network(path, arch=FACTORY)
    x = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(again.module(x), network.module(x))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(3, 3, 1) for _ in range(3))
        self.b.weight = self.a.weight
        self.register_buffer("window", torch.full((3, 1, 1), 2.0), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c(self.b(self.a(x))) * self.window


def test_ties_survive_a_file(tmp_path):
    network = user_network(Tied)
    save_network(network, tmp_path / "n.safetensors")
    module = read_network(tmp_path / "n.safetensors", arch=FACTORY).module
    assert module.b.weight is module.a.weight


def test_buffers_that_no_file_holds_come_from_the_users_code(tmp_path):
    network = user_network(Tied)
    save_network(network, tmp_path / "n.safetensors")
    module = read_network(tmp_path / "n.safetensors", arch=FACTORY).module
    assert torch.equal(module.window, network.module.window)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("a b.onnx", r"no ONNX file: write '.*a b\.safetensors', .* `srdeploy export '.*a b\.safe"),
        ("n.MLPACKAGE", r"A network is no CoreML file: write '.*n\.safetensors', then export"),
        ("n.engine", "A network is no TensorRT file"),
        ("n.tflite", "A network is no TensorFlow Lite file"),
        (
            "n.pt",
            r"no torch checkpoint: write '.*n\.safetensors'; .* FILE --to edsr-pytorch",
        ),
        ("n.png", r"written as \.safetensors: name it '.*n\.safetensors', not '.*n\.png'"),
    ],
)
def test_an_ending_that_promises_something_else(name, told, tmp_path):
    network = create("ledsr", n_blocks=1, n_feats=4)
    for write in (check_network_path, partial(save_network, network)):
        with pytest.raises(UserError, match=told):
            write(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["n.safetensors", "n.SAFETENSORS", "n.st", "n"])
def test_endings_of_networks(name, tmp_path):
    check_network_path(tmp_path / name)
    save_network(create("ledsr", n_blocks=1, n_feats=4), tmp_path / name)
    with pytest.raises(UserError, match="is a folder"):
        check_network_path(tmp_path)


def test_into_a_module_that_is_here(pruned, tmp_path):
    path = tmp_path / "n.safetensors"
    save_network(Network(pruned.module, pruned.card.step(step="x")), path)
    fresh = build(pruned.card).module
    found = read_into(fresh, path)
    assert found.module is fresh
    assert found.card.history[-1] == {"step": "x"}
    for name, tensor in pruned.module.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], tensor)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        read_into(fresh, path)
