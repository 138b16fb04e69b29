"""Residual blocks: what a network adds to a stream, and computes from that stream alone.

Found in what one run of the network did (:mod:`srdeploy.pruning.tracing.sums_of_parts`), in two
forms: parts that return their input plus something, and parts whose result the code around them
adds to what they were computed from. If all that is added is zero, the block may go. It may only if
the zero of a layer makes each summand zero (its last convolution, unless attention or the like
comes after it), and if the network without the block computes the same as with those zeros: that is
tried.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from srdeploy.models.card import RemovedPart
from srdeploy.models.network import Network
from srdeploy.models.probes import PROBE_SIZES, CannotRunError, Size, fit_size, photograph, run
from srdeploy.models.registry import architecture_of
from srdeploy.models.removed_parts import is_part, remove_parts
from srdeploy.models.resize import layer_widths
from srdeploy.pruning.tracing.sums_of_parts import Record, Sum, record, record_call

_LARGEST_DIFFERENCE = 1e-4
"""Relative to the largest output: far more than rounding, far less than a body."""


@dataclass(frozen=True)
class ResidualBlock:
    """A part of a network that may go, or several.

    Attributes:
        name: Of the part; of several, their names joined by ``+``.
        parts: What goes.
        ends: The layers without whose output nothing is added: the last of each body.
        inside: Names of blocks that are parts of it.
    """

    name: str
    parts: dict[str, RemovedPart] = field(hash=False)
    ends: tuple[str, ...]
    inside: tuple[str, ...] = ()

    @property
    def layers(self) -> tuple[str, ...]:
        """Its convolutions and linear layers."""
        return tuple(layer for part in self.parts.values() for layer in part.layers)


@dataclass(frozen=True)
class ResidualBlocks:
    """What was found.

    Attributes:
        blocks: In the order in which they run.
        stay: What is added to a stream and cannot go, with the reason.
    """

    blocks: tuple[ResidualBlock, ...]
    stay: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"may_go": {b.name: list(b.layers) for b in self.blocks}, "stay": self.stay}

    def told(self) -> list[str]:
        """In words: a line for those that may go, and one for each that stays."""
        named = ", ".join(block.name for block in self.blocks)
        lines = [f"residual blocks that may go (--remove-block): {named}"] if named else []
        return [*lines, *(f"'{name}' stays: {why}" for name, why in self.stay.items())]


def find_residual_blocks(network: Network) -> ResidualBlocks:
    """The residual blocks of a network.

    Args:
        network: Folded; it is run on a small image, not changed.

    Raises:
        CannotRunError: it runs on no size.
    """
    module = copy.deepcopy(network.module).eval()

    def image(size: Size) -> Tensor:
        return torch.from_numpy(photograph(network.card, size))

    size, seen = fit_size(
        lambda one: record(module, image(one)), PROBE_SIZES[0], network.card.size_multiple
    )
    finder = _Finder(Network(module, network.card), image(size), seen)
    finder.look_at_parts()
    finder.look_at_sums()
    finder.try_out()
    order = {name: calls[0].first for name, calls in seen.calls.items()}
    blocks = sorted(finder.found.values(), key=lambda block: order[next(iter(block.parts))])
    return ResidualBlocks(tuple(blocks), finder.stay)


class _Finder:
    """Looks for blocks in what a network did.

    Attributes:
        found: Blocks by name.
        stay: Names of what has to stay, with the reason.
    """

    def __init__(self, network: Network, x: Tensor, seen: Record) -> None:
        self.found: dict[str, ResidualBlock] = {}
        self.stay: dict[str, str] = {}
        self._network, self._x, self._seen = network, x, seen
        self._layers = list(layer_widths(network.module))
        self._known: set[int] = set()  # sums that are in a block

    def look_at_parts(self) -> None:
        """Parts that return their input plus something."""
        module, seen = self._network.module, self._seen
        names = [name for name, _ in module.named_modules() if name]
        for name in sorted(names, key=lambda one: -one.count(".")):  # what is inside comes first
            calls, layers = seen.calls.get(name, []), self._layers_in(name)
            sums = seen.sums(calls[0]) if calls and layers and name not in layers else []
            if {one.number for one in sums} <= self._known:  # a row of blocks is no block
                continue
            self._known |= {one.number for one in sums}
            part = {name: RemovedPart(layers=layers)}
            self._add(ResidualBlock(name, part, self._ends_of_part(name)))

    def look_at_sums(self) -> None:
        """Sums in other code, of something and a stream from which it was computed."""
        seen = self._seen
        output = seen.calls[""][0].made
        for number in sorted(seen.behind(output) - self._known):
            for one in seen.sums_of(number):
                if one.stream <= 0 or one.stream not in seen.behind(one.body):
                    continue  # 0 made the copy of the image that the network was given
                parts = dict(self._parts_of_body(one, output))
                if parts and not any(is_part(b, p) for b in self.found for p in parts):
                    ends = self._ends_of_sum(one, parts)
                    self._add(ResidualBlock("+".join(parts), parts, ends))
                break

    def try_out(self) -> None:
        """Keep only those without which the network computes what it does with their zeros.

        All that are not inside one another are tried at once, and halves of them where that fails.
        """
        waiting, self.found = list(self.found.values()), {}
        while waiting:  # the innermost first
            level = [one for one in waiting if not any(_inside(two, one) for two in waiting)]
            waiting = [one for one in waiting if one not in level]
            for block in self._fine(level):
                inside = tuple(one.name for one in self.found.values() if _inside(one, block))
                self.found[block.name] = replace(block, inside=inside)

    def _fine(self, blocks: list[ResidualBlock]) -> list[ResidualBlock]:
        reason = self._broken(blocks)
        if not reason:
            return blocks
        if len(blocks) == 1:
            self.stay[blocks[0].name] = reason
            return []
        half = len(blocks) // 2
        return self._fine(blocks[:half]) + self._fine(blocks[half:])

    def _layers_in(self, name: str) -> list[str]:
        return [layer for layer in self._layers if is_part(layer, name)]

    def _parts_of_body(self, added: Sum, output: int) -> Iterator[tuple[str, RemovedPart]]:
        """Parts that serve for nothing but a body, each as a whole."""
        seen, taken = self._seen, list[str]()
        body = seen.behind(added.body)
        needed = seen.behind(output, without=(added.number, added.body))
        for name, calls in seen.calls.items():
            one = calls[0]
            if name and one.made in body and needed.isdisjoint(range(one.first, one.end)):
                taken += [name] if self._layers_in(name) else []
        for name in taken:
            if not any(is_part(name, other) for other in taken if other != name):
                layers = self._layers_in(name)
                yield name, RemovedPart(layers=layers, adds_nothing=True)

    def _ends_of_part(self, name: str) -> tuple[str, ...]:
        """A layer of each body that makes it zero, the last that does; empty where one has none."""
        call = self._seen.calls[name][0]
        trial = copy.deepcopy(self._network.module.get_submodule(name))
        ends: list[str] = []
        for number in range(len(self._seen.sums(call))):
            for layer in reversed(record_call(trial, call).layers(trial)):
                before = copy.deepcopy(trial.get_submodule(layer).state_dict())
                _zero(trial, [layer])
                again = record_call(trial, call)
                sums = again.sums(again.calls[""][0])
                if number < len(sums) and sums[number].body_is_zero:
                    ends.append(f"{name}.{layer}")
                    break
                trial.get_submodule(layer).load_state_dict(before)
            else:
                return ()
        return tuple(ends)

    def _ends_of_sum(self, one: Sum, parts: dict[str, RemovedPart]) -> tuple[str, ...]:
        module = self._network.module
        layers = {layer for part in parts.values() for layer in part.layers}
        for layer in reversed(self._seen.layers(module)):
            if layer not in layers:
                continue
            before = copy.deepcopy(module.get_submodule(layer).state_dict())
            _zero(module, [layer])
            again = record(module, self._x)
            module.get_submodule(layer).load_state_dict(before)
            same = (s for s in again.sums_of(one.number) if s.body == one.body)
            if any(s.body_is_zero for s in same):
                return (layer,)
        return ()

    def _add(self, block: ResidualBlock) -> None:
        times = max(len(self._seen.calls[name]) for name in block.parts)
        if times > 1:
            self.stay[block.name] = f"it runs {times} times"
        elif not block.ends:
            self.stay[block.name] = "no layer of it makes what it adds zero"
        elif set(self._layers) <= set(block.layers):
            self.stay[block.name] = "nothing would be left"
        else:
            self.found[block.name] = block

    def _broken(self, blocks: Sequence[ResidualBlock]) -> str:
        """What is wrong without these; empty where nothing is."""
        trial = copy.deepcopy(self._network.module)
        try:
            for block in blocks:
                _zero(trial, block.ends)
            wanted = self._answer(trial)
            for block in blocks:
                remove_parts(trial, block.parts)
            found = self._answer(trial)
        except CannotRunError as error:
            return f"without it {str(error).partition(': ')[2].rstrip('.')}"
        except Exception as error:  # whatever the network's own code raises
            return f"the network's code needs it ({type(error).__name__})"
        near = _LARGEST_DIFFERENCE * float(wanted.abs().max())
        if found.shape != wanted.shape or not float((found - wanted).abs().max()) <= near:
            return "the network's code computes something else without it"
        return ""

    def _answer(self, module: nn.Module) -> Tensor:
        network = Network(module, self._network.card)
        form = architecture_of(network.card).inference_form(network)
        answer: Tensor = run(form.module, self._x)
        return answer


def _inside(one: ResidualBlock, other: ResidualBlock) -> bool:
    """Whether a block is inside another."""
    return one is not other and all(
        any(is_part(part, around) for around in other.parts) for part in one.parts
    )


def _zero(module: nn.Module, layers: Sequence[str]) -> None:
    with torch.no_grad():
        for name in layers:
            for tensor in module.get_submodule(name).parameters(recurse=False):
                tensor.zero_()
