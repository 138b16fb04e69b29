"""A copy of this process for what is to be killed: it need not import PyTorch again."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

import torch


def ended(function: Callable[..., object], *arguments: Any) -> int:
    """The exit code of a copy of this process that calls a function; negative: a signal's number.

    Args:
        function: Called with the arguments; what it changes in this process stays in the copy.
    """
    process = multiprocessing.get_context("fork").Process(target=_call, args=(function, *arguments))
    process.start()
    process.join(300)
    if process.exitcode is None:
        process.kill()
        raise AssertionError("it did not end within 300 s")
    return process.exitcode


def _call(function: Callable[..., object], *arguments: Any) -> None:
    torch.set_num_threads(1)  # the copy has none of the other threads
    function(*arguments)
