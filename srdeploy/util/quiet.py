"""Silence around libraries that narrate."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator

_verbose = False
_one_at_a_time = threading.Lock()


def set_verbose(verbose: bool) -> None:
    """Let libraries speak from now on (the command line's ``--verbose``)."""
    global _verbose
    _verbose = verbose


def is_verbose() -> bool:
    """Whether everything is to be told."""
    return _verbose


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide warnings, log messages and whatever is printed; errors arrive as exceptions.

    After :func:`set_verbose` all of it comes through, on stderr.
    """
    if _verbose:
        with contextlib.redirect_stdout(sys.stderr):
            yield
        return
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            open(os.devnull, "w") as sink,
            contextlib.redirect_stdout(sink),
            contextlib.redirect_stderr(sink),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Hide what native libraries write to the process's standard error, past Python.

    After :func:`set_verbose` it comes through.
    """
    if _verbose:
        yield
        return
    with _one_at_a_time, open(os.devnull, "wb") as sink:
        kept = os.dup(2)
        try:
            os.dup2(sink.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
