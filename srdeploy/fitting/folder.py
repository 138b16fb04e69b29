"""The folder of a fit: what it is a fit of, so that nothing else is continued or removed."""

from __future__ import annotations

from pathlib import Path

from srdeploy.errors import UserError
from srdeploy.fitting.result import FILE, RESULTS, FitOptions
from srdeploy.models.digest import weights_sha256
from srdeploy.models.network import Network
from srdeploy.util.files import atomic_path, discard
from srdeploy.util.strict import Strict

SETTINGS, WORK = "settings.json", "work"


class _Settings(Strict):
    """What a folder is a fit of."""

    options: FitOptions
    weights_sha256: str


def discard_work(folder: Path) -> None:
    """Remove what an earlier fit left in its folder; what is not of a fit stays.

    Raises:
        UserError: the folder's settings are not those of a fit.
    """
    if (kept := _read_settings(folder / SETTINGS)) is not None:
        results = map(name_of, kept.options.budgets_ms)
        for name in (WORK, FILE, RESULTS, *results, SETTINGS):
            discard(folder / name, folder)


def name_of(budget: float) -> str:
    """The folder of one of several budgets, in ms."""
    return f"{budget:g}ms"


def _read_settings(path: Path) -> _Settings | None:
    if not path.exists():
        return None
    try:
        return _Settings.model_validate_json(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"'{path}' is not the settings of a fit; name another folder with -o."
        ) from error


def keep_settings(network: Network, options: FitOptions, folder: Path) -> None:
    """See that the folder is for this fit.

    Raises:
        UserError: it is for another, or for something else.
    """
    path = folder / SETTINGS
    asked = _Settings(options=options, weights_sha256=weights_sha256(network.module.state_dict()))
    kept = _read_settings(path)
    if kept is None:
        (folder / WORK).mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_text(asked.model_dump_json(indent=1), encoding="utf-8")
    elif kept != asked:
        raise UserError(
            f"'{folder}' holds another fit; name another folder with -o, or give --fresh to "
            "replace it."
        )
