"""Device URIs: ``kind``, ``kind://[user@]host[:port]`` and options after a question mark."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from srdeploy.errors import UserError, unknown_name

_CODE = ("config", "trtexec", "python", "ort")
"""Options, of whatever kind of device, that choose code or programs which run here or there."""


@dataclass(frozen=True)
class DeviceUri:
    """The parts of a URI.

    Attributes:
        text: As written.
        kind: ``ssh``, ``adb``...
        host: Host, serial or name; empty where there is none.
        user: None where none is given.
        port: None likewise.
        options: What stands after the question mark.
    """

    text: str
    kind: str
    host: str = ""
    user: str | None = None
    port: int | None = None
    options: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> DeviceUri:
        """Take a URI apart.

        Raises:
            UserError: it is none.
        """
        kind, _, rest = text.partition("://")
        if "?" in kind:
            kind, _, rest = text.partition("?")
            rest = f"?{rest}"
        try:
            parts = urlsplit(f"//{rest}")
            # hostname is put into lower case; names and serials are kept as they are.
            host = parts.netloc.rpartition("@")[2]
            port = parts.port
            if port is not None:
                host = host.rpartition(":")[0]
        except ValueError as error:
            raise UserError(
                f"'{text}' is no device ({error}); write e.g. ssh://user@host."
            ) from None
        if parts.path.strip("/"):
            raise UserError(f"'{text}' is no device: nothing may stand after the host's name.")
        return cls(
            text=text,
            kind=kind,
            host=unquote(host.strip("[]")),
            user=unquote(parts.username) if parts.username else None,
            port=port,
            options=dict(parse_qsl(parts.query, keep_blank_values=True)),
        )

    @property
    def code_options(self) -> list[str]:
        """Those of its options that choose what code runs, here or on the device."""
        return [name for name in self.options if name in _CODE]

    def check_options(self, known: Iterable[str]) -> None:
        """See that only known options are given.

        Raises:
            UserError: an unknown one; the nearest is offered.
        """
        known = list(known)
        for name in self.options:
            if name not in known:
                raise unknown_name(f"option of {self.kind} devices", name, known)
