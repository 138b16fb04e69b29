"""The library spandrel: imported beside any torchvision, and its modules built within bounds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from srdeploy.errors import UserError
from srdeploy.models import spandrel_library
from srdeploy.models.spandrel_library import (
    base_module,
    config_of,
    installed,
    library,
    spandrel_arch,
)

needs_spandrel = pytest.mark.skipif(not installed(), reason="spandrel is not installed")

SMALL = {"num_channels": 8, "num_blocks": 1, "upscale_factor": 2}
GENERATOR = "spandrel:SwiftSRGAN.Generator"

LOOK = """
import sys
from srdeploy.models.spandrel_library import library
names = sorted(support.architecture.id for support in library().MAIN_REGISTRY)
left = [name for name in sys.modules if name.split(".")[0] == "torchvision"
        and type(sys.modules[name]).__name__ == "_Placeholder"]
try:
    import torchvision
    found = torchvision.__name__
except Exception as error:
    found = type(error).__name__
print(len(names), "LaMa" in names, left, found)
"""


def look(folder: Path) -> str:
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"import sys; sys.path.insert(0, {str(folder)!r})\n"
         + LOOK],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    return found.stdout + found.stderr


@needs_spandrel
@pytest.mark.parametrize(
    ("torchvision", "found"),
    [
        ("raise RuntimeError('operator torchvision::nms does not exist')", "RuntimeError"),
        ("", "torchvision"),
    ],
)
def test_it_is_imported_beside_any_torchvision(
    torchvision: str, found: str, tmp_path: Path
) -> None:
    package = tmp_path / "torchvision"
    (package / "transforms").mkdir(parents=True)
    (package / "__init__.py").write_text(torchvision)
    (package / "transforms/__init__.py").write_text("")
    (package / "transforms/functional.py").write_text("InterpolationMode = rotate = normalize = 0")
    assert look(tmp_path).split() == [str(len(library().MAIN_REGISTRY)), "True", "[]", found]


def test_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spandrel_library, "installed", lambda: False)
    with pytest.raises(UserError, match=r"not installed: pip install 'srdeploy\[spandrel\]'"):
        library.__wrapped__()


def test_one_that_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spandrel_library, "installed", lambda: True)
    for name in ("spandrel", "torchvision.transforms.functional"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=r"spandrel cannot be imported \(.*\); install it again"):
        library.__wrapped__()


@needs_spandrel
def test_a_module_is_built_from_what_the_card_keeps() -> None:
    module = base_module(GENERATOR, SMALL)
    config = config_of(module)
    assert config is not None
    assert config.items() >= SMALL.items()
    assert spandrel_arch(module, "SwiftSRGAN") == GENERATOR
    again = base_module(GENERATOR, json.loads(json.dumps(config)))
    assert not again.training
    again.load_state_dict(module.state_dict())
    x = torch.rand(1, 3, 8, 8)
    assert torch.equal(again(x), module(x))


def test_what_a_card_keeps() -> None:
    module = torch.nn.Module()
    assert config_of(module) is None
    module.hyperparameters = {"a": (1, [2.5, None]), "norm": torch.nn.LayerNorm, "b": "x"}
    assert config_of(module) == {"a": [1, [2.5, None]], "b": "x"}
    module.hyperparameters = {"a": object()}
    assert config_of(module) is None
    module.hyperparameters = {"a": float("nan")}
    assert config_of(module) is None


@needs_spandrel
@pytest.mark.parametrize(
    ("arch", "config", "told"),
    [
        ("spandrel:os", {}, "has no architecture 'os'"),
        ("spandrel:../x", {}, "has no architecture"),
        ("spandrel:SwiftSRGAN.Other", SMALL, "has no class 'Other' of SwiftSRGAN"),
        ("spandrel:SwiftSRGAN.Architecture", SMALL, "has no class 'Architecture'"),
        (GENERATOR, {"num_channel": 8}, "cannot build .* from the arguments on the card"),
        (GENERATOR, {"num_channels": -1}, "cannot build"),
        (GENERATOR, {**SMALL, "num_channels": 1 << 17}, "are no network's"),
        (GENERATOR, {**SMALL, "num_channels": [1] * 3000}, "are no network's"),
        (GENERATOR, {**SMALL, "num_channels": "x" * 200}, "are no network's"),
        (GENERATOR, {**SMALL, "num_channels": 60_000}, "claims a network of a size"),
        (GENERATOR, {**SMALL, "num_blocks": 60_000}, "claims a network of a size"),
    ],
)
def test_cards_that_build_nothing(
    arch: str, config: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("srdeploy.models.build_limit.MOST_OPERATIONS", 5000)
    with pytest.raises(UserError, match=told):
        base_module(arch, config)
