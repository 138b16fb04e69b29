"""PyAV, which reads and writes videos: imported where it is used."""

from __future__ import annotations

import os
from typing import Any

from srdeploy.errors import UserError
from srdeploy.util.quiet import is_verbose


def pyav() -> Any:
    """The module ``av``; its libraries speak only after ``--verbose``: errors are exceptions.

    Raises:
        UserError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise UserError(
            "Videos need PyAV; install it with `pip install 'srdeploy[video]'`."
        ) from error
    if not is_verbose():
        av.logging.set_libav_level(av.logging.PANIC)
        os.environ.setdefault("SVT_LOG", "0")
    return av
