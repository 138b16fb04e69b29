"""What ``fit`` and ``profile`` are given as text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from srdeploy.cli import options as o

if TYPE_CHECKING:
    from srdeploy.fitting.places import Place


def places(device: str, farm: Path | None, devices: str | None) -> list[Place]:
    """The devices of ``--device``, or of ``--farm`` and ``--devices``.

    Raises:
        UserError: no such device, or options that do not belong together.
        SrdeployError: the farm's scheduler cannot be reached.
    """
    from srdeploy.errors import UserError
    from srdeploy.fitting.places import Place, farm_places

    if farm is None:
        if devices is not None:
            raise UserError(
                "--devices names devices of a farm: add --farm FILE, or use --device URI."
            )
        return [Place(uri) for uri in o.places(device)]
    from srdeploy.cli.farm import open_farm_file, words_asked

    return farm_places(open_farm_file(farm), words_asked(devices, device))
