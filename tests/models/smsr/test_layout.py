"""SMSR checkpoints as published: recognised, checked tensor by tensor, never executed."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from srdeploy.errors import UserError
from srdeploy.models.load import load_network
from srdeploy.models.registry import create
from srdeploy.models.smsr.layout import split_channel_masks
from srdeploy.models.smsr.network import SMSR

Tensors = dict[str, torch.Tensor]


def published(scale: int = 2) -> tuple[SMSR, Tensors]:
    """A small network, and its tensors under the published names and shapes."""
    torch.manual_seed(0)
    module = create("smsr", scale=scale, n_modules=2, n_feats=8, mask_feats=4, reduction=2).module
    assert isinstance(module, SMSR)
    tensors: Tensors = {}
    for name, tensor in module.state_dict().items():
        if ".ch_mask." not in name:
            tensors[name] = tensor.clone()
    for number, one in enumerate(module.mask_modules()):
        pairs = [
            torch.stack([m.dense[0, :, 0, 0], m.sparse[0, :, 0, 0]], 1) for m in one.body.ch_mask
        ]
        tensors[f"body.{number}.body.ch_mask"] = torch.stack(pairs, 1)[None].detach()
    return module, tensors


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("wrap", ["", "module.", "model."])
def test_published_layout(scale: int, wrap: str, tmp_path: Path) -> None:
    module, tensors = published(scale)
    assert tensors["body.0.body.ch_mask"].shape == (1, 8, 4, 2)
    torch.save({wrap + name: tensor for name, tensor in tensors.items()}, tmp_path / "a.pt")
    network = load_network(tmp_path / "a.pt")
    card = network.card
    assert (card.arch, card.scale, card.shapes) == ("smsr", scale, {})
    assert {k: card.config[k] for k in ("n_modules", "n_layers", "n_feats", "mask_feats")} == {
        "n_modules": 2, "n_layers": 4, "n_feats": 8, "mask_feats": 4,
    }  # fmt: skip
    x = torch.rand(1, 3, 7, 8) * 255
    with torch.no_grad():
        assert torch.equal(network.module(x), module(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"body.1.spa_mask.3.weight": None}, "'body.1.spa_mask.3.weight' is missing"),
        ({"body.1.body.ch_mask": None}, r"'body.1.body.ch_mask.0.dense' is missing"),
        ({"body.0.body.ch_mask": torch.rand(1, 8, 3, 2)}, r"ch_mask.3.dense' is missing"),
        ({"body.0.body.ch_mask": torch.rand(1, 7, 4, 2)}, "ch_mask.0.dense' .* 8 is needed"),
        ({"body.0.body.ch_mask": torch.rand(8, 4)}, "is missing"),
        ({"body.0.body.collect.weight": torch.rand(8, 31, 1, 1)}, "32 is needed where it has 31"),
        ({"collect.0.weight": torch.rand(8, 15, 1, 1)}, "16 is needed where it has 15"),
        ({"tail.0.weight": torch.rand(13, 8, 3, 3)}, r"of smsr has 3\*scale\^2"),
        ({"extra.weight": torch.rand(3)}, "'extra.weight' .* is not part of smsr"),
        ({"head.0.weight": torch.full((8, 3, 3, 3), torch.nan)}, "NaN or infinity"),
    ],
)
def test_wrong_tensors(
    change: dict[str, torch.Tensor | None], message: str, tmp_path: Path
) -> None:
    tensors = {**published()[1], **change}
    torch.save({k: v for k, v in tensors.items() if v is not None}, tmp_path / "a.pt")
    with pytest.raises(UserError, match=message):
        load_network(tmp_path / "a.pt")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.6, 0.9, 0.999])
def test_truncated(part: float, zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save(published()[1], path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(UserError):
        load_network(path)


class Payload:
    """Runs when unpickled the easy way."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> object:
        return (Path.touch, (self.target,))


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_checkpoint_never_runs(zipped: bool, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    content = {"state_dict": published()[1], "optimizer": Payload(witness)}
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    network = load_network(tmp_path / "a.pt")
    assert network.card.arch == "smsr"
    assert not witness.exists()
    pickle.loads(pickle.dumps(Payload(witness)))  # it would have
    assert witness.exists()


def test_channel_masks_become_two_for_each_layer() -> None:
    one = torch.zeros(1)
    masks = torch.arange(2 * 3 * 2.0).view(1, 2, 3, 2)  # channels, layers, dense or sparse
    found = split_channel_masks({"a": one, "body.0.body.ch_mask": masks, "b": one})
    assert list(found) == [
        "a",
        *(f"body.0.body.ch_mask.{i}.{k}" for i in range(3) for k in ("dense", "sparse")),
        "b",
    ]
    assert {tuple(t.shape) for name, t in found.items() if "mask" in name} == {(1, 2, 1, 1)}
    values = {name[-8:]: t.flatten().tolist() for name, t in found.items() if "mask" in name}
    assert values == {
        "_mask.0.dense"[-8:]: [0, 6], "_mask.0.sparse"[-8:]: [1, 7],
        "_mask.1.dense"[-8:]: [2, 8], "_mask.1.sparse"[-8:]: [3, 9],
        "_mask.2.dense"[-8:]: [4, 10], "_mask.2.sparse"[-8:]: [5, 11],
    }  # fmt: skip
    assert all(t.is_contiguous() for t in found.values())


@pytest.mark.parametrize("shape", [(1, 2, 3, 1), (1, 2, 3, 3), (2, 3, 2), (1, 1, 2, 3, 2)])
def test_masks_of_another_shape_are_left(shape: tuple[int, ...]) -> None:
    masks = torch.zeros(shape)
    assert split_channel_masks({"ch_mask": masks, "0.ch_mask": masks}) == {
        "ch_mask": masks, "0.ch_mask": masks
    }  # fmt: skip


def test_only_masks_are_split() -> None:
    table = torch.zeros(1, 2, 3, 2)
    assert list(split_channel_masks({"ch_mask.weight": table})) == ["ch_mask.weight"]
