"""Which network a pruned one was made from: noted when it is pruned, and found again by its digest.

Nothing is guessed: a file counts only if its weights have the digest on the card.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from srdeploy.errors import SrdeployError
from srdeploy.models.card import Card
from srdeploy.models.card_file import read_header
from srdeploy.models.network import Network
from srdeploy.util.shipped import shipped_networks

_MOST_FILES = 200


def with_dense_noted(network: Network) -> Network:
    """A network about to be pruned, with the digest of its weights on its card.

    Of one that was pruned before, the digest stays that of the network before the first time.
    """
    if network.card.dense_sha256 is not None:
        return network
    from srdeploy.models.digest import weights_sha256

    digest = weights_sha256(network.module.state_dict())
    return replace(network, card=network.card.model_copy(update={"dense_sha256": digest}))


def find_dense(card: Card, folder: Path) -> Path | None:
    """The file of the dense network of a pruned one, where it can be found.

    Args:
        card: Of the pruned network, or of an artifact made from it.
        folder: Where the pruned one lies: networks beside it are looked at, and the shipped ones.

    Returns:
        None where the card names no dense network, or no file has its weights.
    """
    if card.dense_sha256 is None:
        return None
    for path in (*_networks(folder), *shipped_networks().values()):
        try:
            header = read_header(path)
        except SrdeployError:
            continue  # no file of ours, or a damaged one
        if header is not None and header.weights_sha256 == card.dense_sha256:
            return path
    return None


def _networks(folder: Path) -> Iterator[Path]:
    return islice(sorted(folder.glob("*.safetensors")), _MOST_FILES)
