"""Networks on disk: safetensors, with the card in the header.

A pruned network is its base architecture plus a table of shapes, so a file can be opened, read
and rebuilt by anyone, and nothing in it is ever executed.
"""

from __future__ import annotations

import importlib
import json
import os
import shlex
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from srdeploy.errors import UserError, shown
from srdeploy.models import spandrel_library
from srdeploy.models.card import SPANDREL, Card
from srdeploy.models.card_file import card_metadata, damaged, read_header
from srdeploy.models.digest import weights_sha256
from srdeploy.models.facts import check_card, check_shapes, check_weights
from srdeploy.models.network import Factory, Network
from srdeploy.models.plain_layers import as_imported
from srdeploy.models.registry import base_module
from srdeploy.models.removed_parts import remove_parts
from srdeploy.models.resize import resize, set_numbers, tensor_places
from srdeploy.util.files import atomic_path, check_output
from srdeploy.util.synonyms import nearest

EXPORTED = {
    ".onnx": "an ONNX",
    ".tflite": "a TensorFlow Lite",
    ".mlpackage": "a CoreML",
    ".engine": "a TensorRT",
}
"""Endings of what networks are exported to."""

_SUFFIXES = (".safetensors", ".st", "")


def check_network_path(path: str | Path) -> None:
    """See that a network can be written here, before hours of work end in finding out.

    Raises:
        UserError: the ending is that of something else, the path is a folder, or its parent cannot
            be made or written to.
    """
    _require_suffix(Path(path))
    check_output(path)


def _require_suffix(path: Path) -> None:
    ending = path.suffix.lower()
    if ending in _SUFFIXES:
        return
    own = path.with_suffix(".safetensors")
    if ending in EXPORTED:
        raise UserError(
            f"A network is no {EXPORTED[ending].split(' ', 1)[1]} file: write '{own}', then export "
            f"it with `{shlex.join(['srdeploy', 'export', str(own), '-o', str(path)])}`."
        )
    if ending in (".pt", ".pth"):
        raise UserError(
            f"A network of ours is no torch checkpoint: write '{own}'; for EDSR-PyTorch, `srdeploy "
            "import FILE --to edsr-pytorch -o FILE.pt` writes one."
        )
    raise UserError(f"A network is written as .safetensors: name it '{own}', not '{path}'.")


def save_network(network: Network, path: str | Path) -> None:
    """Write weights, card and their digests to ``path`` (whole or not at all).

    Raises:
        UserError: the ending is that of something else, or it cannot be written there.
    """
    _require_suffix(Path(path))
    tensors = {k: v.detach().cpu().contiguous() for k, v in network.module.state_dict().items()}
    # Tied weights appear under two names; safetensors wants storage of its own for each.
    seen: set[int] = set()
    for name, tensor in tensors.items():
        if tensor.data_ptr() in seen:
            tensors[name] = tensor.clone()
        seen.add(tensor.data_ptr())
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, card_metadata(network.card, weights_sha256(tensors)))
            _order_metadata(temporary)
        except SafetensorError as error:
            raise UserError(f"Cannot write '{path}' ({error}); choose another place.") from error


