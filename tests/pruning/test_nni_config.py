from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from srdeploy.cli.main import run
from srdeploy.errors import UserError
from srdeploy.models.registry import create
from srdeploy.models.store import read_network, save_network
from srdeploy.pruning.nni_config import read_nni_config, settings
from srdeploy.pruning.options import PruneOptions, removals
from srdeploy.pruning.tracing.groups import find_groups

NETWORK = create("edsr", scale=2, n_blocks=2, n_feats=8)
GROUPING = find_groups(NETWORK)


def read(tmp_path: Path, text: str) -> dict[str, Any]:
    path = tmp_path / "config.txt"
    path.write_text(text)
    return settings(read_nni_config(path), NETWORK.module, GROUPING)


def widths(found: dict[str, Any]) -> dict[str, int]:
    """First layer of each group that shrinks, and how much it loses."""
    counts = removals(GROUPING, PruneOptions(**found))
    return {g.layers[0]: counts[g.name] for g in GROUPING.groups if g.name in counts}


@pytest.mark.parametrize(
    "text",
    [
        "[{'sparsity': 0.5, 'op_types': ['Conv2d']}]",
        "[{'sparsity_per_layer': 0.5, 'op_types': ['default']}]",
        "- {sparsity: 0.5, op_types: [Conv2d]}",
        "[{'sparsity': 0.25, 'op_types': ['Conv2d']}, {'sparsity': 0.5, 'op_partial_names': ['']}]",
    ],
)
def test_all_layers_alike(tmp_path: Path, text: str) -> None:
    assert widths(read(tmp_path, text)) == widths({"ratio": 0.5})


def test_the_last_word_on_a_layer_counts_and_excluded_groups_stay(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "[{'sparsity': 0.5, 'op_types': ['Conv2d']},"
        " {'sparsity': 0.25, 'op_names': ['body.0.body.0']},"
        " {'exclude': True, 'op_partial_names': ['tail', 'head']}]",
    )
    assert found["ratio"] == 0.0
    # head.0 writes the stream, so that the whole stream stays.
    assert widths(found) == {"body.0.body.0": 2, "body.1.body.0": 4}


def test_names_alone(tmp_path: Path) -> None:
    found = read(tmp_path, "[{'sparsity': 0.5, 'op_names': ['body.1.body.0']}]")
    assert widths(found) == {"body.1.body.0": 4}
    assert found["exclude"] == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{'sparsity': 0.5}", "is no NNI configuration; write the list itself"),
        ("[0.5]", "is no NNI configuration"),
        ("[]", "is an empty list"),
        ("[{'sparsity': 0.5}]", "name layers with op_types, op_names or op_partial_names"),
        ("[{'op_types': ['Conv2d']}]", "give sparsity, or exclude: True"),
        ("[{'sparsity': 1.5, 'op_types': ['Conv2d']}]", "entry 0.sparsity: Input should be less"),
        ("[{'sparsity': .5, 'sparsity_per_layer': .5, 'op_types': ['Conv2d']}]", "give one"),
        ("[{'total_sparsity': 0.5, 'op_types': ['Conv2d']}]", "--ratio auto --params N"),
        ("[{'sparsity': 0.5, 'op_typs': ['Conv2d']}]", "op_typs"),
        ("[{'sparsity': 0.5, 'op_types': ['Conv3d']}]", "names no layer with channels: op_types"),
        ("[{'exclude': True, 'op_names': ['haed.0']}]", "names no layer with channels: op_names"),
        (
            "[{'sparsity': .5, 'op_types': ['Conv2d']}, {'sparsity': .2, 'op_names': ['head.0']}]",
            "gives coupled layers several sparsities",
        ),
        ("!!python/object/apply:os.system ['true']", "is not valid YAML"),
    ],
)
def test_what_cannot_be_followed_is_told(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError) as refused:
        read(tmp_path, text)
    assert words in str(refused.value)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dense, out, config = (tmp_path / name for name in ("a.safetensors", "b.safetensors", "c.txt"))
    save_network(NETWORK, dense)
    config.write_text("[{'sparsity': 0.5, 'op_partial_names': ['body.0.']}]")
    asked = ["prune", str(dense), "--nni-config", str(config), "--no-quality", "-o", str(out)]
    assert run(asked) == 0
    kept = read_network(out).card.widths
    assert (kept["body.0.body.0"], kept["body.1.body.0"], kept["head.0"]) == (4, 8, 4)
    capsys.readouterr()
    for more in (
        ["--ratio", "0.5"],
        ["--layer-ratio", "a=0.5"],
        ["--method", "obs", "--macs", "1G"],
    ):
        assert run([*asked, *more]) == 2
        assert "--nni-config says" in " ".join(capsys.readouterr().err.split())
    assert run([*asked[:3], str(tmp_path / "none.txt"), "-o", str(out)]) == 2
    assert "There is no file" in capsys.readouterr().err
