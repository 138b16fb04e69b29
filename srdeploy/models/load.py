"""One way in: any network file, ours or foreign, or the name of a network we ship."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from srdeploy.errors import UserError
from srdeploy.models import spandrel_library
from srdeploy.models.card import SPANDREL
from srdeploy.models.card_file import find_file, is_safetensors, read_card
from srdeploy.models.hub_file import hub_file, pinned
from srdeploy.models.importing.assemble import Assembled, assemble, is_recognised
from srdeploy.models.importing.spandrel_file import load_spandrel
from srdeploy.models.importing.state_dict import StateDict, read_state_dict
from srdeploy.models.importing.user_module import load_user_network
from srdeploy.models.importing.wrappers import AVERAGED
from srdeploy.models.network import Factory, Network
from srdeploy.models.registry import architecture_of, find_architecture
from srdeploy.models.store import EXPORTED, read_network
from srdeploy.util.files import require_file, sha256

log = logging.getLogger(__name__)


def load_network(
    path: str | Path,
    *,
    arch: str | Factory | None = None,
    scale: int | None = None,
    res_scale: float | None = None,
) -> Network:
    """Load a network from our own file, a foreign checkpoint, or by the name of a shipped one.

    Either file may lie on the Hugging Face hub (``hf:org/repo/file``).

    Foreign files are torch checkpoints (state dicts, bare or nested; whole pickled modules; either
    container of ``torch.save``) and safetensors without a card. No code in a file ever runs. How a
    foreign file was understood is the first entry of ``card.history``: ``step`` "import", ``file``,
    ``source`` (on the hub, with the commit), ``sha256``, ``recognised_as``, ``assumed`` (what
    weights cannot show), ``ignored`` (names the file wanted called) and ``stored_as`` (the type of
    its numbers, where that is not float32, in which everything is computed).

    Args:
        path: A file, a file on the hub (:mod:`srdeploy.models.hub_file`), or a name from
            :func:`srdeploy.util.shipped.shipped_networks`.
        arch: A name of ours (forces that layout; a preset such as ``edsr-full`` also states the
            base of a pruned file), or ``package.module:callable``, which is imported and called:
            see :mod:`srdeploy.models.importing.user_module` for the attributes it may have. Or
            the callable itself; or ``spandrel:NAME``, an architecture of the library spandrel,
            which is asked by itself where no architecture of ours recognises the tensors.
        scale: The factor a network that serves several (VDSR) shall serve; for the others it must
            agree with the weights.
        res_scale: Residual scaling of a foreign EDSR, LEDSR, RIRSR or RCAN, which weights do not
            show.

    Raises:
        UserError: nothing there, unreadable, not recognised, or tensors that do not fit.
        SrdeployError: the hub cannot be reached.
    """
    if scale is not None and not 1 <= scale <= 16:
        raise UserError(f"Scale {scale} makes no sense; choose a whole number from 1 to 16.")
    if isinstance(arch, str) and _looks_dotted(arch):
        module, _, name = arch.rpartition(".")
        raise UserError(
            f"There is no architecture '{arch}'; code of your own is named with a colon: "
            f"--arch {module}:{name}."
        )
    file = _find(path)
    log.info("reading the network %s", file)
    if is_safetensors(file) and read_card(file) is not None:
        return _read_own(file, arch, scale)
    if isinstance(arch, str) and ":" not in arch:
        find_architecture(arch)  # an unknown one is told before the file is read
    network = _read_foreign(file, arch, scale, res_scale)
    if not Path(path).exists() and (wanted := hub_file(path)):
        network.card.history[-1]["source"] = pinned(wanted, file)
    return network


def _looks_dotted(arch: str) -> bool:
    """Whether it is a Python name in a module, written without the colon."""
    parts = arch.split(".")
    return len(parts) > 1 and all(part.isidentifier() for part in parts)


def _find(path: str | Path) -> Path:
    file = find_file(path)
    if kind := EXPORTED.get(file.suffix.lower()):
        raise UserError(f"'{path}' is {kind} file; give the network it was exported from.")
    if file.is_dir():
        raise UserError(f"'{path}' is a folder; give a network file inside it.")
    require_file(file)
    return file


def _read_own(file: Path, arch: str | Factory | None, scale: int | None) -> Network:
    network = read_network(file, arch=arch)
    card = network.card
    if isinstance(arch, str) and ":" not in arch:
        row = architecture_of(card)
        if arch != row.name and arch not in row.presets:
            raise UserError(f"'{file}' is of architecture {card.arch}, not {arch}.")
    if scale is None or scale == card.scale:
        return network
    if scale not in card.scales:
        factors = ", ".join(map(str, card.scales))
        raise UserError(f"'{file}' upscales by {factors}, not by {scale}.")
    config = {**card.config, "scale": scale} if "scale" in card.config else card.config
    if hasattr(network.module, "scale"):
        network.module.scale = scale  # type: ignore[assignment]
    return replace(network, card=card.model_copy(update={"scale": scale, "config": config}))


def _read_foreign(
    file: Path, arch: str | Factory | None, scale: int | None, res_scale: float | None
) -> Network:
    found = read_state_dict(file)
    known = _assembled(found, str(file), arch, scale, res_scale)
    history = {
        "step": "import",
        "file": file.name,
        "sha256": sha256(file),
        "recognised_as": known.recognised_as,
        "assumed": [*_choice(found), *known.assumed],
        "ignored": list(found.ignored),
        **known.facts,
    }
    if found.stored_as not in ("float32", ""):
        history["stored_as"] = found.stored_as
    return replace(known.network, card=known.network.card.step(**history))


def _assembled(
    found: StateDict,
    source: str,
    arch: str | Factory | None,
    scale: int | None,
    res_scale: float | None,
) -> Assembled:
    """By a row of ours, by the user's own code, or by spandrel where no row fits."""
    if isinstance(arch, str) and arch.startswith(SPANDREL):
        known = load_spandrel(found, source, arch, scale)
        if known is None:
            raise UserError(f"'{source}' does not have the tensors of {arch}; leave --arch out.")
        return known
    if callable(arch) or (arch is not None and ":" in arch):
        network, assumed = load_user_network(found, arch, source, scale)
        return Assembled(network, network.card.arch, assumed)
    try:
        return assemble(found, source, arch=arch, scale=scale, res_scale=res_scale)
    except UserError as unfit:
        if arch is not None or not spandrel_library.installed():
            raise
        try:
            known = load_spandrel(found, source, scale=scale)
        except UserError:
            if is_recognised(found):
                raise unfit from None
            raise
        if known is None:
            raise
        return known


def _choice(found: StateDict) -> list[str]:
    """A note when the tensors were picked from a place that may have had alternatives."""
    if found.path.rpartition("/")[2] in AVERAGED:
        return [f"the averaged weights under '{found.path}' are the ones meant"]
    if found.beside:
        others = " and ".join(f"'{one}'" for one in found.beside)
        return [f"the network is what stands under '{found.path}', not under {others}"]
    return []
