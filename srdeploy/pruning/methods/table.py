"""The table of pruning methods: one row each.

The command line's help, completion and checks, recipes of the line, their schema and the Python
functions are read off it. Looking at it imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from srdeploy.errors import UserError, unknown_name
from srdeploy.util.plugins import Table

Kind = Literal["scored", "reconstructed", "trained"]


@dataclass(frozen=True)
class Method:
    """A way to choose the channels that go.

    Attributes:
        name: What is typed.
        kind: ``scored``: at once, by the norms of filters; ``reconstructed``: at once, by what the
            network computes on calibration images, and refitted; ``trained``: channels are driven
            to zero before they go.
        summary: For ``--help``, a few words.
        rotates: Of the reconstructed: linear streams get another basis first.
        recipe: Of the trained: the shipped recipe (``configs/prune``) that says how it varies a
            published method; None for a published method.
        chooses: Of the scored, where a method has scores of its own: ``module:function``, called
            with (network, grouping, counts, options), which returns the indices of the atoms that
            go by their group's name, as many as ``counts`` says. None: NNI scores by the criterion.
    """

    name: str
    kind: Kind
    summary: str
    rotates: bool = False
    recipe: str | None = None
    chooses: str | None = None

    @property
    def trains(self) -> bool:
        """Whether it takes a recipe, training images and a run folder."""
        return self.kind == "trained"

    @property
    def scores_by_criterion(self) -> bool:
        """Whether it can be told how to score filters."""
        return self.kind == "scored" and self.chooses is None


def _require_choice(row: Method) -> None:
    if row.kind != "scored" or row.chooses is None:
        raise ValueError("a method of a plug-in is scored, and says what chooses")


METHODS: Table[Method] = Table(
    "methods",
    (
        Method("l1", "scored", "one-shot by filter norm"),
        Method("obs", "reconstructed", "one-shot by cost, then a least-squares refit"),
        Method("reconstruct", "reconstructed", "obs on rotated streams", rotates=True),
        Method("srp", "trained", "ICLR 2022"),
        Method("assl", "trained", "NeurIPS 2021"),
        Method("gassl", "trained", "ASSL with a global ranking"),
        Method("guided", "trained", "ASSL with the dense network as teacher", recipe="guided"),
        Method("fade", "trained", "SRP, faded out, with a teacher", recipe="fade"),
    ),
    check=_require_choice,
)
"""Name to row, in the order in which they are told."""

DEFAULT = "reconstruct"
"""Where none is named."""

SCORED = "l1"
"""Where a criterion is named and no method."""

STEPS = 500
"""Of network-wise reconstruction, where none are asked for and a method always refits."""

CRITERIA = ("l1", "l2", "fpgm", "random")
"""How the scored method ranks filters (``--criterion``)."""


def names(*kinds: Kind) -> tuple[str, ...]:
    """Names of the methods of some kinds, in the table's order."""
    return tuple(name for name, row in METHODS.items() if row.kind in kinds)


def find_method(name: str) -> Method:
    """A row by its name.

    Raises:
        UserError: there is none; the nearest is told.
    """
    if name not in METHODS:
        raise unknown_name("pruning method", name, METHODS)
    return METHODS[name]


def chosen_method(
    name: str | None, *, has_recipe: bool = False, scores: bool = False
) -> Method | None:
    """The method that is meant.

    Args:
        name: What was asked for.
        has_recipe: Whether a recipe was given, which names a method of its own.
        scores: Whether a criterion was, which only one method has.

    Returns:
        Its row; None: the recipe's.

    Raises:
        UserError: there is no such method.
    """
    if name is None:
        return None if has_recipe else METHODS[SCORED if scores else DEFAULT]
    return find_method(name)


def check_settings(
    method: Method | None,
    *,
    trains: bool = False,
    resumes: bool = False,
    scores: bool = False,
    calibrates: bool = False,
    rotates: bool = False,
    refits: bool = False,
    learns: bool = False,
    budget: bool = False,
) -> None:
    """That no setting belongs to another kind of method.

    Args:
        method: The row; None: a recipe's, which trains.
        trains: A recipe, training images, iterations or threads were given.
        resumes: A run folder was, or it was said to begin anew.
        scores: A criterion other than the usual was.
        calibrates: Calibration images were.
        rotates: It was said whether to rotate.
        refits: A refit was asked for.
        learns: A number of steps of network-wise reconstruction was given.
        budget: A number of MACs or parameters was given in place of a ratio.

    Raises:
        UserError: one that does.
    """
    kind = "trained" if method is None else method.kind
    if trains and kind != "trained":
        raise UserError(
            "Recipes, training images, threads and fine-tuning belong to the methods that train: "
            f"choose {_one_of(names('trained'))}, or recover with `srdeploy finetune`."
        )
    if resumes and kind == "scored":
        raise UserError(
            f"Method {SCORED} is done at once and keeps no run folder; leave --run-dir and --fresh "
            "out."
        )
    if scores and kind == "trained":
        raise UserError("criterion belongs to method l1; here choose the common set.")
    if scores and method is not None and not method.scores_by_criterion:
        by = "cost" if kind == "reconstructed" else "scores of its own"
        raise UserError(f"criterion belongs to method l1; {method.name} chooses by {by}.")
    if rotates and not (method and method.rotates):
        raise UserError("Rotation belongs to method reconstruct; leave --no-rotate out.")
    if budget and kind != "reconstructed":
        raise UserError(
            f"A budget of MACs or parameters belongs to method {_one_of(names('reconstructed'))}, "
            "which know what each channel is worth; give the others a ratio."
        )
    if learns and (kind == "trained" or (kind == "scored" and not refits)):
        raise UserError(
            f"Network-wise reconstruction belongs to method {_one_of(names('reconstructed'))}, and "
            f"to {SCORED} with --refit; the methods that train fine-tune instead."
        )
    if calibrates and kind == "scored" and not refits:
        raise UserError(
            f"Calibration images belong to method {_one_of(names('reconstructed'))}, and to any "
            "other with --refit."
        )


def steps_of(method: Method, asked: int | None) -> int:
    """How many steps of network-wise reconstruction follow a refit: what was asked for, if so."""
    if asked is not None:
        return asked
    return STEPS if method.kind == "reconstructed" else 0


def plain(method: Method) -> Method:
    """The same method without rotation: the one of its kind that does not rotate."""
    return next(row for row in METHODS.values() if row.kind == method.kind and not row.rotates)


def _one_of(several: tuple[str, ...]) -> str:
    return f"{', '.join(several[:-1])} or {several[-1]}"
