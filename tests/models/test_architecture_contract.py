"""Every row of the table of architectures keeps the contract, and nothing else knows them."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from srdeploy.models.importing.layouts import Importer
from srdeploy.models.network import Network
from srdeploy.models.registry import ARCHITECTURES, OTHER, architecture_of_module, create
from srdeploy.testing import architectures
from srdeploy.testing.architectures import SMALL, check_architecture

PACKAGE = Path(architectures.__file__).parents[1]
TABLE = PACKAGE / "models" / "registry.py"

OF_ONE = {
    "cli/networks.py": "edsr",  # --to edsr-pytorch
    "benchmarking/measuring/sparse.py": "smsr",
    "exporting/onnx/smsr.py": "smsr",
    "runtime/sparse_cuda_session.py": "smsr",
    "runtime/sparse_file.py": "smsr",
    "runtime/sparse_file_session.py": "smsr",
    "runtime/sparse_session.py": "smsr",
    "sparse": "smsr",
    "train/sparsity.py": "smsr",
}
"""Features that one architecture alone has, reached by a row, an option or a recipe's section."""


@pytest.mark.usefixtures("small_builtin", "one_way")
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_contract(name: str) -> None:
    check_architecture(name, **SMALL.get(name, {}))


@functools.cache
def _files() -> dict[str, ast.Module]:
    """What is neither the table nor in a folder of the architectures, by its path."""
    own = {Path(*row.source.partition(":")[0].split(".")[1:-1]) for row in ARCHITECTURES.values()}
    others = {
        place: path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path != TABLE and (place := path.relative_to(PACKAGE)).parent not in own
    }
    return {
        place.as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for place, path in others.items()
    }


def names_compared(tree: ast.AST) -> set[str]:
    """Names of architectures that code compares something with, or picks something by."""
    sides: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides += [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            sides.append(node.value)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            sides += node.args if node.func.attr in ("startswith", "endswith") else []
    inside = (leaf for side in sides for leaf in ast.walk(side) if isinstance(leaf, ast.Constant))
    return {leaf.value for leaf in inside if leaf.value in ARCHITECTURES}


def test_nobody_asks_for_an_architecture_by_its_name() -> None:
    for place, tree in _files().items():
        assert not names_compared(tree), f"{place} compares a name; let a field of the row tell"


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("card.arch == 'smsr'", {"smsr"}),
        ("'vdsr' != arch", {"vdsr"}),
        ("if layout.arch in ('edsr', 'ledsr'): pass", {"edsr", "ledsr"}),
        ("x = 1 if not arch not in {'rirsr'} else 2", {"rirsr"}),
        ("match arch:\n  case 'smsr' | 'vdsr': pass", {"smsr", "vdsr"}),
        ("arch.startswith('edsr')", {"edsr"}),
        ("PROTOCOLS['vdsr'], create('smsr'), arch == name, title == 'EDSR'", set()),
    ],
)
def test_how_a_comparison_is_seen(code: str, names: set[str]) -> None:
    assert names_compared(ast.parse(code)) == names


def test_only_the_table_and_what_one_architecture_has_import_a_folder() -> None:
    folders = {row.source.split(".")[2] for row in ARCHITECTURES.values()}
    found: dict[str, set[str]] = {}
    for place, tree in _files().items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            for name in [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]:
                parts = name.split(".")
                if parts[:2] == ["srdeploy", "models"] and parts[2:3] and parts[2] in folders:
                    key = place if place in OF_ONE else place.partition("/")[0]
                    found.setdefault(key, set()).add(parts[2])
    assert found == {place: {folder} for place, folder in OF_ONE.items()}


def test_reading_the_table_imports_no_torch() -> None:
    code = (
        "import sys; from srdeploy.models.registry import ARCHITECTURES, architecture_names; "
        "architecture_names(); print([m for m in ('torch', 'onnx') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_modules_without_a_row_have_nothing_special() -> None:
    assert architecture_of_module(torch.nn.Conv2d(3, 3, 1)) is OTHER
    ledsr = create("ledsr", n_blocks=1, n_feats=4)
    assert architecture_of_module(ledsr.module) is ARCHITECTURES["ledsr"]  # though it is an EDSR
    assert OTHER.inference_form(ledsr, portable=True) is ledsr
    copied = OTHER.counted_form(ledsr.module)
    assert copied is not ledsr.module
    assert copied.state_dict().keys() == ledsr.module.state_dict().keys()
    assert OTHER.sparse_tracer() is None


def test_the_contract_sees_a_network_that_another_row_recognises(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    greedy = Importer(lambda tensors: True, lambda layout: None)
    monkeypatch.setattr("srdeploy.models.vdsr.layout.VDSR", greedy)
    with pytest.raises(AssertionError, match=r"recognised as \['vdsr', 'edsr'\]"):
        check_architecture("edsr")


def test_the_contract_sees_a_form_that_is_not_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    def worse(network: Network, portable: bool) -> Network:
        other = network.copy()
        with torch.no_grad():
            other.module.tail[0].bias += 1  # type: ignore[union-attr,index,operator]
        return other

    monkeypatch.setattr("srdeploy.models.smsr.dense.dense_masks", worse)
    with pytest.raises(AssertionError, match="the form that runs in its place is not equal"):
        check_architecture("smsr", **SMALL["smsr"] | {"n_modules": 1})
