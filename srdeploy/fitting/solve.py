"""The widths that cost the least quality within a budget: an exact choice, as an integer program.

Every group of channels takes one of a few widths, each with the error that it brings. A layer's
time depends on two widths at once, so its cost is a matrix. The program has a 0/1 variable for each
width of each group, and for each pair of groups that a layer joins a variable for each pair of
widths, which sums up to the 0/1 variables over either of them: the usual linearisation of a
quadratic term between one-of-many choices (Sherali and Adams, SIAM J. Discrete Math. 1990). Where a
layer reads several groups at once (a concatenation), their sum has variables of its own. A residual
block that may go is a choice of one of two, and the variables of a layer inside need not add up to
one where it is gone. HiGHS solves it to the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from srdeploy.errors import SrdeployError
from srdeploy.fitting.uses import Width

LayerCost = Callable[[int, int], float]
"""Takes input and output channels, returns milliseconds; infinite: not allowed."""

SECONDS = 120.0
"""For the solver."""

Terms = dict[int, float]
_Key = tuple[int, int, tuple[str, ...]]


@dataclass(frozen=True)
class Layer:
    """A layer whose time two widths decide.

    Attributes:
        inputs: Its input channels,
        outputs: and its output channels.
        cost: Its time.
        blocks: Choices of which it is part: where one of them is not 0, it takes no time.
    """

    inputs: Width
    outputs: Width
    cost: LayerCost
    blocks: tuple[str, ...] = ()

    def gone(self, removed: Mapping[str, int]) -> bool:
        """Whether a choice leaves nothing of it."""
        return any(removed.get(name) for name in self.blocks)


@dataclass(frozen=True)
class Problem:
    """What is to be chosen.

    Attributes:
        options: Of each group, how many atoms it may lose; of a block, 0, or 0 and 1: it may go.
        errors: Of each group, what each of these brings; same order.
        layers: What takes time.
        constant: Milliseconds that nothing changes.
        block: Widths that are sums of several groups' are told apart in steps of this.
        apart: Pairs of blocks that do not go both, because one is inside the other.
    """

    options: Mapping[str, Sequence[int]]
    errors: Mapping[str, Sequence[float]]
    layers: Sequence[Layer]
    constant: float = 0.0
    block: int = 1
    apart: Sequence[tuple[str, str]] = ()

    def ms(self, removed: Mapping[str, int]) -> float:
        """The time of a choice."""
        return self.constant + sum(
            layer.cost(layer.inputs.left(removed), layer.outputs.left(removed))
            for layer in self.layers
            if not layer.gone(removed)
        )

    def error(self, removed: Mapping[str, int]) -> float:
        """The error of a choice."""
        return sum(
            self.errors[name][list(options).index(removed.get(name, 0))]
            for name, options in self.options.items()
        )


def solve(problem: Problem, budget: float) -> dict[str, int] | None:
    """The choice of the smallest error within a budget.

    Args:
        problem: What may be chosen.
        budget: Milliseconds.

    Returns:
        How many atoms each group loses, without those that lose none; None where no choice is
        within the budget.

    Raises:
        SrdeployError: the solver gave up.
    """
    return _Program(problem).best(budget)


def fastest(problem: Problem) -> dict[str, int]:
    """The choice that takes least time, whatever its error.

    Raises:
        SrdeployError: nothing is allowed, or the solver gave up.
    """
    found = _Program(problem).best(None)
    if found is None:
        raise SrdeployError("No choice of widths is allowed at all; give a larger --max-mb.")
    return found


@dataclass(frozen=True)
class _Axis:
    """A width with the variables of the values that it may have."""

    first: int
    widths: list[int]

    @property
    def variables(self) -> range:
        return range(self.first, self.first + len(self.widths))


@dataclass
class _Program:
    problem: Problem
    integer: list[int] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    cost: Terms = field(default_factory=dict)
    rows: list[tuple[Terms, float, float]] = field(default_factory=list)
    groups: dict[str, range] = field(default_factory=dict)
    sums: dict[Width, _Axis] = field(default_factory=dict)
    constant: float = 0.0

    def __post_init__(self) -> None:
        self.constant = self.problem.constant
        for name, options in self.problem.options.items():
            self.groups[name] = self._one_of(len(options))
        for one, other in self.problem.apart:
            self.rows.append(({v: 1.0 for name in (one, other) for v in self._goes(name)}, 0, 1))
        pairs: dict[_Key, np.ndarray] = {}
        places: dict[_Key, tuple[_Axis, _Axis]] = {}
        for layer in self.problem.layers:
            a, b = self._axis(layer.inputs), self._axis(layer.outputs)
            if a is None or b is None or a.first == b.first:
                self._alone(layer, a, b)
                continue
            swapped = a.first > b.first
            first, second = (b, a) if swapped else (a, b)
            found = np.array([[layer.cost(i, o) for o in b.widths] for i in a.widths])
            key = (first.first, second.first, layer.blocks)
            places[key] = (first, second)
            pairs[key] = pairs.get(key, 0) + (found.T if swapped else found)
        for key, (first, second) in places.items():
            self._pair(first, second, pairs[key], key[2])

    def best(self, budget: float | None) -> dict[str, int] | None:
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import csr_array

        count = len(self.upper)
        errors = self._objective() if budget is not None else self.cost
        scale = max(errors.values(), default=0.0) or 1.0
        objective = np.zeros(count)
        for index, value in errors.items():
            objective[index] = value / scale
        rows = list(self.rows)
        if budget is not None:
            rows.append((self.cost, -np.inf, budget - self.constant))
        entries = [(n, i, v) for n, (terms, _, _) in enumerate(rows) for i, v in terms.items()]
        at, columns, values = zip(*entries, strict=True)
        matrix = csr_array((values, (at, columns)), shape=(len(rows), count))
        answer = milp(
            objective,
            integrality=np.array(self.integer),
            bounds=Bounds(np.zeros(count), np.array(self.upper)),
            constraints=LinearConstraint(
                matrix, [low for _, low, _ in rows], [h for *_, h in rows]
            ),
            options={"time_limit": SECONDS, "mip_rel_gap": 1e-6},
        )
        if answer.status == 2:
            return None
        if answer.x is None:
            raise SrdeployError(
                f"The choice of widths was not found within {SECONDS:g} s; give --exclude patterns "
                "for layers that shall stay."
            )
        chosen = {
            name: int(self.problem.options[name][int(np.argmax(answer.x[span]))])
            for name, span in ((n, slice(r.start, r.stop)) for n, r in self.groups.items())
        }
        return {name: removed for name, removed in chosen.items() if removed}

    def _objective(self) -> Terms:
        return {
            variable: error
            for name, variables in self.groups.items()
            for variable, error in zip(variables, self.problem.errors[name], strict=True)
        }

    def _variable(self, integer: bool) -> int:
        self.integer.append(int(integer))
        self.upper.append(1.0)
        return len(self.upper) - 1

    def _one_of(self, count: int) -> range:
        variables = [self._variable(integer=True) for _ in range(count)]
        self.rows.append((dict.fromkeys(variables, 1.0), 1.0, 1.0))
        return range(variables[0], variables[-1] + 1)

    def _goes(self, block: str) -> list[int]:
        """The variable of a block's going; none where it may not."""
        options = self.problem.options.get(block, ())
        return [v for v, gone in zip(self.groups.get(block, ()), options, strict=False) if gone]

    def _unless_gone(self, variables: Sequence[int], blocks: Sequence[str]) -> None:
        """They add up to one, unless one of the blocks is gone."""
        gone = [variable for name in blocks for variable in self._goes(name)]
        self.rows.append((dict.fromkeys([*variables, *gone], 1.0), 1.0, np.inf))

    def _axis(self, width: Width) -> _Axis | None:
        """The variables of a width; None where nothing changes it."""
        parts = [(name, each) for name, each in width.parts if name in self.groups]
        if not parts:
            return None
        if len(parts) == 1:
            name, _ = parts[0]
            widths = [width.left({name: removed}) for removed in self.problem.options[name]]
            return _Axis(self.groups[name].start, widths)
        if width not in self.sums:
            self.sums[width] = self._sum(width, parts)
        return self.sums[width]

    def _sum(self, width: Width, parts: Sequence[tuple[str, float]]) -> _Axis:
        block = self.problem.block
        least = width.left({name: max(self.problem.options[name]) for name, _ in parts})
        widths = list(range(-(-least // block) * block, width.full + block, block))
        variables = self._one_of(len(widths))
        link: Terms = {v: float(w) for v, w in zip(variables, widths, strict=True)}
        for name, each in parts:
            for variable, removed in zip(
                self.groups[name], self.problem.options[name], strict=True
            ):
                link[variable] = link.get(variable, 0.0) + each * removed
        # The value that is chosen is the sum, rounded up to a block.
        self.rows.append((link, width.full, width.full + block - 1))
        return _Axis(variables.start, widths)

    def _alone(self, layer: Layer, a: _Axis | None, b: _Axis | None) -> None:
        """A layer whose time one choice decides, or none."""
        axis = a or b
        if axis is None:
            ms = layer.cost(layer.inputs.full, layer.outputs.full)
            self.constant += ms
            for variable in (v for name in layer.blocks for v in self._goes(name)):
                self._takes(variable, -ms)
            return
        into = a.widths if a else [layer.inputs.full] * len(axis.widths)
        out = b.widths if b else [layer.outputs.full] * len(axis.widths)
        own: Sequence[int] = axis.variables
        if layer.blocks:  # the width of what is gone takes no time
            own = [self._variable(integer=False) for _ in axis.variables]
            for variable, width in zip(own, axis.variables, strict=True):
                self.rows.append(({variable: 1.0, width: -1.0}, -np.inf, 0.0))
            self._unless_gone(own, layer.blocks)
        for variable, i, o in zip(own, into, out, strict=True):
            self._takes(variable, layer.cost(i, o))

    def _pair(self, a: _Axis, b: _Axis, ms: np.ndarray, blocks: Sequence[str]) -> None:
        joint = [[self._variable(integer=False) for _ in b.variables] for _ in a.variables]
        least = -np.inf if blocks else 0.0
        for row, variable in zip(joint, a.variables, strict=True):
            self.rows.append(({**dict.fromkeys(row, 1.0), variable: -1.0}, least, 0.0))
        for column, variable in zip(zip(*joint, strict=True), b.variables, strict=True):
            self.rows.append(({**dict.fromkeys(column, 1.0), variable: -1.0}, least, 0.0))
        if blocks:
            self._unless_gone([v for row in joint for v in row], blocks)
        for row, times in zip(joint, ms, strict=True):
            for variable, each in zip(row, times, strict=True):
                self._takes(variable, float(each))

    def _takes(self, variable: int, ms: float) -> None:
        if math.isinf(ms):
            self.upper[variable] = 0.0
        else:
            self.cost[variable] = self.cost.get(variable, 0.0) + ms
