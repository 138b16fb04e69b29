"""The networks of the NTIRE 2022 Efficient SR challenge, as ``--arch challenge_networks:team04``.

The folder of the challenge's repository stands in the environment variable ``CHALLENGE``. Its own
``select_model`` builds each network and loads its weights; its code is imported from there, nothing
of it is here. One of them moves itself to a GPU while it is built; here it stays where it is. What
a network imports and does not use to upscale (OpenCV, plotting) may be missing;
``einops`` is needed by two of them.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import os
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

CONFIDENTIAL = (7, 21, 32, 41)
"""Teams whose networks are not in the repository."""

NETWORKS = {"imdn_baseline": -1, "rfdn_baseline": 0} | {
    f"team{number:02d}": number for number in range(1, 45) if number not in CONFIDENTIAL
}
"""Name to the repository's number."""

_UNNEEDED = ("cv2", "matplotlib", "mpl_toolkits", "timm", "torchvision", "thop")


class _Absent(types.ModuleType):
    """Stands for a package that is not installed: whatever is imported from it does nothing."""

    __path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        known = {
            "DropPath": nn.Identity,
            "trunc_normal_": nn.init.trunc_normal_,
            "to_2tuple": lambda n: n if isinstance(n, tuple) else (n, n),
        }
        return known.get(name)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] in _UNNEEDED:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> types.ModuleType:
        return _Absent(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


class _NoWeights(dict[str, Any]):
    """In place of a file that is not there: the network keeps its random weights."""

    def __missing__(self, key: str) -> _NoWeights:
        return self


def weights_of(name: str, folder: Path) -> Path | None:
    """The published file of a network; None where there is none."""
    number = NETWORKS[name]
    stem = name if number < 1 else f"team{number:02d}_"
    return next(iter(sorted((folder / "model_zoo").glob(f"{stem}*"))), None)


def build(name: str) -> nn.Module:
    """A network with its published weights, where they are there.

    Attributes of the module: ``value_range`` as the challenge's script says, and ``published``:
    whether its weights are.
    """
    folder = Path(os.environ["CHALLENGE"])
    with _of_the_challenge(folder) as missing:
        demo = importlib.import_module("test_demo")
        module, _, value_range, _ = demo.select_model(
            SimpleNamespace(model_id=NETWORKS[name]), torch.device("cpu")
        )
    for parameter, trained in missing["trained"]:  # the script freezes them all
        parameter.requires_grad_(trained)
    module.value_range = float(value_range)
    module.published = not missing["files"]
    return module.eval()


@contextlib.contextmanager
def _of_the_challenge(folder: Path) -> Iterator[dict[str, Any]]:
    noted: dict[str, Any] = {"files": [], "trained": []}
    load, load_state, here = torch.load, nn.Module.load_state_dict, os.getcwd()
    to_gpu = torch.Tensor.cuda, nn.Module.cuda

    def read(path: str, *_: Any, **__: Any) -> Any:
        if not Path(path).exists():
            noted["files"].append(path)
            return _NoWeights()
        return load(path, map_location="cpu", weights_only=True)

    def put(module: nn.Module, state: Any, *args: Any, **kwargs: Any) -> Any:
        noted["trained"] = [(p, p.requires_grad) for p in module.parameters()]
        return None if noted["files"] else load_state(module, state, *args, **kwargs)

    finder = _Finder()
    sys.meta_path.insert(0, finder)  # one that is there may not fit this torch
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    torch.load, nn.Module.load_state_dict = read, put  # type: ignore[assignment,method-assign]
    torch.Tensor.cuda = nn.Module.cuda = lambda own, *_, **__: own  # type: ignore[method-assign]
    os.chdir(folder)
    try:
        torch.manual_seed(0)
        yield noted
    finally:
        os.chdir(here)
        torch.load, nn.Module.load_state_dict = load, load_state  # type: ignore[method-assign]
        torch.Tensor.cuda, nn.Module.cuda = to_gpu  # type: ignore[method-assign]
        sys.meta_path.remove(finder)
        for stand_in in [n for n, m in sys.modules.items() if isinstance(m, _Absent)]:
            del sys.modules[stand_in]


def __getattr__(name: str) -> Callable[[], nn.Module]:
    if name not in NETWORKS:
        raise AttributeError(name)
    return lambda: build(name)
