"""What the user asks of a pruning run, and how many channels that leaves."""

from __future__ import annotations

import math
from fnmatch import fnmatchcase
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    field_validator,
    model_serializer,
)

from srdeploy.errors import UserError, unknown_name
from srdeploy.pruning.blocks import BLOCKS, HERE, find_block, targets
from srdeploy.pruning.methods.table import CRITERIA
from srdeploy.pruning.tracing.groups import Group, Grouping


def _channels(value: Any) -> Any:
    if not isinstance(value, str) or value.isdecimal():
        return value
    known = ["auto", *targets()]
    if value not in known:
        raise unknown_name("value of round_to", value, known)
    return find_block(HERE if value == "auto" else value).channels


Channels = Annotated[
    int,
    BeforeValidator(_channels),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"enum": ["auto", *dict.fromkeys(row.target for row in BLOCKS)]},
            ]
        }
    ),
]
"""A number of channels; ``auto``: the block that this machine's CPU computes at a time; or the
block of a target by its name (:mod:`srdeploy.pruning.blocks`). Once read, always the number."""


NOTABLE = 0.05
"""Between the share of channels that was asked for and the one that goes: worth a word."""


class PruneOptions(BaseModel):
    """Options common to every pruning method.

    Attributes:
        ratio: Fraction of channels to remove from each group (the papers' pruning ratio).
        layer_ratios: Layer pattern to its own ratio (``stage_pr`` of the published tools).
        exclude: Patterns of layers whose output channels stay (``skip_layers``).
        round_to: Keep the nearest multiple of this many channels (SIMD blocks, tensor cores);
            ``auto``: of the block of this machine's CPU, ``trt-int8``...: of a target's.
        criterion: One of :data:`CRITERIA`.
        seed: For the random criterion.
        remove_blocks: Patterns of residual blocks that go entirely, by their names
            (:mod:`srdeploy.pruning.tracing.residual_blocks`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ratio: float
    layer_ratios: dict[str, float] = Field(default_factory=dict)
    exclude: tuple[str, ...] = ()
    round_to: Channels = 1
    criterion: str = "l1"
    seed: int = 0
    remove_blocks: tuple[str, ...] = ()

    @model_serializer(mode="wrap")
    def _written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without a field that says nothing: so it was before there was this one."""
        values: dict[str, Any] = handler(self)
        if not values.get("remove_blocks"):
            values.pop("remove_blocks", None)
        return values

    @field_validator("ratio")
    @classmethod
    def _ratio_is_a_fraction(cls, ratio: float) -> float:
        return check_ratio(ratio)

    @field_validator("layer_ratios")
    @classmethod
    def _ratios_are_fractions(cls, ratios: dict[str, float]) -> dict[str, float]:
        return {pattern: check_ratio(ratio) for pattern, ratio in ratios.items()}

    @field_validator("round_to")
    @classmethod
    def _at_least_one(cls, round_to: int) -> int:
        if round_to < 1:
            raise UserError(f"--round-to {round_to} is impossible; give 1 or more.")
        return round_to

    @field_validator("criterion")
    @classmethod
    def _known_criterion(cls, criterion: str) -> str:
        if criterion not in CRITERIA:
            raise unknown_name("criterion", criterion, CRITERIA)
        return criterion


def check_ratio(ratio: float) -> float:
    """A pruning ratio, 0 <= ratio < 1.

    Raises:
        UserError: anything else, nan included.
    """
    if not 0 <= ratio < 1:
        raise UserError(
            f"Pruning ratio {ratio:g} is impossible; give the fraction to remove, "
            "from 0 up to (not including) 1, for instance 0.5."
        )
    return ratio


def count_removed(total: int, ratio: float, round_to: int = 1, block: int = 1) -> int:
    """Atoms to remove of ``total``.

    ``min(ceil(ratio * total), total - 1)`` as the published codes count; with ``round_to`` the
    number of channels kept (atoms times ``block``) moves to the nearest multiple, up on a tie, at
    least one multiple and at most all.
    """
    removed = min(math.ceil(ratio * total - 1e-9), total - 1)
    if round_to > 1 and removed > 0:
        unit = round_to / math.gcd(round_to, block)
        kept = max(1, math.floor((total - removed) / unit + 0.5)) * unit
        removed = max(0, total - int(kept))
    return removed


