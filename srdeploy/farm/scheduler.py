"""The farm's meeting point: workers and clients connect to it, nobody else can."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any

from srdeploy.errors import UserError
from srdeploy.farm.network import SCHEDULER_CALLS, NoPages, refused, security
from srdeploy.farm.settings import FarmFile, split_address


def scheduler_class() -> Any:
    """Dask's scheduler without its web pages, and without the calls that the farm never makes."""
    from distributed import Scheduler

    class FarmScheduler(NoPages, Scheduler):
        """See :data:`srdeploy.farm.network.SCHEDULER_CALLS`."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.blocked_handlers = refused(self.handlers, SCHEDULER_CALLS)

    return FarmScheduler


async def serve(
    farm: FarmFile, listen: str | None = None, on_ready: Callable[[str], None] = lambda where: None
) -> None:
    """Run the scheduler until it is told to end (SIGTERM, SIGINT).

    Args:
        farm: The farm's file on the scheduler's host.
        listen: ``HOST[:PORT]`` to listen on; default: as ``farm.scheduler`` says.
        on_ready: Called with the address.

    Raises:
        UserError: the address is not this host's, or in use.
    """
    host, port = split_address(listen) if listen else farm.address
    try:
        scheduler = await scheduler_class()(
            host=host,
            port=port,
            protocol="tls",
            security=security(farm),
            dashboard=False,
        )
    except (OSError, RuntimeError, ValueError) as error:
        cause = error.__cause__ or error
        reason = getattr(cause, "strerror", None) or cause
        raise UserError(f"The scheduler cannot listen on {host}:{port} ({reason}).") from None
    async with scheduler:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        on_ready(scheduler.address)
        await ended.wait()
