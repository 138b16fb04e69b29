"""A row of the table of architectures: data, and the names of code that is imported when used.

Whoever meets a network asks its row what is special about it, never for its name.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from srdeploy.util.plugins import code_of

if TYPE_CHECKING:
    from torch import nn

    from srdeploy.models.importing.layouts import Importer
    from srdeploy.models.network import Network

# No torch here: tables are read to complete a command line, and to measure artifacts.


@dataclass(frozen=True)
class Architecture:
    """One row of the table. Code is named as ``module:name``.

    Attributes:
        name: What ``--arch`` and the card call it.
        title: One line for lists.
        source: The class of its module. The class has ``facts()``, and its arguments are what a
            card keeps as ``config``; ``scale``, ``n_feats``, ``mean_shift``, ``value_range`` and
            ``res_scale`` mean the same in all classes that have them.
        importer: Its :class:`~srdeploy.models.importing.layouts.Importer`: how files of it are
            recognised, named, laid out and prepared.
        presets: Published configurations by name.
        layers: Options that count layers: their product is at most the number of convolutions.
        leave_alone: Layer patterns whose outputs the published runs never prune (they only lose
            inputs): the default of ``srdeploy prune --exclude``.
        scales: Factors it can be built for; None for any.
        protocol: Of quality, under which its figures are published; None where its channels tell.
        finetune: Settings that its fine-tuning and its recovery need beyond the usual ones.
        recipe_needs: Sections without which a recipe does not train it, and the sentence for each.
        inference: What makes, of a network, the form that runs and is exported in its place, with
            the same numbers: ``(network, portable) -> Network``, ``portable`` for formats that
            lack some operators. None where the module itself is.
        counted: What makes, of a module, the one whose multiply-accumulates published tables count.
        sparse: What traces a network in a form that computes some pixels only, for
            ``--sparse``: ``(network, precision, trace) -> (model, note)``.
        no_sparse: Why some targets cannot take that form.
        decides: It compares what it computes with thresholds, so that coarser arithmetic turns
            single choices over.
        tiles_differ: Why tiles do not give exactly what the whole image gives, where it sees all of
            the image.
    """

    name: str
    title: str
    source: str
    importer: str
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    layers: tuple[str, ...] = ("n_blocks",)
    leave_alone: tuple[str, ...] = ()
    scales: tuple[int, ...] | None = (2, 3, 4, 8)
    protocol: str | None = None
    finetune: Mapping[str, Any] = field(default_factory=dict)
    recipe_needs: Mapping[str, str] = field(default_factory=dict)
    inference: str | None = None
    counted: str | None = None
    sparse: str | None = None
    no_sparse: str = ""
    decides: bool = False
    tiles_differ: str = ""

    def factory(self) -> type[nn.Module]:
        """The module class."""
        return code_of(self.source)

    def options(self) -> Mapping[str, inspect.Parameter]:
        """The arguments of the module class, annotations evaluated."""
        return inspect.signature(self.factory(), eval_str=True).parameters

    def read_by(self) -> Importer:
        """How its files are read."""
        return code_of(self.importer)

    def inference_form(self, network: Network, *, portable: bool = False) -> Network:
        """What runs and is exported in place of a network; the network itself where that is so."""
        if self.inference is None:
            return network
        return code_of(self.inference)(network, portable)

    def counted_form(self, module: nn.Module) -> nn.Module:
        """A copy of a module, as published tables count it."""
        if self.counted is None:
            return copy.deepcopy(module)
        return code_of(self.counted)(module)

    def sparse_tracer(self) -> Callable[..., Any] | None:
        """What :attr:`sparse` names."""
        return None if self.sparse is None else code_of(self.sparse)
