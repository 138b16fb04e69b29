"""Finding the network among everything training scripts save."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from srdeploy.errors import UserError
from srdeploy.models.importing.state_dict import StateDict, read_state_dict


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 1, 3))


def read(value: object, tmp_path: Path) -> StateDict:
    path = tmp_path / "a.pt"
    torch.save(value, path)
    return read_state_dict(path)


def same(found: StateDict, module: nn.Module) -> bool:
    expected = module.state_dict()
    return found.tensors.keys() == expected.keys() and all(
        torch.equal(found.tensors[name], tensor) for name, tensor in expected.items()
    )


@pytest.mark.parametrize(
    "path",
    ["", "state_dict", "params", "model", "net", "generator", "a/b/state_dict", "some_new_name"],
)
def test_nested(path: str, tmp_path: Path) -> None:
    value: object = network().state_dict()
    for key in reversed(path.split("/") if path else []):
        value = {key: value, "epoch": 3, "args": {"lr": 1e-4}}
    found = read(value, tmp_path)
    assert found.path == path
    assert same(found, network())


def test_averaged_weights_win(tmp_path: Path) -> None:
    value = {"params": network(0).state_dict(), "params_ema": network(1).state_dict()}
    found = read(value, tmp_path)
    assert found.path == "params_ema"
    assert same(found, network(1))


def test_the_generator_wins_over_the_discriminator(tmp_path: Path) -> None:
    large = nn.Sequential(*[nn.Conv2d(1, 1, 3) for _ in range(9)])
    value = {
        "discriminator": {"state_dict": large.state_dict()},
        "generator": {"state_dict": network().state_dict()},
    }
    assert same(read(value, tmp_path), network())


def test_optimiser_state_is_no_network(tmp_path: Path) -> None:
    module = network()
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.rand(1, 1, 8, 8)).sum().backward()
    optimizer.step()
    value = {"optimizer": optimizer.state_dict(), "weights_of_mine": module.state_dict()}
    assert same(read(value, tmp_path), module)


def test_a_module_beside_other_things(tmp_path: Path) -> None:
    found = read({"epoch": 50, "model": nn.DataParallel(network())}, tmp_path)
    assert list(found.tensors) == [f"module.{name}" for name in network().state_dict()]


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3)
        self.res_scale = 0.1


def test_a_pickled_module_states_its_residual_scaling(tmp_path: Path) -> None:
    assert read(nn.Sequential(Scaled(), Scaled()), tmp_path).res_scale == 0.1


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(ending: str, dtype: torch.dtype, tmp_path: Path) -> None:
    state = network().to(dtype).state_dict()
    if ending == "pt":
        found = read({"params_ema": state, "n": torch.tensor(1)}, tmp_path)
    else:
        path = tmp_path / "a.safetensors"
        save_file(state, path, {"modelspec.architecture": "mine", "format": "pt"})
        found = read_state_dict(path)
    assert found.stored_as == str(dtype).removeprefix("torch.")
    assert {t.dtype for t in found.tensors.values()} == {torch.float32}
    assert all(torch.equal(found.tensors[name], t.float()) for name, t in state.items())


def test_what_stands_beside_the_network_is_told(tmp_path: Path) -> None:
    twice = {"net_d": network(1).state_dict(), "net_g": network().state_dict()}
    found = read(twice, tmp_path)
    assert (found.path, found.beside, found.stored_as) == ("net_g", ("net_d",), "float32")
    assert same(found, network())


def test_a_network_in_a_list(tmp_path: Path) -> None:
    module = network()
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.rand(1, 1, 8, 8)).sum().backward()
    optimizer.step()
    found = read((module.state_dict(), optimizer.state_dict(), [3]), tmp_path)
    assert found.path == "0"
    assert same(found, module)


def test_safetensors_without_a_card(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    save_file(network().state_dict(), path)
    assert same(read_state_dict(path), network())


@pytest.mark.parametrize("length", [0, 5, 9, 60, -3])
def test_truncated_safetensors(length: int, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file(network().state_dict(), path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UserError, match="not a readable safetensors file"):
        read_state_dict(path)


@pytest.mark.parametrize("value", [{}, {"epoch": 1}, [1, 2], {"w": torch.zeros(3)}, 5])
def test_nothing_to_import(value: object, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no convolution weights"):
        read(value, tmp_path)


def test_a_diverged_network(tmp_path: Path) -> None:
    state = network().state_dict()
    state["0.weight"][0, 0, 0, 0] = float("nan")
    with pytest.raises(UserError, match=r"'0\.weight'.* NaN"):
        read(state, tmp_path)
