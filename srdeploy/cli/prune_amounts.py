"""Amounts that ``srdeploy prune`` is given as text: ratios, budgets, numbers of channels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from srdeploy.cli.output import note

_UNITS = {"K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


def round_to(text: str | None, meant_for: str | None) -> int | None:
    """The number of channels of ``--round-to``, and of ``auto`` for the processor of ``--for``.

    Raises:
        UserError: it is neither.
    """
    from srdeploy.errors import UserError
    from srdeploy.pruning.blocks import HERE, find_block

    if text == "auto":
        block = find_block(meant_for or HERE)
        note(f"keeping multiples of {block.channels} channels: {block.why}")
        return block.channels
    if meant_for is not None:
        raise UserError("--for says what --round-to auto is about; write --round-to auto.")
    if text is None:
        return None
    if not text.isdecimal():
        raise UserError(f"--round-to '{text}' is no number of channels; give one, or auto.")
    return int(text)


def layer_ratios(
    texts: Sequence[str] | None, network: Any, exclude: Sequence[str] | None, published: bool
) -> dict[str, float] | None:
    """Ratios of single layers: patterns, SRP's lists and files; None where none is given.

    Raises:
        UserError: a text that is none of them, or names no layer.
    """
    from srdeploy.pruning.methods.oneshot import default_exclude
    from srdeploy.pruning.stage_ratios import read_layer_ratios

    if not texts:
        return None
    left = default_exclude(network) if published else ()
    return read_layer_ratios(texts, network, (*left, *(exclude or ())))


def listed(path: Path, network: Any) -> dict[str, Any]:
    """What NNI's configuration list says of a network's layers.

    Raises:
        UserError: the file is no such list.
    """
    from srdeploy.pruning.nni_config import read_nni_config, settings
    from srdeploy.pruning.tracing.groups import find_groups

    return settings(read_nni_config(path), network.module, find_groups(network))


def ratio(text: str | None, budget: Any, of_layers: Sequence[str]) -> float | None:
    """The ratio as a number; None for the default. Of a budget nothing is asked of all groups.

    Raises:
        UserError: no fraction, or a ratio beside a budget.
    """
    from srdeploy.errors import UserError

    if budget is not None:
        if text not in (None, "auto") or of_layers:
            raise UserError("Ratios and a budget exclude each other; write --ratio auto.")
        return 0.0
    if text == "auto":
        raise UserError("--ratio auto needs a budget: --macs 10G, or --params 300K.")
    try:
        return None if text is None else float(text)
    except ValueError:
        raise UserError(
            f"--ratio '{text}' is no fraction; give one from 0 to 1, for instance 0.5, or auto."
        ) from None


def amount(option: str, text: str | None) -> float | None:
    """A number with a unit: 10G, 300K; None where none is given.

    Raises:
        UserError: it is no number.
    """
    from srdeploy.errors import UserError

    if text is None:
        return None
    unit = _UNITS.get(text[-1:].upper(), 1)
    try:
        return float(text[:-1] if unit > 1 else text) * unit
    except ValueError:
        raise UserError(
            f"{option} '{text}' is no number; write for instance 300K, 10G or 1.5e9."
        ) from None