def departure(group: Group, options: PruneOptions) -> str | None:
    """Why another share of a group's channels goes than was asked for; None where it hardly does.

    Multiples of a block are a coarse choice where a layer has few of them.
    """
    asked, total = group_ratio(group, options), len(group.atoms)

    def share(round_to: int) -> float:
        return count_removed(total, asked, round_to, group.block) / total

    def near(round_to: int) -> bool:
        return abs(share(round_to) - asked) < NOTABLE + 1e-9

    if near(options.round_to):
        return None
    told = (
        f"of {total * group.block} channels {share(options.round_to):.0%} go where {asked:.0%} was "
        "asked for"
    )
    if options.round_to == 1:
        return f"{told}: the number is rounded up, and one always stays"
    told += f": --round-to {options.round_to} keeps a multiple of {options.round_to}"
    halves = [options.round_to >> k for k in range(1, options.round_to.bit_length())]
    if (fitting := next(filter(near, halves), None)) is not None:
        told += f"; --round-to {fitting} would remove {share(fitting):.0%}"
    return told


def nothing_to_prune(grouping: Grouping, options: PruneOptions) -> UserError:
    """The error where no group loses a channel."""
    finer = options.model_copy(update={"round_to": 1})
    if options.round_to > 1 and removals(grouping, finer):
        told = departures(grouping, options)
        why = told[0] if told else f"--round-to {options.round_to} keeps all channels"
        return UserError(f"Nothing to prune: {why}.")
    return UserError(
        "Nothing to prune: every group is untouchable, excluded, or too small for the ratio; "
        "see `srdeploy inspect FILE --groups`."
    )


def departures(grouping: Grouping, options: PruneOptions) -> list[str]:
    """What :func:`departure` has to say of all groups, each sentence once."""
    told = (departure(g, options) for g in prunable(grouping, options))
    return list(dict.fromkeys(filter(None, told)))


def _may_go(group: Group, options: PruneOptions) -> bool:
    return group.status != "untouchable" and excluded_by(group, options) is None


def prunable(grouping: Grouping, options: PruneOptions) -> list[Group]:
    """The groups that may lose channels."""
    return [group for group in grouping.groups if _may_go(group, options)]


def removals(grouping: Grouping, options: PruneOptions) -> dict[str, int]:
    """How many atoms each group loses, by group name; groups that lose none are left out.

    Raises:
        UserError: a pattern that matches no layer, or coupled layers given different ratios.
    """
    check_patterns(grouping, (*options.exclude, *options.layer_ratios))
    counts: dict[str, int] = {}
    for group in prunable(grouping, options):
        ratio = group_ratio(group, options)
        removed = count_removed(len(group.atoms), ratio, options.round_to, group.block)
        if removed:
            counts[group.name] = removed
    return counts


def excluded_by(group: Group, options: PruneOptions) -> str | None:
    """The pattern that leaves this group alone, if any."""
    for pattern in options.exclude:
        if matches(group, pattern):
            return pattern
    return None


def matches(group: Group, pattern: str) -> bool:
    """Whether a pattern names one of the group's layers."""
    return any(fnmatchcase(layer, pattern) for layer in group.layers)


def group_ratio(group: Group, options: PruneOptions) -> float:
    """The ratio of a group: of the pattern that names one of its layers, else the common one."""
    found = {
        pattern: ratio for pattern, ratio in options.layer_ratios.items() if matches(group, pattern)
    }
    if len(set(found.values())) > 1:
        named = ", ".join(f"'{p}' {r:g}" for p, r in found.items())
        raise UserError(
            f"Layers {', '.join(group.layers[:3])}{'...' if len(group.layers) > 3 else ''} are "
            f"coupled and need one ratio, but the patterns give several ({named})."
        )
    return next(iter(found.values()), options.ratio)


def check_patterns(grouping: Grouping, patterns: tuple[str, ...]) -> None:
    """Every pattern names a layer.

    Raises:
        UserError: one does not; the sentence lists the layers there are.
    """
    names = grouping.layer_names()
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            shown = ", ".join(names[:12]) + (f" ... ({len(names)} layers)" if names[12:] else "")
            raise UserError(f"No layer matches '{pattern}'; the layers are: {shown}.")
