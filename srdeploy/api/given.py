"""What a function was given, in the one form that the rest of srdeploy takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from srdeploy.errors import UserError
from srdeploy.models.importing.live_module import wrap
from srdeploy.models.load import load_network
from srdeploy.models.network import Network


def network_of(given: Network | nn.Module | str | Path) -> Network:
    """A network; a live module is wrapped, a file or name loaded."""
    found = artifact_of(given)
    return found if isinstance(found, Network) else load_network(found)


def artifact_of(given: Network | nn.Module | str | Path) -> Network | str | Path:
    """The same, where files stay files.

    Raises:
        UserError: it is none of these.
    """
    if isinstance(given, nn.Module):
        return wrap(given)
    if not isinstance(given, (Network, str, Path)):
        raise UserError(
            f"A {type(given).__name__} is no network; give a Network, a live torch module, a file, "
            "or the name of a shipped one."
        )
    return given


def said(**values: Any) -> dict[str, Any]:
    """What was said; None is what was not."""
    return {name: value for name, value in values.items() if value is not None}


def flat(given: Iterable[Any]) -> list[Any]:
    """Things, and lists of things, one after the other."""
    found: list[Any] = []
    for one in given:
        found += one if isinstance(one, (list, tuple)) else [one]
    return found


def listed(given: str | Path | Sequence[Any]) -> list[str]:
    """One text or path, or several, as a list of texts."""
    return [str(given)] if isinstance(given, (str, Path)) else [str(one) for one in given]


def sizes_told(given: Any) -> str | None:
    """Sizes as the command line writes them."""
    if given is None or isinstance(given, str):
        return given
    pair = len(given) == 2 and all(isinstance(side, int) for side in given)
    sizes = [given] if pair else given
    return ",".join(s if isinstance(s, str) else "x".join(map(str, s)) for s in sizes)
