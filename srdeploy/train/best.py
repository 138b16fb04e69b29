"""The best network of a run so far: a file whose card says which iteration it is, and how good.

The file is the record. Whenever a run is killed, what is there is a network that the run came by,
with what was measured on it; a resumed run goes on from that.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from srdeploy.errors import UserError
from srdeploy.models.card_file import read_card
from srdeploy.models.network import Network
from srdeploy.models.store import read_into, save_network
from srdeploy.train.recipe import Validation
from srdeploy.train.run_folder import BEST
from srdeploy.util.figures_json import dumps, figure

_STEP = "kept"


class Best:
    """Keeps the network of the highest PSNR.

    Args:
        run_dir: The run's folder.
        check: How the candidates are measured; what another measure chose counts for nothing.
    """

    def __init__(self, run_dir: Path, check: Validation) -> None:
        self._path, self._what = run_dir / BEST, check.what
        record = _record(self._path, self._what)
        self._psnr = None if record is None else figure(record["psnr"])

    @property
    def known(self) -> bool:
        """Whether there is one yet."""
        return self._psnr is not None

    def offer(self, network: Network, iteration: int, psnr: float) -> None:
        """Keep this one if none before was as good; NaN is never good."""
        if math.isnan(psnr) or (self._psnr is not None and psnr <= self._psnr):
            return
        self._psnr = psnr
        record = json.loads(dumps({"iteration": iteration, "what": self._what, "psnr": psnr}))
        save_network(replace(network, card=network.card.step(step=_STEP, **record)), self._path)


def read_best(
    run_dir: Path, check: Validation, last: Network
) -> tuple[Network, dict[str, Any]] | None:
    """What a run has kept: the network, its ``iteration`` and ``psnr``; None for nothing.

    Args:
        run_dir: The run's folder.
        check: How it was measured.
        last: The network that the run ends with; its tensors are replaced.
    """
    path = run_dir / BEST
    if (record := _record(path, check.what)) is None:
        return None
    found = read_into(last.module, path)
    card = found.card.model_copy(update={"history": found.card.history[:-1]})
    told = {"iteration": record["iteration"], "psnr": figure(record["psnr"])}
    return replace(last, card=card), told


def _record(path: Path, what: str) -> dict[str, Any] | None:
    try:
        card = read_card(path)
    except UserError:  # there is none, or a damaged one
        return None
    last = card.history[-1] if card is not None and card.history else {}
    if last.get("step") != _STEP or last.get("what") != what:
        return None
    fits = isinstance(last.get("iteration"), int) and figure(last.get("psnr")) is not None
    return last if fits else None
