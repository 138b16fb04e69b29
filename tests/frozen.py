"""Records that others may keep: nobody changes them afterwards."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from importlib import import_module

import pytest


def assert_frozen(record: str) -> None:
    """See that an instance of a dataclass (``package.module:Name``) takes no new values."""
    module, _, name = record.partition(":")
    kind = getattr(import_module(module), name)
    one = object.__new__(kind)
    with pytest.raises(FrozenInstanceError):
        setattr(one, fields(kind)[0].name, None)
