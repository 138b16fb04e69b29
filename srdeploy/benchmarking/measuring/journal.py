"""What a run did, as JSON lines in a file of the user's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from srdeploy.errors import UserError
from srdeploy.util.figures_json import dumps
from srdeploy.util.files import space_for


class Journal:
    """Each line is on the disk before the next thing happens; without a file none is written."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    def write(self, event: str, **fields: Any) -> None:
        """Append what happened."""
        if self._stream is not None:
            with space_for(self._stream.name):
                self._stream.write(dumps({"event": event, **fields}) + "\n")
                self._stream.flush()


@contextmanager
def open_journal(path: Path | None) -> Iterator[Journal]:
    """A journal that appends to ``path``; None for one that writes nothing.

    Raises:
        UserError: it cannot be written to.
    """
    if path is None:
        yield Journal()
        return
    try:
        stream = open(path, "a", encoding="utf-8")  # noqa: SIM115  (errors of the body are its own)
    except OSError as error:
        raise UserError(f"Cannot write '{path}' ({error.strerror}); choose another file.") from None
    try:
        yield Journal(stream)
    finally:
        with space_for(path):
            stream.close()
