"""What ``fit`` and ``profile`` are given as text."""

from __future__ import annotations

from srdeploy.cli import options as o


def only_device(text: str) -> str:
    """The one device of ``--device``.

    Raises:
        UserError: several.
    """
    from srdeploy.errors import UserError

    found = o.places(text)
    if len(found) != 1:
        raise UserError(f"--device '{text}' names {len(found)} devices; name one.")
    return found[0]