def _order_metadata(path: Path) -> None:
    """Sort the header's metadata, which safetensors writes in an order drawn by chance.

    Two files of one network are to be equal byte for byte. The text keeps its length.
    """
    with open(path, "r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        assert len(text) <= length
        file.seek(8)
        file.write(text.ljust(length))


def read_network(path: str | Path, *, arch: str | Factory | None = None) -> Network:
    """Rebuild a network from a file of ours.

    Args:
        path: A safetensors file with a card.
        arch: Needed when the card names a network of the user's own
            (``package.module:callable``): a file alone never makes us import code. What makes
            its module will do, too.

    Raises:
        UserError: no such file, not ours, not what was saved, a card that contradicts its
            architecture or tensors, or weights that are not finite.
    """
    card, tensors = _as_saved(path)
    module = empty_module(card, arch, tensors.keys())
    check_weights(tensors, module.state_dict(), str(path))
    ties = [places for places in tensor_places(module).values() if len(places) > 1]
    try:
        module.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        detail = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise UserError(f"The tensors in '{path}' do not fit its card: {shown(detail)}") from error
    for (owner, leaf), *others in ties:  # assigning gives each name a tensor of its own
        for other, name in others:
            setattr(other, name, getattr(owner, leaf))
    check_card(card, module, str(path))
    return Network(module.eval(), card, arch if callable(arch) else None)


def read_into(module: nn.Module, path: str | Path) -> Network:
    """The network in a file of ours, its tensors put into a module of the same shapes.

    Raises:
        UserError: as :func:`read_network`.
    """
    card, tensors = _as_saved(path)
    check_weights(tensors, module.state_dict(), str(path))
    module.load_state_dict(tensors)
    return Network(module.eval(), card)


def _as_saved(path: str | Path) -> tuple[Card, dict[str, Tensor]]:
    header = read_header(path)
    if header is None:
        raise UserError(f"'{path}' has no srdeploy card; turn it into a network with: import.")
    check_shapes(header.card, header.shapes, str(path))
    tensors = _read_tensors(path)
    if header.weights_sha256 not in (None, weights_sha256(tensors)):
        raise damaged(path, "network")
    return header.card, tensors


def _read_tensors(path: str | Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise UserError(f"Cannot read the tensors in '{path}' ({shown(error)}).") from error


def empty_module(
    card: Card, arch: str | Factory | None = None, names: Collection[str] | None = None
) -> nn.Module:
    """The module a card describes: on the meta device, or as a library or the user's code makes it.

    Args:
        card: The card.
        arch: Allows the import that a card of the user's own names; or what makes its module.
        names: Of the tensors that it is to hold, where they are known.

    Raises:
        UserError: code that is not allowed, cannot be imported or makes no module; an ``arch`` for
            a network that needs none.
    """
    if card.arch.startswith(SPANDREL):
        if arch not in (None, card.arch):
            raise UserError(f"This network is built by {card.arch}; leave arch out.")
        module = spandrel_library.base_module(card.arch, card.config)
    elif card.own_code:
        if isinstance(arch, str | None) and arch != card.arch:
            raise UserError(
                f"This network is built by '{card.arch}', which is not part of srdeploy; "
                f"pass --arch {card.arch} to allow importing it."
            )
        module = user_factory(arch or card.arch)().eval()  # holds what no file does: not on meta
    elif callable(arch):
        raise UserError(f"This network is srdeploy's own {card.arch}; leave arch out.")
    else:
        module = base_module(card)
    remove_parts(module, card.removed)
    as_saved = names is not None and names == module.state_dict().keys()
    if ":" in card.arch and (card.computed is not None or not as_saved):  # not as 0.1 wrote it
        module = as_imported(module, card)
    resize(module, card.shapes)
    set_numbers(module, card.numbers)
    return module


def unpruned_module(network: Network) -> nn.Module:
    """The module of a network before any channels were removed; its numbers mean nothing.

    Parts that are gone are gone from it, too.

    Raises:
        UserError: it is built by code that cannot be imported.
    """
    card = network.card
    if network.make is not None:
        module = network.make().eval()
        remove_parts(module, card.removed)
        return as_imported(module, card)
    return empty_module(card.model_copy(update={"shapes": {}, "numbers": {}}), arch=card.arch)


def build(card: Card, *, arch: str | None = None) -> Network:
    """Rebuild a network from the card alone, with fresh random weights (frozen layers excepted)."""
    module = empty_module(card, arch)
    if ":" not in card.arch:
        module = module.to_empty(device="cpu")
    for layer in module.modules():
        if (reset := getattr(layer, "reset_parameters", None)) is not None:
            reset()
    if ":" not in card.arch:
        _restore_frozen(module, card)
    return Network(module.eval(), card)


def _restore_frozen(module: nn.Module, card: Card) -> None:
    from srdeploy.models.layers import MeanShift

    for name, layer in module.named_modules():
        if isinstance(layer, MeanShift) and card.mean_shift is not None:
            sign = -1 if name == "sub_mean" else 1
            layer.load_state_dict(MeanShift(card.value_range, card.mean_shift, sign).state_dict())


def user_factory(arch: str | Factory) -> Factory:
    """What makes the user's module, with one sentence for all that may go wrong.

    Args:
        arch: ``package.module:callable``, imported with the current folder on the path too; or the
            callable itself.

    Raises:
        UserError: it cannot be imported, or is not callable.
    """
    name = arch if isinstance(arch, str) else getattr(arch, "__qualname__", repr(arch))
    factory = _imported(arch) if isinstance(arch, str) else arch
    if not callable(factory):
        raise UserError(f"--arch '{name}' is not callable; name a class or a function.")

    def make() -> nn.Module:
        try:
            module = factory()
        except UserError:
            raise
        except Exception as error:  # whatever the user's code raises
            raise UserError(
                f"'{name}' failed when called without arguments ({type(error).__name__}: {error}); "
                "name a callable that needs none and returns the module."
            ) from error
        if not isinstance(module, nn.Module):
            raise UserError(f"--arch '{name}' returned {type(module).__name__}, not a module.")
        return module

    return make


def _imported(spec: str) -> Any:
    module_name, _, attribute = spec.partition(":")
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    module: Any = None
    try:
        module = importlib.import_module(module_name)
        return getattr(module, attribute)
    except (ImportError, AttributeError, ValueError) as error:
        there = {} if module is None else vars(module)
        near = nearest(attribute, (name for name, one in there.items() if callable(one)))
        meant = f"{module_name.removesuffix('.py')}:{near or attribute}"
        remedy = "give it as package.module:callable, importable from the current folder."
        if meant != spec:
            remedy = f"did you mean '{meant}'?"
        raise UserError(f"Cannot import --arch '{spec}' ({error}); {remedy}") from error
