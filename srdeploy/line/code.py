"""Code that a recipe names: it runs only if whoever starts the run has said so."""

from __future__ import annotations

from srdeploy.devices.uri import DeviceUri
from srdeploy.errors import UserError
from srdeploy.line.recipe import Line
from srdeploy.models.card import SPANDREL

FLAG = "--allow-code"


def own_arch(line: Line) -> str | None:
    """The user's own architecture, ``package.module:callable``: opening its files imports it."""
    arch = line.model.arch
    own = arch is not None and ":" in arch and not arch.startswith(SPANDREL)
    return arch if own else None


def require_arch(line: Line, allowed: bool) -> None:
    """Raise UserError where the network's code is to be imported and nobody has allowed it."""
    if not allowed and (arch := own_arch(line)) is not None:
        raise _refusal(f"model.arch has '{arch}' imported")


def require_device(name: str, uri: str, allowed: bool) -> None:
    """Raise UserError where a device's options name programs and nobody has allowed them.

    Args:
        name: The device's, in the recipe.
        uri: With all variables filled in.
        allowed: By whoever starts the run.
    """
    if not allowed and (options := DeviceUri.parse(uri).code_options):
        told = ", ".join(f"{option}=" for option in options)
        raise _refusal(f"the device '{name}' has {told} choose what runs")


def _refusal(what: str) -> UserError:
    return UserError(f"In this recipe {what}; if you trust it with that, add {FLAG}.")
