"""Whether an artifact computes what its network computes: one argument for all formats.

*On what.* Photographs, never noise, at the sizes of :mod:`srdeploy.models.probes` (small, odd, and
as large as real images), at the size that was asked for, two at a time, and wherever the network's
code takes another way (:mod:`srdeploy.exporting.onnx.branches`): a tracer follows an ``if``
on a size once.

*How far apart.* A tolerance over the value range, or over the outputs where those are larger. Two
float32 programs of one network round otherwise, though, and a network that was pruned and not tuned
yet, whose gates are saturated by large numbers, may turn that into any difference. How much is
known: it is what the network's own float32 answer is away from its float64 one. Where that drowns
the comparison, the same photographs are dimmed until it does not: the graph is the same, and there
every wrong weight, size and branch shows. Only where dimming does not help (a network that
normalises) is an artifact called equal that is no more than :data:`ROUNDING` times as far from the
float64 answer as the network itself, and within :data:`UNSURE` of the outputs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.onnx.branches import other_ways
from srdeploy.exporting.portable import StableSorts
from srdeploy.exporting.probe import SIZES, TOLERANCE, Gap, gap_between, run_torch
from srdeploy.exporting.report import Parity, parity_of
from srdeploy.models.card import Card
from srdeploy.models.network import Network
from srdeploy.models.probes import CannotRunError, Size, fit_sizes, photograph, run

ROUNDING = 8
"""How much further from the exact answer than the network in float32 an artifact may be: between
two orders of the same additions the largest of many errors differs by a few times."""

QUIET = TOLERANCE / 10
"""Share of the outputs that rounding may move where a comparison is to tell something."""

LIGHTS = (1.0, 2.0**-4, 2.0**-8, 2.0**-12)
"""What photographs are multiplied by, the brightest that is quiet first."""

UNSURE = 1e-2
"""Share of the outputs beyond which rounding is no excuse: a wrong branch may differ by less."""

SAME = 1e-6
"""Share of the outputs by which two float64 programs of one network differ at most."""

_PIXELS = "pixels of its input"

FAULT = "report this network, it is a fault in the export"

Answer = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class Apart(SrdeployError):
    """An artifact is not its network.

    Attributes:
        probe: Where that showed.
        short: What the network's code depends on, or what is the matter, in a few words.
        curable: Whether another way of writing it may give the network: not where rounding alone
            moves its outputs, nor where its precision is too coarse.
    """

    def __init__(self, sentence: str, probe: Probe, short: str, *, curable: bool) -> None:
        super().__init__(sentence)
        self.probe, self.short, self.curable = probe, short, curable


@dataclass(frozen=True)
class Probe:
    """One input to compare on.

    Attributes:
        size: Height and width.
        batch: Images at a time.
        light: What the photographs are multiplied by.
        picture: Which of the photographs comes first: a tracer is shown the first, and code that
            reads pixels may do something else on another.
    """

    size: Size
    batch: int = 1
    light: float = 1.0
    picture: int = 0

    def __str__(self) -> str:
        height, width = self.size
        number = f" (photograph {self.picture + 1})" if self.picture else ""
        return f"{width}x{height}{number}" + (
            f" in a batch of {self.batch}" if self.batch > 1 else ""
        )

    def differs_by(self, other: Probe) -> str:
        """What of the input is not the same, in words."""
        if self.size != other.size:
            return "size of its input"
        return _PIXELS if self.batch == other.batch else "number of images"


def _as_it_is(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return x


@dataclass
class Reference:
    """What is to be computed.

    Attributes:
        card: The network's.
        probes: Where; what a tracer is shown comes first.
        answer: The network itself.
        exact: The network in float64; None where there is no such thing.
        given: What becomes of an input on its way (to 8-bit pixels).
        returned: What becomes of an answer.
        network: The network as torch has it; None where the answer is a runtime's.
    """

    card: Card
    probes: list[Probe]
    answer: Answer
    exact: Answer | None = None
    given: Answer = _as_it_is
    returned: Answer = _as_it_is
    network: Network | None = None
    _known: dict[Probe, NDArray[np.float32]] = field(default_factory=dict)

    @classmethod
    def of(cls, network: Network, sizes: Iterable[Size] | None = None) -> Reference:
        """A network on its usual probes, or on images of each of the given sizes.

        Of one size alone there are two, as nothing else would differ from what a tracer is shown.

        Raises:
            CannotRunError: the network runs on none of the usual sizes.
        """
        probes = usual_probes(network) if sizes is None else [Probe(size) for size in sizes]
        if len(probes) == 1:
            probes.append(Probe(probes[0].size, picture=1))
        return cls(
            network.card,
            probes,
            partial(run_torch, network),
            partial(_in_float64, network),
            network=network,
        )

    @property
    def sizes(self) -> list[Size]:
        """Heights and widths compared at, each once; a tracer's example first."""
        return list(dict.fromkeys(probe.size for probe in self.probes))

    @property
    def batched(self) -> bool:
        """Whether the network takes more than one image at a time."""
        return any(probe.batch > 1 for probe in self.probes)

    def input(self, probe: Probe) -> NDArray[np.float32]:
        """A new array each time: whoever gets it may write into it."""
        x = photograph(self.card, probe.size, probe.picture + probe.batch)[probe.picture :]
        x = x * np.float32(probe.light)
        return np.ascontiguousarray(self.given(x))

    def gap(self, probe: Probe, found: NDArray[np.float32]) -> Gap:
        """How far an answer is from the network's.

        Relative to the value range or larger outputs; dimmed, to what the photograph changes in the
        outputs, as those may come from the network's own biases.
        """
        expected = self.expected(probe)
        if probe.light == 1:
            return gap_between(expected, found, self.card.value_range)
        dark = self.expected(replace(probe, light=0.0))
        return gap_between(expected - dark, found - dark, 0.0)

    def expected(self, probe: Probe) -> NDArray[np.float32]:
        """The network's answer, computed once.

        Raises:
            CannotRunError: the network does not take this input.
        """
        if probe not in self._known:
            self._known[probe] = self.returned(self.answer(self.input(probe)))
        return self._known[probe]

    def leave_out_what_fails(self) -> None:
        """Keep the probes that the network takes (a clipped size may not fit it).

        Raises:
            UserError: it takes none of them; the sentence is that of the first.
        """
        failed: dict[Probe, SrdeployError] = {}
        for probe in self.probes:
            try:
                self.expected(probe)
            except SrdeployError as error:
                failed[probe] = error
        if len(failed) == len(self.probes):
            raise failed[self.probes[0]]
        self.probes = [probe for probe in self.probes if probe not in failed]

    def rounding(self, probe: Probe) -> float | None:
        """The share of its outputs that float32 takes from the network; None: not to be known."""
        if (right := self._right(probe)) is None:
            return None
        return self.gap(probe, right).relative

    def rounding_explains(self, probe: Probe, found: NDArray[np.float32]) -> bool:
        """Whether ``found`` is as good an answer in float32 as the network's own."""
        own = self.rounding(probe)
        if own is None or (right := self._right(probe)) is None:
            return False
        return gap_between(right, found, self.card.value_range).relative <= min(
            ROUNDING * own, UNSURE
        )

    def same_in_float64(self, probe: Probe, artifact: Answer) -> bool:
        """Whether an artifact, computed in float64, answers what the network answers there."""
        if (right := self._right(probe)) is None:
            return False
        try:
            found = self.returned(artifact(self.input(probe)))
        except UserError:
            return False
        if found.shape != right.shape:
            return False
        return gap_between(right, found, self.card.value_range).relative <= SAME

    def _right(self, probe: Probe) -> NDArray | None:
        if self.exact is None:
            return None
        try:
            return self.returned(self.exact(self.input(probe)))
        except CannotRunError:  # float32 is written into its code
            return None


