"""Dask as the farm uses it: mutual TLS, its settings, and errors as sentences."""

from __future__ import annotations

import logging
import socket
import ssl
import warnings
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from srdeploy.errors import SrdeployError, UserError
from srdeploy.farm import certificates
from srdeploy.farm.settings import FarmFile, read_farm

CONNECT_SECONDS = 5.0


class Unreachable(SrdeployError):
    """The scheduler is not there; it may come back."""


_SETTINGS = {
    # A job survives so many lost workers; the farm's client counts too, and gives up later.
    "distributed.scheduler.allowed-failures": 20,
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    # Jobs run in processes of their own: nothing to profile or to watch the memory of here.
    "distributed.worker.profile.enabled": False,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.admin.system-monitor.disk": False,
    "distributed.admin.system-monitor.host-cpu": False,
    # Every device has a Dask worker: what each does many times a second by default, a host with
    # twenty phones would do all day long.
    "distributed.admin.system-monitor.interval": "60s",
    "distributed.admin.tick.interval": "10s",
    "distributed.admin.tick.cycle": "60s",
    "distributed.admin.tick.limit": "600s",
    "distributed.comm.timeouts.connect": "10s",
}

SCHEDULER_CALLS = frozenset(
    {
        *("identity", "versions", "register-client", "register-worker", "unregister"),
        *("heartbeat_worker", "set_resources", "broadcast", "gather"),
    }
)
"""What the farm asks of Dask's scheduler. All else is refused, the calls among it by which it runs
functions that others send: ``run_function``, ``feed``, plugins."""

WORKER_CALLS = frozenset({"identity", "versions", "run", "get_data"})
"""What the farm asks of a worker; ``run`` is how :mod:`srdeploy.farm.task` is called there."""


def refused(handlers: Iterable[str], calls: frozenset[str]) -> list[str]:
    """The calls of a server of Dask's that are to be refused, whatever its version offers."""
    return sorted(set(handlers) - calls)


def open_farm(path: str | Path) -> tuple[FarmFile, str | None]:
    """A farm's file, its certificate checked and Dask set up.

    Returns:
        The file, and a remark on the certificate or None.

    Raises:
        UserError: Dask is not installed, or file or certificate do not serve.
    """
    try:
        import dask
        from distributed.versions import VersionMismatchWarning
    except ImportError:
        raise UserError("Farms need Dask: pip install 'srdeploy[farm]'.") from None
    farm = read_farm(path)
    remark = certificates.check(farm)
    dask.config.set(_SETTINGS)
    # Jobs are plain data: hosts may run different versions of Python and of whatever else.
    warnings.filterwarnings("ignore", category=VersionMismatchWarning)
    for name in ("distributed", "tornado.application", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return farm, remark


def security(farm: FarmFile) -> Any:
    """What makes Dask show the host's certificate and ask for everybody else's."""
    from distributed.security import Security

    ends = {
        f"tls_{role}_{what}": str(path)
        for role in ("scheduler", "worker", "client")
        for what, path in (("cert", farm.certificate), ("key", farm.key))
    }
    return Security(
        tls_ca_file=str(farm.ca),
        require_encryption=True,
        tls_min_version=ssl.TLSVersion.TLSv1_3,
        **ends,
    )


def dask_address(farm: FarmFile) -> str:
    """The scheduler as Dask writes it."""
    host, port = farm.address
    return f"tls://[{host}]:{port}" if ":" in host else f"tls://{host}:{port}"


def probe(farm: FarmFile, timeout: float = CONNECT_SECONDS) -> None:
    """See whether the scheduler can be reached and lets us in.

    Raises:
        UserError: no such host, or the certificates of the two ends do not go together.
        Unreachable: nobody answers there.
    """
    host, port = farm.address
    where = f"the farm's scheduler '{farm.scheduler}'"
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(farm.ca))
    context.check_hostname = False
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(farm.certificate, farm.key)
    try:
        with (
            closing(socket.create_connection((host, port), timeout)) as plain,
            closing(context.wrap_socket(plain, server_hostname=host)) as secure,
        ):
            # With TLS 1.3 our own certificate is judged after the handshake: an alert then comes
            # in place of the scheduler's greeting.
            if not secure.recv(1):
                raise ConnectionResetError("it hung up")
    except ssl.SSLCertVerificationError as error:
        raise UserError(
            f"{_capital(where)} shows a certificate that this host does not trust "
            f"({error.verify_message}); renew it there, or copy this host's folder anew from the "
            "farm's authority."
        ) from None
    except ssl.SSLError as error:
        raise UserError(
            f"{_capital(where)} does not accept '{farm.certificate}' ({error.reason}); is it of "
            "the same authority, and the address right?"
        ) from None
    except socket.gaierror:
        raise UserError(
            f"There is no host '{host}'; correct 'scheduler' in the farm's file."
        ) from None
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise Unreachable(
            f"Nobody answers at {where} ({reason}); start it there: `srdeploy farm scheduler`."
        ) from None


def own_address(farm: FarmFile) -> str:
    """The address from which this host reaches the scheduler: the only one to listen on."""
    host, port = farm.address
    try:
        family, kind, _, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    except socket.gaierror:
        raise UserError(
            f"There is no host '{host}'; correct 'scheduler' in the farm's file."
        ) from None
    with socket.socket(family, kind) as probing:
        probing.connect(target)  # no packet is sent: this only asks for the route
        return probing.getsockname()[0]


class NoPages:
    """Mixed into Dask's servers: no web pages, so that no second port is opened."""

    http_application: Any
    http_server: Any

    def start_http_server(self, *arguments: Any, **options: Any) -> None:
        """Nothing is served over http."""
        from distributed.http.routing import RoutingApplication
        from tornado.httpserver import HTTPServer

        self.http_application = RoutingApplication([])
        self.http_server = HTTPServer(self.http_application)  # never told to listen


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
