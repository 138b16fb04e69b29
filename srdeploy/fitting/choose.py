"""Widths for a budget: candidates from the exact program, kept near what one ratio would leave."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from srdeploy.errors import UserError
from srdeploy.fitting.conditions import Way
from srdeploy.fitting.grid import half_of
from srdeploy.fitting.limits import EnergyModel
from srdeploy.fitting.memory import MemoryModel
from srdeploy.fitting.predict import Predictor
from srdeploy.fitting.samples import kept_counts
from srdeploy.fitting.solve import Layer, LayerCost, Problem, fastest, solve
from srdeploy.fitting.subject import Subject
from srdeploy.fitting.uses import LayerUse
from srdeploy.fitting.worth import Worth
from srdeploy.reconstruct.allocate import FLOORS, uniform_counts
from srdeploy.reconstruct.budget import Budget

Removed = Mapping[str, int]


@dataclass(frozen=True)
class Chooser:
    """Chooses widths for one way to run a network.

    Attributes:
        subject: The network.
        way: How it runs.
        predict: How long it takes.
        worth: What removals and precisions cost.
        memory: What it needs of memory, where that is limited; None: no limit.
        energy: What it needs of energy, likewise.
    """

    subject: Subject
    way: Way
    predict: Predictor
    worth: Worth
    memory: MemoryModel | None = None
    energy: EnergyModel | None = None

    def within(self, budget: float) -> float:
        """The milliseconds that an image may take within a budget, and within the energy's."""
        return budget if self.energy is None else min(budget, self.energy.most_ms)

    @property
    def block(self) -> int:
        """Channels that the device computes at a time."""
        return self.predict.table.block

    def error(self, removed: Removed) -> float:
        """The error that a choice brings, if those of groups and of the precision add up."""
        return self.worth.precisions[self.way.precision] + sum(
            self.worth.of_removal(name, count)
            for name, count in removed.items()
            if name in self.worth.removals
        )

    def best(self, budget: float) -> dict[str, int] | None:
        """The choice of the smallest error within a budget (ms); None where there is none."""
        budget = self.within(budget)
        return solve(self._problem({}, budget, depth=True), budget)

    def least_ms(self) -> float:
        """The time of the fastest choice."""
        return self.predict(fastest(self._problem({}, 0.0, depth=True)))

    def candidates(self, budget: float) -> list[dict[str, int]]:
        """Choices within a budget, to be tried out.

        The errors of groups add up while each is small, and do not where half of everything goes.
        So the exact choice is also made with no group far below what one ratio for all would leave
        of it, for each of :data:`srdeploy.reconstruct.allocate.FLOORS`; and with residual blocks
        that may go where that seems to be better.

        Returns:
            One ratio for all first, where there is one; empty where nothing is within the budget.
        """
        budget = self.within(budget)
        uniform = self._uniform(budget)
        found = [] if uniform is None else [uniform]
        for floor in (*FLOORS[1:], 0.0):
            lowest = {
                g.name: math.ceil(floor * (len(g.atoms) - (uniform or {}).get(g.name, 0)))
                for g in self.subject.groups
            }
            found += self._solved(lowest, budget, found, depth=False)
            if floor in (FLOORS[1], 0.0) and not any(map(self._shallower, found)):
                found += self._solved(lowest, budget, found, depth=True)
        return found

    def _solved(
        self, lowest: Mapping[str, int], budget: float, known: Sequence[Removed], *, depth: bool
    ) -> list[dict[str, int]]:
        """The exact choice, if there is one and it is new."""
        chosen = solve(self._problem(lowest, budget, depth=depth), budget)
        return [] if chosen is None or chosen in known else [chosen]

    def _shallower(self, removed: Removed) -> bool:
        return any(removed.get(block.name) for block in self.subject.blocks)

    def _uniform(self, budget: float) -> dict[str, int] | None:
        if self.predict({}) <= budget and self._fits({}):
            return {}
        limit = Budget(budget, "ms", lambda network, grouping: self.predict)
        for unit in filter(None, (self.block, half_of(self.block))):
            options = self.subject.options.model_copy(update={"round_to": unit})
            with suppress(UserError):  # no ratio is within it
                return uniform_counts(self.subject.grouping, options, limit, self.predict)
        return None

    def _fits(self, removed: Removed) -> bool:
        return self.memory is None or self.memory.allows(removed)

    def _problem(self, lowest: Mapping[str, int], budget: float, *, depth: bool) -> Problem:
        """The program, with no group below its lowest number of atoms; with blocks that may go."""
        options: dict[str, list[int]] = {}
        errors: dict[str, list[float]] = {}
        unpriced = None
        for group in self.subject.groups:
            total, name = len(group.atoms), group.name
            if name not in self.worth.removals:  # what it would lose by one ratio for all
                if unpriced is None:
                    unpriced = self._uniform(budget) or {}
                options[name], errors[name] = [unpriced.get(name, 0)], [0.0]
                continue
            kept = [k for k in kept_counts(group, self.block) if k >= lowest.get(name, 0)]
            options[name] = [total - k for k in kept]
            errors[name] = [self.worth.of_removal(name, total - k) for k in kept]
        apart: list[tuple[str, str]] = []
        for block in self.subject.blocks if depth else ():
            options[block.name] = [0, 1]
            errors[block.name] = [0.0, self.worth.of_removal(block.name, 1)]
            apart += [(block.name, inner) for inner in block.inside]
        layers = [
            Layer(use.inputs, use.outputs, self._cost(use), use.blocks if depth else ())
            for use in self.subject.uses.layers
        ]
        return Problem(options, errors, layers, self.predict.constant_ms, self.block, apart)

    def _cost(self, use: LayerUse) -> LayerCost:
        def cost(inputs: int, outputs: int) -> float:
            if self.memory is not None and not self.memory.allows_layer(use, inputs, outputs):
                return math.inf
            return self.predict.use_ms(use, inputs, outputs)

        return cost


def front(chooser: Chooser, points: int) -> list[dict[str, int]]:
    """The best choices between the fastest network and the dense one, at about equal ratios."""
    low, high = chooser.least_ms(), chooser.predict({})
    if high <= low:
        return [{}]
    budgets = [low * (high / low) ** (n / (points - 1)) for n in range(points)]
    found: list[dict[str, int]] = []
    for budget in budgets:
        chosen = chooser.best(budget * (1 + 1e-6))
        if chosen is not None and chosen not in found:
            found.append(chosen)
    return found


def impossible(choosers: Sequence[Chooser], budget: float) -> UserError:
    """The error where no network is within a budget: what can be done, in one sentence."""
    able = min(choosers, key=lambda one: one.least_ms())
    least = able.least_ms()
    if least <= budget and able.energy is not None:
        return UserError(
            f"{able.energy.limit:g} mJ are too little: the smallest network that can be made of "
            f"this one takes about {able.energy.mj(least):.3g} mJ ({able.way}); give a larger "
            "--max-mj, or a smaller --input."
        )
    height, width = able.predict.table.input
    return UserError(
        f"A budget of {budget:g} ms is too little for {width}x{height}: the smallest network that "
        f"can be made of this one takes about {least:.3g} ms ({able.way}, at least "
        f"{able.block} channels everywhere); give --budget {_up(least)}ms or more, a smaller "
        "--input, or a network of fewer layers."
    )


def _up(ms: float) -> str:
    """A number of two digits that is a little more."""
    unit = 10 ** (math.floor(math.log10(ms)) - 1)
    return f"{math.ceil(ms * 1.02 / unit) * unit:g}"