def usual_probes(network: Network) -> list[Probe]:
    """Where a network is compared whose artifact takes any size.

    Raises:
        CannotRunError: the network runs on no size.
    """
    sizes = fit_sizes(network.module, network.card, SIZES)
    several = Probe(sizes[0], 2)
    batches = [1, 2]
    try:
        run_torch(network, photograph(network.card, several.size, several.batch))
    except CannotRunError:  # it takes one image at a time
        batches = [1]
    probes = [Probe(size) for size in sizes] + ([several] if 2 in batches else [])
    return probes + [Probe(*way) for way in other_ways(network, sizes, batches)]


def check_parity_of(
    reference: Reference,
    run_artifact: Answer,
    tolerance: float,
    *,
    what: str,
    than: str = "torch",
    remedy: str = "",
    at_once: str = FAULT,
    coarse: str = "",
    exact: Answer | None = None,
    parting: Callable[[NDArray[np.float32]], str] = lambda x: "",
) -> Parity:
    """Compare an artifact with its network on every probe.

    Args:
        reference: What is to be computed.
        run_artifact: The artifact.
        tolerance: Over the value range, or over larger outputs.
        what: The artifact as the subject of a sentence.
        than: What it is compared with.
        remedy: What else may be tried where the network's code depends on its input's size.
        at_once: What to do where they differ on the very input that was traced.
        coarse: What is to be done where the artifact's precision is at fault, which is known to
            compute the right thing but for rounding; empty for float32.
        exact: The artifact in float64, asked where rounding drowns the comparison; it may raise
            a UserError.
        parting: Where the two part on an input, as the end of a sentence.

    Raises:
        SrdeployError: they differ; the sentence says where, why, and what to do.
    """
    gaps: list[Gap] = []
    light, in_float64 = 1.0, False
    compare = _Comparison(reference, run_artifact, tolerance, judges=not coarse, exact=exact)
    for probe in reference.probes:
        found = compare.at(probe)
        if found.complaint is None and found.gap is not None:
            gaps.append(found.gap)
            light, in_float64 = min(light, found.light), in_float64 or found.in_float64
            continue
        why, short = coarse or found.why, "what is written otherwise is not the network"
        if not why and (alike := compare.alike(probe)):
            on = probe.differs_by(alike)
            short = f"its code depends on the {on}"
            why = (
                f"on {alike} they agree, so the network's code depends on the {on}: an `if` or a "
                f"number computed from {'a pixel' if on == _PIXELS else 'x.shape'} is written down "
                "once, as it was when the network was followed; write it without"
                f"{remedy and f', {remedy}'}"
            )
        where = parting(reference.input(probe)) if found.gap is not None else ""
        raise Apart(
            f"{what} {found.complaint} {than}{found.detail}{where}; {why or at_once}.",
            probe,
            short,
            curable=not (coarse or found.why),
        )
    return parity_of(gaps, reference.sizes, light, tolerance, in_float64=in_float64)


