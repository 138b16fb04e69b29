"""What an artifact's card says of how it was made, in order and in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from srdeploy.exporting.report import artifact_facts, parity_told
from srdeploy.models.card import Card
from srdeploy.models.card_file import damaged, find_file, is_safetensors, read_header
from srdeploy.models.proof_text import tell_proof
from srdeploy.runtime.card_of import read_card_of
from srdeploy.util.figures_json import figure


@dataclass(frozen=True)
class ProvenanceStep:
    """One step of the history.

    Attributes:
        step: Its name on the card.
        told: Sentences, the first one short.
        facts: The card's own entry.
    """

    step: str
    told: list[str]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Provenance:
    """An artifact's history.

    Attributes:
        file: Name of the artifact.
        sha256: Its content.
        bytes: Its size.
        network: What it is, in one line.
        weights_sha256: Identity of the weights: of a network's own, of the exported network's for
            an artifact; None where no step recorded it.
        widths: Channels before and after pruning, of the layers that changed.
        chapters: The steps, oldest first.
        gaps: What the card cannot tell.
        card: The card itself.
    """

    file: str
    sha256: str
    bytes: int
    network: str
    weights_sha256: str | None
    widths: dict[str, tuple[int, int]]
    chapters: list[ProvenanceStep]
    gaps: list[str]
    card: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)


def tell(file: str | Path) -> Provenance:
    """Read an artifact's story.

    Args:
        file: A network of ours, the name of a shipped one, or an exported artifact.

    Raises:
        UserError: as :func:`srdeploy.runtime.card_of.read_card_of`.
    """
    path = find_file(file)
    card = read_card_of(path)
    widths = changed_widths(card)
    chapters = []
    last_prune = max((i for i, e in enumerate(card.history) if e.get("step") == "prune"), default=0)
    for number, entry in enumerate(card.history):
        told = _told(entry)
        if number == last_prune and entry.get("step") == "prune":
            told += _pruned(card, widths)
        chapters.append(ProvenanceStep(entry.get("step", "?"), told, entry))
    weights, known = _weights(path, card)
    return Provenance(
        file=path.name,
        **artifact_facts(path),
        network=str(card),
        weights_sha256=weights,
        widths=widths,
        chapters=chapters,
        gaps=_gaps(card, weights, known),
        card=card.model_dump(mode="json"),
    )


def changed_widths(card: Card) -> dict[str, tuple[int, int]]:
    """Channels in the base architecture and now, of the layers where they differ.

    Empty for a network of the user's own, whose base only the user's code knows.
    """
    if not card.pruned or card.own_code:
        return {}
    from srdeploy.models.resize import layer_widths
    from srdeploy.models.store import empty_module

    before = layer_widths(empty_module(card.model_copy(update={"shapes": {}})))
    return {
        name: (before[name], now)
        for name, now in card.widths.items()
        if before.get(name, now) != now
    }


def fold_runs(widths: Mapping[str, object]) -> list[tuple[str, str, int, object]]:
    """Neighbours of one value as (first layer, last layer, how many, value)."""
    runs: list[tuple[str, str, int, object]] = []
    for name, value in widths.items():
        if runs and runs[-1][3] == value:
            first, _, count, _ = runs[-1]
            runs[-1] = (first, name, count + 1, value)
        else:
            runs.append((name, name, 1, value))
    return runs


def _weights(path: Path, card: Card) -> tuple[str | None, bool]:
    """Digest of the weights, and whether the file says that they are those that were saved."""
    if not path.is_file() or not is_safetensors(path):
        return _recorded_weights(card), True
    from safetensors.torch import load_file

    from srdeploy.models.digest import weights_sha256

    header, found = read_header(path), weights_sha256(load_file(path))
    saved = None if header is None else header.weights_sha256
    if saved not in (None, found):
        raise damaged(path, "network")
    return found, saved is not None


def _recorded_weights(card: Card) -> str | None:
    found = [entry.get("weights_sha256") for entry in card.history]
    return next((digest for digest in reversed(found) if isinstance(digest, str)), None)


def _gaps(card: Card, weights: str | None, known: bool) -> list[str]:
    steps = [entry.get("step") for entry in card.history]
    gaps = []
    if not {"import", "train"} & set(steps):
        gaps.append("where the first weights came from: no step of import or training is recorded")
    if weights is None:
        gaps.append("which weights were exported: it was written before srdeploy recorded that")
    if not known:
        gaps.append("whether the weights are those that were saved: the file has no digest")
    if card.pruned and card.own_code:
        gaps.append(f"the widths before pruning: only {card.arch} knows them")
    return gaps


def _told(entry: dict[str, Any]) -> list[str]:
    """What happened in one step; fields that are none of ours are told as they stand."""
    try:
        return _TELLERS.get(entry.get("step", ""), _plainly)(entry)
    except (KeyError, TypeError, ValueError, AttributeError):
        return _plainly(entry)


def _imported(entry: dict[str, Any]) -> list[str]:
    digest = _short(entry.get("sha256"))
    source = f"{entry['file']} ({digest})" if "file" in entry else "a live module"
    told = [f"{source}, {entry.get('recognised_as')}"]
    if where := entry.get("source"):
        told.append(f"fetched from {where}")
    if stored_as := entry.get("stored_as"):
        told.append(f"its numbers were stored as {stored_as} and are computed in float32")
    if tags := entry.get("tags"):
        told.append(f"tags: {', '.join(tags)}")
    told += [f"assumed: {one}" for one in entry.get("assumed", [])]
    return told + [f"ignored: {one}" for one in entry.get("ignored", [])]


def _pruned(card: Card, widths: dict[str, tuple[int, int]]) -> list[str]:
    told = []
    for first, last, count, value in fold_runs(widths):
        assert isinstance(value, tuple)
        named = first if count == 1 else f"{first} ... {last} ({count} layers)"
        told.append(f"{named}: {value[0]} -> {value[1]} channels")
    if card.proof:
        first, *more = tell_proof(card.proof)
        told += [f"proof: {first}", *more]
    return told


def _trained(entry: dict[str, Any]) -> list[str]:
    shown = _remaining(entry, "iterations", "recipe", "data", "kept")
    first = f"{entry.get('iterations')} iterations of recipe {entry.get('recipe')}"
    told = [f"{first} on data {entry.get('data')}{', ' if shown else ''}{shown}"]
    if kept := entry.get("kept"):
        ends = [f"{figure(kept[n]):.3f} at the {n}" for n in ("start", "end") if n in kept]
        told.append(
            f"kept iteration {kept['iteration']}, {figure(kept['psnr']):.3f} dB on {kept['data']} "
            f"({', '.join(ends)})"
        )
    return told


def _exported(entry: dict[str, Any]) -> list[str]:
    used = ("target", "precision", "tools", "weights_sha256", "parent_sha256", "parity", "quality")
    shown = _remaining(entry, *used)
    told = [f"{entry.get('target')}, {entry.get('precision')}" + (f", {shown}" if shown else "")]
    if "weights_sha256" in entry:
        told.append(f"from weights {_short(entry['weights_sha256'])}")
    if "parent_sha256" in entry:
        told.append(f"from the ONNX file {_short(entry['parent_sha256'])}")
    if parity := entry.get("parity"):
        other = "that file" if "parent_sha256" in entry else "PyTorch"
        compared = parity_told(entry["precision"], parity["tolerance"], parity["sizes"], other)
        told.append(f"checked: {compared}")
    if quality := entry.get("quality"):
        from srdeploy.exporting.quality_loss import quality_told

        told.append(quality_told(quality))
    if tools := entry.get("tools"):
        told.append("by " + ", ".join(f"{name} {version}" for name, version in tools.items()))
    return told


def _fitted(entry: dict[str, Any]) -> list[str]:
    way = " ".join(filter(None, (entry["runtime"], entry["precision"])))
    first = (
        f"chosen for {entry['budget_ms']:g} ms at {entry['input']} on {entry['device']} in {way}, "
        f"{entry['predicted_ms']:.3g} ms predicted"
    )
    return [first, *(f"{layer}: {why}" for layer, why in entry["why"].items())]


def _plainly(entry: dict[str, Any]) -> list[str]:
    return [_remaining(entry)]


_TELLERS: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "import": _imported,
    "train": _trained,
    "finetune": _trained,
    "export": _exported,
    "fit": _fitted,
}


def _remaining(entry: dict[str, Any], *told: str) -> str:
    """The other fields as ``key value``, empty ones left out."""
    left = {
        key: value
        for key, value in entry.items()
        if key not in ("step", *told) and value not in ([], {}, None, "")
    }
    return ", ".join(f"{key.replace('_', ' ')} {_plain(value)}" for key, value in left.items())


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={_plain(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return " ".join(_plain(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _short(digest: str | None) -> str:
    return f"sha256 {digest[:12]}" if digest else "unknown"
