"""What every architecture must do: from its row to an artifact that computes the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from srdeploy.compacting.run import prune_oneshot
from srdeploy.exporting.run import export
from srdeploy.models.architecture import Architecture
from srdeploy.models.count import count
from srdeploy.models.facts import check_card
from srdeploy.models.importing.assemble import assemble
from srdeploy.models.importing.state_dict import StateDict
from srdeploy.models.network import Network
from srdeploy.models.probes import PROBE_SIZES, fit_sizes, photograph
from srdeploy.models.registry import (
    ARCHITECTURES,
    architecture_of_module,
    base_module,
    checked_config,
    create,
)
from srdeploy.models.resize import layer_widths
from srdeploy.models.store import read_network, save_network
from srdeploy.pruning.options import PruneOptions
from srdeploy.quality.protocol import PROTOCOLS
from srdeploy.runtime.open import open_session
from srdeploy.train.defaults import finetune_defaults
from srdeploy.train.recipe import TrainRecipe
from srdeploy.util.strict import parse

SMALL: dict[str, dict[str, Any]] = {
    "imdn": {"n_blocks": 2, "n_distilled": 2, "reduction": 2},
    "rfdn": {"n_blocks": 2, "n_distilled": 4, "esa_feats": 3},
    "rlfn": {"n_blocks": 2, "esa_feats": 3},
    "safmn": {"n_blocks": 2, "n_levels": 2},
    "rcan": {"n_groups": 2, "n_blocks": 2, "reduction": 2},
    "rrdbnet": {"n_blocks": 1},
    "span": {"n_blocks": 2},
    "plksr": {"n_blocks": 2, "n_partial": 4, "side": 5},
    "realplksr": {"n_blocks": 2, "n_partial": 4, "side": 5},
    "smsr": {"n_modules": 2, "n_layers": 2, "mask_feats": 4, "reduction": 2},
}
"""Small networks that three layers of eight channels are not."""

_TOLERANCE = 1e-4  # of the value range, between forms that compute in another order


def check_architecture(name: str, **config: Any) -> None:
    """Take a small network of an architecture through all that networks go through.

    It has three layers of each kind that the row counts, and layers eight channels wide. It is
    made and pruned; both are saved and read, imported from their bare tensors, counted and run, and
    the pruned one is exported to ONNX, also in the sparse form where there is one.

    Args:
        name: A row of :data:`~srdeploy.models.registry.ARCHITECTURES`.
        config: Arguments of its class for the small network, where those do not fit together
            without: others, in place of or beside them.

    Raises:
        AssertionError: what is not as it must be.
        SrdeployError: a step failed; also ``UserError``.
    """
    row = ARCHITECTURES[name]
    _check_row(name, row)
    network = small_network(row, config)
    _check_facts(row, network, config)
    options = PruneOptions(ratio=0.5, exclude=row.leave_alone)
    pruned, report = prune_oneshot(network, options)
    _must(pruned.card.pruned, "no channel can be pruned")
    _must(report.after.params < report.before.params, "pruning does not make it smaller")
    with TemporaryDirectory() as folder:
        for number, one in enumerate((network, pruned)):
            _check_file(one, Path(folder, f"{number}.safetensors"))
            _check_import(row, one)
            _check_forms(row, one)
        _check_exports(row, pruned, Path(folder, "pruned.onnx"))


def small_network(
    row: Architecture, config: Mapping[str, Any], *, width: int = 8, **more: Any
) -> Network:
    """A small network of an architecture, with three layers of each kind that the row counts.

    Args:
        row: The architecture.
        config: Arguments of its class, where these do not fit together (:data:`SMALL`).
        width: Channels of its layers.
        more: Other arguments, which go before all of these.

    Returns:
        The same weights each time; random ones.
    """
    sizes = dict.fromkeys(row.layers, 3) | dict.fromkeys(row.read_by().widths, width)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return create(row.name, **{**sizes, **config, **more})


def _check_row(name: str, row: Architecture) -> None:
    _must(row.name == name, f"the row is called '{row.name}'")
    _must(bool(row.title), "the row has no title")
    options = row.options()
    for key, parameter in options.items():
        _must(
            parameter.annotation in (bool, int, float) and parameter.default is not parameter.empty,
            f"argument {key} of its class is no bool, int or float with a default",
        )
    named = {"scale", *row.layers, *row.read_by().widths}
    _must(named <= {*options}, f"its class lacks the arguments {named - {*options}}")
    for preset in row.presets.values():
        checked_config(row, preset)
    _must(row.protocol is None or row.protocol in PROTOCOLS, f"no protocol {row.protocol}")
    unknown = {*row.recipe_needs} - {*TrainRecipe.model_fields}
    _must(not unknown, f"recipes have no section {unknown}")


def _check_facts(row: Architecture, network: Network, config: dict[str, Any]) -> None:
    card = network.card
    _must(card.arch == row.name and not card.pruned, f"its card says {card}")
    _must(architecture_of_module(network.module) is row, "its module is of another class")
    parse(TrainRecipe, finetune_defaults(card), where="its settings of fine-tuning")
    _must(layer_widths(base_module(card)) == card.widths, "its card does not rebuild it")
    for scale in row.scales or (2,):
        one = small_network(row, config, scale=scale)
        check_card(one.card, one.module, row.name)
        for x, y in zip(_inputs(one), _outputs(one), strict=True):
            expected = [side * one.card.network_scale for side in x.shape[2:]]
            _must(list(y.shape[2:]) == expected, f"x{scale} makes {y.shape} of {x.shape}")


def _check_file(network: Network, path: Path) -> None:
    save_network(network, path)
    read = read_network(path)
    _must(read.card == network.card, "its card changes when it is saved and read")
    _must_equal(network, read, 0.0, "it computes something else once saved and read")


def _check_import(row: Architecture, network: Network) -> None:
    tensors = {f"module.{name}": t.clone() for name, t in network.module.state_dict().items()}
    bare = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    others = [other.name for other in ARCHITECTURES.values() if other.read_by().recognises(bare)]
    _must(others == [row.name], f"its tensors are recognised as {others or 'nothing'}")
    scale = network.card.scale if "scale" in row.read_by().unseen else None
    found = assemble(StateDict(tensors), "its tensors", scale=scale).network
    _must_equal(network, found, 0.0, "it computes something else once imported")
    if not network.card.pruned:
        _must(found.card == network.card, f"imported, its card is {found.card.to_json()}")


def _check_forms(row: Architecture, network: Network) -> None:
    counts = count(network)
    counted = row.counted_form(network.module)
    trained = sum(p.numel() for p in counted.parameters() if p.requires_grad)
    _must(counts.params == trained and counts.macs_720p > 0, f"it is counted as {counts}")
    for portable in (False, True):
        form = row.inference_form(network, portable=portable)
        _must(form.card == network.card, "the form that runs in its place has another card")
        _must_equal(network, form, _TOLERANCE, "the form that runs in its place is not equal")
    with open_session(network, threads=1) as session:
        for x, y in zip(_inputs(network), _outputs(network), strict=True):
            _must_agree(y, torch.from_numpy(session.run(x.numpy())), network, _TOLERANCE, "it runs")


def _check_exports(row: Architecture, network: Network, path: Path) -> None:
    for options in ({}, {"sparse": True}) if row.sparse else ({},):
        report = export(network, "onnx", path, **options)  # refused where it is not equal
        _must(report.parity is not None, "its ONNX file was not compared with it")


def _inputs(network: Network) -> list[Tensor]:
    sizes = fit_sizes(network.module, network.card, PROBE_SIZES[:3])
    return [torch.from_numpy(photograph(network.card, size)) for size in sizes]


def _outputs(network: Network) -> list[Tensor]:
    with torch.inference_mode():
        return [network.module(x) for x in _inputs(network)]


def _must_equal(one: Network, other: Network, tolerance: float, what: str) -> None:
    for expected, found in zip(_outputs(one), _outputs(other), strict=True):
        _must_agree(expected, found, one, tolerance, what)


def _must_agree(
    expected: Tensor, found: Tensor, network: Network, tolerance: float, what: str
) -> None:
    reach = max(network.card.value_range, float(expected.abs().max()))
    gap = float((found - expected).abs().max()) / reach
    _must(gap <= tolerance, f"{what}: {gap:.1e} of the value range is the largest difference")


def _must(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)