@dataclass(frozen=True)
class _Found:
    """What a comparison gave: a complaint in two halves, around what it was compared with."""

    gap: Gap | None
    complaint: str | None = None
    detail: str = ""
    why: str = ""
    light: float = 1.0
    in_float64: bool = False


@dataclass(frozen=True)
class _Comparison:
    """An artifact beside its network; ``judges``: rounding to float32 is no complaint."""

    reference: Reference
    run: Answer
    tolerance: float
    judges: bool
    exact: Answer | None = None

    def at(self, probe: Probe) -> _Found:
        """One probe, dimmed where rounding would drown the comparison."""
        plain = self._once(probe)
        if plain.complaint is None or plain.gap is None or not self.judges:
            return plain
        own = None
        for light in LIGHTS:
            dimmed = replace(probe, light=light)
            share = self.reference.rounding(dimmed)
            own = share if own is None else own
            if share is not None and share <= QUIET:
                return replace(plain if light == 1 else self._once(dimmed), light=light)
        if own is None:
            return plain
        if self.exact is not None and self.reference.same_in_float64(probe, self.exact):
            return _Found(plain.gap, in_float64=True)
        if self.reference.rounding_explains(probe, self.run(self.reference.input(probe))):
            return _Found(plain.gap)
        why = (
            f"rounding to float32 alone moves this network's outputs by {own:.1%}, so no file can "
            "be shown to equal it; fine-tune it before it is exported"
        )
        return replace(plain, why=why)

    def alike(self, apart: Probe) -> Probe | None:
        """Another probe, of the same size if there is one, on which they agree."""
        others = [probe for probe in self.reference.probes if probe != apart]
        for probe in sorted(others, key=lambda one: one.size != apart.size):
            if self.at(probe).complaint is None:
                return probe
        return None

    def _once(self, probe: Probe) -> _Found:
        expected = self.reference.expected(probe)
        try:
            found = self.run(self.reference.input(probe))
        except UserError as error:
            reason = str(error).rstrip(".")
            return _Found(None, f"does not run on {probe}, unlike", f" ({reason})")
        if found.shape != expected.shape:
            shapes = f" ({found.shape}, {expected.shape})"
            return _Found(None, f"makes of {probe} an image of another size than", shapes)
        gap = self.reference.gap(probe, found)
        if gap.within(self.tolerance, self.reference.card):
            return _Found(gap)
        reach = "the value range" if gap.reach == self.reference.card.value_range else "the outputs"
        detail = (
            f" by {gap.largest:.3g} at input {probe}, more than {self.tolerance:g} of {reach} "
            f"({gap.reach:.3g})"
        )
        return _Found(gap, "differs from", detail)


def _in_float64(network: Network, x: NDArray[np.float32]) -> NDArray[np.float32]:
    module = copy.deepcopy(network.module).double()
    with StableSorts():
        answer: NDArray = run(module, torch.from_numpy(x).double()).numpy()
    return answer
