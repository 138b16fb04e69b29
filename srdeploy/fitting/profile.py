"""Measure a latency table: probes of every kind of layer, then a few whole networks."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from srdeploy.compacting.surgery import cut_unproven
from srdeploy.errors import UserError
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.fitting.bench import Bench
from srdeploy.fitting.conditions import Conditions, Way, check_way
from srdeploy.fitting.grid import block_of, grid_of, sweep_widths
from srdeploy.fitting.places import Place
from srdeploy.fitting.predict import Observation, Predictor
from srdeploy.fitting.probe import Ends, write_probe
from srdeploy.fitting.samples import sample_removals
from srdeploy.fitting.subject import Subject
from srdeploy.fitting.table import KindTable, LatencyTable
from srdeploy.fitting.uses import DEPTHWISE, LayerKind, LayerUse
from srdeploy.measure.store import Store
from srdeploy.models.network import Network
from srdeploy.pruning.depth import grouping_without
from srdeploy.pruning.plan import make_plan
from srdeploy.util.files import atomic_path

SHORT, LONG = 1, 3
"""Pairs in the chains that are compared."""

WHOLE = 4
"""Whole networks that correct the sum."""


def profile_network(
    network: Network,
    place: Place,
    way: Way,
    size: tuple[int, int],
    store: Path,
    *,
    threads: int | None = None,
    exclude: Sequence[str] = (),
) -> Predictor:
    """Measure what is not known yet of a network's layers on a device.

    Args:
        network: Left as it is.
        place: The device.
        way: How it runs there.
        size: Height and width of the LR image.
        store: File that keeps the times.
        threads: CPU threads; None: all.
        exclude: Patterns of layers whose channels stay.

    Raises:
        UserError: as :func:`profile`, or a pattern that names no layer.
        SrdeployError: as :func:`profile`.
    """
    check_way(way)
    subject = Subject.of(network, exclude)
    conditions = Conditions(size, network.card.scale, threads)
    with (
        tempfile.TemporaryDirectory() as folder,
        Store.open(store) as kept,
        place.open(kept) as bench,
    ):
        return profile(subject, bench, way, conditions, Path(folder))


def profile(
    subject: Subject, bench: Bench, way: Way, conditions: Conditions, folder: Path
) -> Predictor:
    """Measure what is not known yet of a network's layers on a device.

    Args:
        subject: The network.
        bench: The device, and the store that keeps every time.
        way: How it runs the network.
        conditions: Resolution and threads.
        folder: For probes and whole networks; files are named by their content.

    Returns:
        A predictor, corrected by whole networks.

    Raises:
        UserError: a way in which no layer can be timed, or a network without layers to choose.
        SrdeployError: something could not be measured; what was measured is stored.
    """
    check_way(way)
    table = measure_table(subject, bench, way, conditions, folder)
    predictor = Predictor(subject.uses, table)
    removals = sample_removals(subject.groups, table.block, WHOLE)
    return predictor.corrected(*observe(subject, removals, bench, way, conditions, folder))


def measure_table(
    subject: Subject, bench: Bench, way: Way, conditions: Conditions, folder: Path
) -> LatencyTable:
    """The times of the layers alone; arguments as :func:`profile`."""
    inner = [use for use in subject.uses.layers if not use.inputs.fixed and not use.outputs.fixed]
    if not inner:
        raise UserError(
            "All convolutions of this network begin or end at the image, so there is nothing to "
            "choose between them; prune it by a ratio instead."
        )
    kinds = [kind for kind, _ in Counter(use.kind for use in inner).most_common()]
    card = subject.network.card
    kernel = next((use.kind.kernel for use in subject.uses.layers if use.is_end), (3, 3))
    probes = _Probes(Ends.of(card, kernel), bench, way, conditions, folder)
    widest = max(max(_widest(inner, kinds[0])), 1)
    sweep = sweep_widths(widest)
    times = probes.times(kinds[0], [((w, w), LONG) for w in sweep])
    block = block_of({w: times[(w, w), LONG] for w in sweep})
    facts = bench.facts
    return LatencyTable(
        device=bench.uri,
        model=facts.model,
        runtime=way.runtime,
        version=bench.version_of(way.runtime),
        precision=way.precision,
        threads=conditions.threads,
        input=conditions.size,
        block=block,
        kinds=tuple(_kind_table(probes, kind, inner, block) for kind in kinds),
    )


def observe(
    subject: Subject,
    removals: Iterable[Mapping[str, int]],
    bench: Bench,
    way: Way,
    conditions: Conditions,
    folder: Path,
) -> list[Observation]:
    """Time whole networks beside the dense one, cut to the numbers of channels asked for."""
    asked = list(removals)
    files = [str(cut_file(subject, removed, way, folder)) for removed in asked]
    anchor = str(cut_file(subject, {}, way, folder))
    found = bench.timed(files, conditions.networks(bench, way), anchor)
    return [Observation.of(removed, one) for removed, one in zip(asked, found, strict=True)]


def cut_file(subject: Subject, removed: Mapping[str, int], way: Way, folder: Path) -> Path:
    """An ONNX file of the network without the last channels of its groups, and without blocks.

    It is right in its speed.

    Nothing is proven or compared, and no image should be looked at.
    """
    told = sorted((name, count) for name, count in removed.items() if count)
    digest = hashlib.sha256(repr((subject.network.card.to_json(), told)).encode()).hexdigest()
    path = folder / f"cut-{digest[:16]}-{way.name}.onnx"
    if not path.exists():
        blocks = [block for block in subject.blocks if removed.get(block.name)]
        grouping = grouping_without(subject.grouping, blocks)
        atoms = {g.name: len(g.atoms) for g in grouping.groups}
        gone = {n: list(range(atoms[n]))[-count:] for n, count in told if n in atoms}
        plan = make_plan(grouping, gone, "cut", {}, blocks)
        export_onnx(
            cut_unproven(subject.network, plan) if told else subject.network,
            path,
            check=False,
            precision=way.precision,
            pixel_shuffle=way.pixel_shuffle,
        )
    return path


class _Probes:
    """Writes probes and has them measured."""

    def __init__(
        self, ends: Ends, bench: Bench, way: Way, conditions: Conditions, folder: Path
    ) -> None:
        self._ends, self._bench, self._way = ends, bench, way
        self._conditions, self._folder = conditions, folder

    def times(
        self, kind: LayerKind, asked: Sequence[tuple[tuple[int, int], int]]
    ) -> dict[tuple[tuple[int, int], int], float]:
        """Undisturbed milliseconds by widths and number of pairs."""
        files = [str(self._file(kind, *one)) for one in asked]
        request = self._conditions.probes(self._bench, self._way, kind.factor)
        found = self._bench.timed(files, request, str(self._file(kind, *max(asked))))
        return {key: one.ms for key, one in zip(asked, found, strict=True)}

    def _file(self, kind: LayerKind, widths: tuple[int, int], pairs: int) -> Path:
        made = write_probe(self._ends, kind, widths, pairs, self._way.precision)
        # The name counts in the store, so it holds nothing that the content does not.
        path = self._folder / f"probe-{hashlib.sha256(made).hexdigest()[:16]}.onnx"
        if not path.exists():
            with atomic_path(path) as temporary:
                temporary.write_bytes(made)
        return path


def _widest(layers: Sequence[LayerUse], kind: LayerKind) -> tuple[int, int]:
    """The largest widths of a kind's narrower and wider sides."""
    sides = [sorted((u.inputs.full, u.outputs.full)) for u in layers if u.kind == kind]
    return max(low for low, _ in sides), max(high for _, high in sides)


