"""The library spandrel (MIT), which builds the networks that no row of our table does.

Only its descriptions of architectures are used: how their tensors are recognised, and the classes
of their modules. Files are read by :mod:`srdeploy.models.importing.state_dict`; spandrel's own
reader, its unpickler and ``torch.jit`` are never reached.

Two of its architectures (LaMa, which fills holes, and RestoreFormer, for faces) take functions of
torchvision. torchvision works with exactly one release and build of torch and fails beside any
other ("operator torchvision::nms does not exist"), and spandrel is not imported without it. No
super-resolution network needs it. Where it cannot be imported, placeholders stand in its place
while spandrel is imported, and only then: they have any name, and raise when they are called.
Afterwards ``import torchvision`` fails as it did before.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any, NoReturn

from torch import nn

from srdeploy.errors import UserError, shown
from srdeploy.models.build_limit import BuildLimit
from srdeploy.models.card import SPANDREL
from srdeploy.util.quiet import quiet

INSTALL = "pip install 'srdeploy[spandrel]'"

_TORCHVISION = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")
_LARGEST = 1 << 16  # no network has as many channels, layers or pixels in a window
_MOST_VALUES = 2000


def installed() -> bool:
    """Whether there is the library."""
    return find_spec("spandrel") is not None


@lru_cache(maxsize=1)
def library() -> ModuleType:
    """The imported library.

    Raises:
        UserError: it is not installed, or cannot be imported.
    """
    if not installed():
        raise UserError(f"This network is built by spandrel, which is not installed: {INSTALL}.")
    try:
        with _torchvision_or_placeholders():
            return importlib.import_module("spandrel")
    except Exception as error:  # whatever the library and what it imports raise
        raise UserError(
            f"spandrel cannot be imported ({shown(error)}); install it again: {INSTALL}."
        ) from error


@contextmanager
def _torchvision_or_placeholders() -> Iterator[None]:
    try:
        importlib.import_module(_TORCHVISION[-1])
    except Exception:  # not installed, or built for another torch
        pass
    else:
        yield
        return
    placeholders = {name: _Placeholder(name) for name in _TORCHVISION}
    sys.modules.update(placeholders)
    try:
        yield
    finally:
        for name, placeholder in placeholders.items():
            if sys.modules.get(name) is placeholder:
                del sys.modules[name]


class _Placeholder(ModuleType):
    __path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _not_there


def _not_there(*_: Any, **__: Any) -> NoReturn:
    raise ImportError("torchvision does not fit the installed torch")


def spandrel_arch(module: nn.Module, identity: str) -> str:
    """What a card calls a module's architecture: ``spandrel:PLKSR.RealPLKSR``, ``spandrel:DAT``.

    Args:
        module: Of one of spandrel's classes.
        identity: Of the library's architecture.
    """
    own = type(module).__name__
    return f"{SPANDREL}{identity}" + ("" if own == identity else f".{own}")


def config_of(module: nn.Module) -> dict[str, Any] | None:
    """Arguments that build a module again, as a card keeps them; None where they are unknown.

    spandrel's classes keep them. What cannot be written as JSON (a class of layers) is left out
    where it is the class's default.
    """
    stored = getattr(module, "hyperparameters", None)
    if not isinstance(stored, dict):
        return None
    found: dict[str, Any] = {}
    for name, value in stored.items():
        if isinstance(value, type) or callable(value):
            continue  # the default: files say nothing of it
        try:
            found[name] = json.loads(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError):
            return None
    return found


def base_module(arch: str, config: Mapping[str, Any]) -> nn.Module:
    """Build a module of the library, with random weights, on the CPU.

    Args:
        arch: As :func:`spandrel_arch` gives it.
        config: As :func:`config_of` gives it.

    Raises:
        UserError: no such architecture, arguments that build nothing, or a network of a size that
            none has.
    """
    kind = _class_of(arch)
    if _n_values(config) > _MOST_VALUES:
        raise UserError(f"The arguments of '{arch}' on the card are no network's.")
    try:
        with quiet(), BuildLimit(arch):
            return kind(**config).eval()
    except UserError:
        raise
    except Exception as error:  # whatever the library's code raises
        raise UserError(
            f"spandrel cannot build '{arch}' from the arguments on the card ({shown(error)}); the "
            "file is damaged, or was written with another release of spandrel."
        ) from error


def _class_of(arch: str) -> type[nn.Module]:
    identity, _, name = arch.removeprefix(SPANDREL).partition(".")
    if identity not in library().MAIN_REGISTRY:
        raise UserError(f"The installed spandrel has no architecture '{shown(identity)}'.")
    module = importlib.import_module(f"spandrel.architectures.{identity}")
    kinds = (kind for kind in vars(module).values() if isinstance(kind, type))
    for kind in kinds:
        if issubclass(kind, nn.Module) and kind.__name__ == (name or identity):
            return kind
    raise UserError(f"The installed spandrel has no class '{shown(name)}' of {identity}.")


def _n_values(value: object) -> float:
    """How many plain values there are; infinite where one is beyond any network's."""
    if isinstance(value, Mapping):
        return sum(map(_n_values, value.values()))
    if isinstance(value, list):
        return sum(map(_n_values, value))
    number = isinstance(value, int | float) and abs(value) <= _LARGEST
    text = isinstance(value, str) and len(value) <= 100
    return 1 if number or text or value is None else float("inf")
