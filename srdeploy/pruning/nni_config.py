"""NNI's list of pruning configurations, as ratios of the groups that its layers belong to.

A list of mappings, in Python's or YAML's notation, as NNI 2 takes it (``config_list``)::

    [{'sparsity': 0.5, 'op_types': ['Conv2d']},
     {'exclude': True, 'op_names': ['tail.0']}]

A later entry replaces what earlier ones say of a layer. NNI masks every layer by itself; here what
is coupled goes together, so all layers of a group that are named must have one sparsity, and a
group in which a layer is excluded stays.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, TypeAdapter, ValidationError, model_validator
from torch import nn

from srdeploy.errors import UserError
from srdeploy.pruning.tracing.groups import Grouping
from srdeploy.util.bounded_yaml import read_file
from srdeploy.util.strict import Strict

DEFAULT_TYPES = ("Conv2d", "ConvTranspose2d", "Linear")
"""Module types that ``op_types: [default]`` stands for."""


class NniEntry(Strict):
    """One configuration.

    Attributes:
        sparsity: Fraction of channels to remove from each layer named.
        sparsity_per_layer: The same, by its other name.
        op_types: Class names of modules; ``default``: :data:`DEFAULT_TYPES`.
        op_names: Names of modules.
        op_partial_names: Parts of names.
        exclude: Leave these layers alone.
    """

    sparsity: float | None = Field(default=None, ge=0, lt=1)
    sparsity_per_layer: float | None = Field(default=None, ge=0, lt=1)
    op_types: tuple[str, ...] | None = None
    op_names: tuple[str, ...] | None = None
    op_partial_names: tuple[str, ...] | None = None
    exclude: bool = False

    @model_validator(mode="after")
    def _says_what_and_of_which(self) -> NniEntry:
        if self.op_types is None and self.op_names is None and self.op_partial_names is None:
            raise ValueError("name layers with op_types, op_names or op_partial_names")
        if self.sparsity is not None and self.sparsity_per_layer is not None:
            raise ValueError("sparsity and sparsity_per_layer are the same; give one")
        if not self.exclude and self.ratio is None:
            raise ValueError("give sparsity, or exclude: True")
        return self

    @property
    def ratio(self) -> float | None:
        """The sparsity by whichever name it was given."""
        return self.sparsity if self.sparsity is not None else self.sparsity_per_layer

    def names(self, layer: str, module: nn.Module) -> bool:
        """Whether it is about a layer."""
        if self.op_types is not None:
            types = {t for t in self.op_types if t != "default"}
            if "default" in self.op_types:
                types |= set(DEFAULT_TYPES)
            if type(module).__name__ not in types:
                return False
        if self.op_names is None and self.op_partial_names is None:
            return True
        return layer in (self.op_names or ()) or any(
            part in layer for part in self.op_partial_names or ()
        )


def read_nni_config(path: Path) -> tuple[NniEntry, ...]:
    """Read a configuration list; nothing in the file is run.

    Raises:
        UserError: no such file, no list of mappings, or an entry that cannot be followed here.
    """
    values = read_file(path)
    if not isinstance(values, list) or not all(isinstance(one, dict) for one in values):
        raise UserError(
            f"'{path}' is no NNI configuration; write the list itself, for instance "
            "[{'sparsity': 0.5, 'op_types': ['Conv2d']}]."
        )
    if any("total_sparsity" in one for one in values):
        raise UserError(
            f"'{path}': total_sparsity ranks all layers together; use sparsity, or a budget: "
            "srdeploy prune --method obs --ratio auto --params N."
        )
    try:
        found = TypeAdapter(tuple[NniEntry, ...]).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"'{path}', entry {where}: {first['msg']}.") from error
    if not found:
        raise UserError(f"'{path}' is an empty list; nothing would be pruned.")
    return found


def settings(
    entries: tuple[NniEntry, ...], module: nn.Module, grouping: Grouping
) -> dict[str, Any]:
    """Values for :class:`~srdeploy.pruning.options.PruneOptions`: ratio, layer_ratios and exclude.

    Raises:
        UserError: layers that are coupled were given different sparsities, or a name or type that
            no layer with channels has.
    """
    layers = {name: module.get_submodule(name) for name in grouping.layer_names()}
    for entry in entries:
        if not any(entry.names(name, layer) for name, layer in layers.items()):
            raise UserError(
                f"The NNI configuration names no layer with channels: {_words(entry)}; see "
                "`srdeploy inspect FILE --groups`."
            )
    last: dict[str, NniEntry] = {
        name: entry
        for name, layer in layers.items()
        for entry in entries
        if entry.names(name, layer)
    }
    ratios = {
        name: entry.ratio
        for name, entry in last.items()
        if not entry.exclude and entry.ratio is not None
    }
    for group in grouping.groups:
        asked = {layer: ratios[layer] for layer in group.layers if layer in ratios}
        if group.status != "untouchable" and len(set(asked.values())) > 1:
            told = ", ".join(f"{layer} {ratio:g}" for layer, ratio in asked.items())
            raise UserError(
                f"The NNI configuration gives coupled layers several sparsities ({told}); give "
                "them one."
            )
    excluded = tuple(name for name, entry in last.items() if entry.exclude)
    return {"ratio": 0.0, "layer_ratios": ratios, "exclude": excluded}


def _words(entry: NniEntry) -> str:
    given = entry.model_dump(
        exclude_none=True, include={"op_types", "op_names", "op_partial_names"}
    )
    return ", ".join(f"{key} {', '.join(values)}" for key, values in given.items())