def _kind_table(
    probes: _Probes, kind: LayerKind, layers: Sequence[LayerUse], block: int
) -> KindTable:
    most_narrow, most_wide = _widest(layers, kind)
    narrow = grid_of(most_narrow, _unit(kind, block))
    wide = narrow
    if kind.groups == DEPTHWISE:
        pairs = [(a, a) for a in narrow]
    else:
        wide += tuple(b for b in grid_of(most_wide, _unit(kind, block)) if b > narrow[-1])
        pairs = [(a, b) for a in narrow for b in wide if a <= b]
    times = probes.times(kind, [(pair, chain) for pair in pairs for chain in (LONG, SHORT)])

    def pair_ms(a: int, b: int) -> float:
        pair = (a, a) if kind.groups == DEPTHWISE else (min(a, b), max(a, b))
        return max((times[pair, LONG] - times[pair, SHORT]) / (LONG - SHORT), 0.0)

    base = {a: max(times[(a, a), SHORT] - SHORT * pair_ms(a, a), 0.0) for a in narrow}

    return KindTable(
        kind=kind,
        narrow=narrow,
        wide=wide,
        pair_ms=tuple(tuple(pair_ms(a, b) for b in wide) for a in narrow),
        base_ms=tuple(base[a] for a in narrow),
    )


def _unit(kind: LayerKind, block: int) -> int:
    """Steps of a kind's widths: a grouped convolution's are multiples of its groups, too."""
    if kind.groups <= 1:
        return block
    unit = block
    while unit % kind.groups:
        unit += block
    return unit
