"""What a card says, word for word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from srdeploy.errors import UserError
from srdeploy.exporting import provenance
from srdeploy.exporting.provenance import Provenance, _told, changed_widths, fold_runs, tell
from srdeploy.exporting.quality_loss import quality_told
from srdeploy.models.card import Card
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.models.store import save_network
from srdeploy.util.files import sha256
from tests.runtime.test_card_of import graph

DIGEST = "0123456789abcdef" * 4


def card(*history: dict[str, Any], **fields: Any) -> Card:
    known = {"arch": "t", "scale": 2, "scales": (2,), "channels": 3, "value_range": 255.0}
    return Card(**(known | fields), history=list(history))


def of_onnx(folder: Path, told: Card) -> Provenance:
    return tell(graph(folder / "net.onnx", **{"srdeploy.card": told.to_json()}))


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"step": "import", "file": "a.pt", "sha256": DIGEST, "recognised_as": "edsr",
          "assumed": ["x", "y"], "ignored": ["z"]},
         ["a.pt (sha256 0123456789ab), edsr", "assumed: x", "assumed: y", "ignored: z"]),
        ({"step": "import", "file": "a.pt"}, ["a.pt (unknown), None"]),
        ({"step": "import", "file": "a.pt", "source": "hf:a/b/a.pt", "stored_as": "float16"},
         ["a.pt (unknown), None", "fetched from hf:a/b/a.pt",
          "its numbers were stored as float16 and are computed in float32"]),
        ({"step": "train", "iterations": 5, "recipe": "r", "data": "d", "loss": "l1", "lr": 0.0002},
         ["5 iterations of recipe r on data d, loss l1, lr 0.0002"]),
        ({"step": "finetune", "iterations": 5, "recipe": "r", "data": "d", "empty": [], "n": None},
         ["5 iterations of recipe r on data d"]),
        ({"step": "export", "target": "onnx", "precision": "fp32"}, ["onnx, fp32"]),
        ({"step": "export", "target": "trt", "precision": "fp16", "opset": 17,
          "pixel_shuffle": "crd", "weights_sha256": DIGEST, "parent_sha256": DIGEST,
          "tools": {"a": "1", "b": "2"},
          "parity": {"tolerance": 1e-3, "sizes": [[20, 24], [29, 17]]}},
         ["trt, fp16, opset 17, pixel shuffle crd", "from weights sha256 0123456789ab",
          "from the ONNX file sha256 0123456789ab",
          "checked: equal to that file within 0.001 of the value range (inputs 24x20, 17x29)",
          "by a 1, b 2"]),
        ({"step": "export", "target": "t", "precision": "p",
          "parity": {"tolerance": 2e-2, "sizes": []}},
         ["t, p", "checked: the picture that PyTorch makes, but for rounding to p"]),
        ({"step": "export", "target": "t", "precision": "p", "parity": {"sizes": 1}},
         ["target t, precision p, parity sizes=1"]),  # none of ours: as it stands
        ({"step": "align", "ratio": 0.5, "layers": ["a", "b"], "by": {"x": 1, "y": [2, 3]},
          "none": "", "no": {}}, ["ratio 0.5, layers a b, by x=1, y=2 3"]),
        ({}, [""]),
    ],
)  # fmt: skip
def test_a_step(entry: dict[str, Any], told: list[str]) -> None:
    assert _told(entry) == told


def test_runs_of_neighbours() -> None:
    assert fold_runs({}) == []
    assert fold_runs({"a": 1, "b": 1, "c": 2, "d": 1, "e": 1, "f": 1}) == [
        ("a", "b", 2, 1), ("c", "c", 1, 2), ("d", "f", 3, 1),
    ]  # fmt: skip


def test_what_it_is_in_one_line(tmp_path: Path) -> None:
    for fields, line in (
        ({}, "t x2, 3 channels, values 0..255"),
        ({"channels": 1, "luma_only": True, "value_range": 1.0}, "t x2, luma, values 0..1"),
        ({"scale": 4, "scales": (4,), "shapes": {"w": [1]}, "arch": "my.code:net"},
         "my.code:net x4, 3 channels, values 0..255, pruned"),
    ):  # fmt: skip
        assert of_onnx(tmp_path, card(**fields)).network == line


@pytest.mark.parametrize("first", ["import", "train", "other"])
def test_what_is_not_known(first: str, tmp_path: Path) -> None:
    entries = [{"step": first, "weights_sha256": DIGEST}, {"step": "x", "weights_sha256": 7}]
    found = of_onnx(tmp_path, card(*entries))
    assert found.weights_sha256 == DIGEST
    origin = "where the first weights came from: no step of import or training is recorded"
    assert found.gaps == ([origin] if first == "other" else [])
    assert [chapter.step for chapter in found.chapters] == [first, "x"]
    assert found.sha256 == sha256(tmp_path / "net.onnx")
    assert found.bytes == (tmp_path / "net.onnx").stat().st_size
    assert found.file == "net.onnx"
    assert found.to_dict()["card"]["arch"] == "t"
    bare = of_onnx(tmp_path, card({"step": "import"}, arch="my.code:net", shapes={"w": [1]}))
    assert bare.weights_sha256 is None
    assert bare.gaps == [
        "which weights were exported: it was written before srdeploy recorded that",
        "the widths before pruning: only my.code:net knows them",
    ]
    assert bare.widths == {}


def test_the_latest_weights_count(tmp_path: Path) -> None:
    other = "f" * 64
    found = of_onnx(tmp_path, card({"step": "a", "weights_sha256": other},
                                   {"step": "b", "weights_sha256": DIGEST}))  # fmt: skip
    assert found.weights_sha256 == DIGEST


def test_pruning_is_told_at_the_last_step_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths = {"a": (8, 4), "b": (8, 4), "c": (8, 6)}
    monkeypatch.setattr(provenance, "changed_widths", lambda told: widths)
    monkeypatch.setattr(provenance, "tell_proof", lambda proof: ["equal", "within 0"])
    steps = [{"step": "prune", "ratio": 0.25}, {"step": "prune", "ratio": 0.5}, {"step": "export"}]
    found = of_onnx(tmp_path, card(*steps, proof={"exact": True}))
    assert [chapter.told for chapter in found.chapters] == [
        ["ratio 0.25"],
        ["ratio 0.5", "a ... b (2 layers): 8 -> 4 channels", "c: 8 -> 6 channels", "proof: equal",
         "within 0"],
        ["None, None"],
    ]  # fmt: skip
    plain = of_onnx(tmp_path, card({"step": "export"}))
    assert plain.chapters[0].told == ["None, None"]
    assert found.chapters[1].facts == steps[1]


def test_widths_are_those_that_changed() -> None:
    network = create("ledsr", n_blocks=1, n_feats=8)
    assert changed_widths(network.card) == {}
    name = next(name for name, width in network.card.widths.items() if width == 8)
    shapes = {f"{name}.weight": [5, 3, 3, 3]}
    changed = network.card.model_copy(
        update={"widths": network.card.widths | {name: 5, "own": 7}, "shapes": shapes}
    )
    assert changed_widths(changed) == {name: (8, 5)}
    assert changed_widths(changed.model_copy(update={"arch": "my.code:net"})) == {}


def test_files_and_names(tmp_path: Path) -> None:
    network = create("ledsr", n_blocks=1, n_feats=4)
    origin = network.card.step(step="train", iterations=1)
    save_network(Network(network.module, origin), tmp_path / "net.safetensors")
    found = tell(str(tmp_path / "net.safetensors"))
    assert found.gaps == []
    assert found.weights_sha256 is not None
    assert tell("edsr-s-x2").file.endswith(".safetensors")
    for name in ("no-such-network", "absent.onnx", str(tmp_path / "absent")):
        with pytest.raises(UserError, match="There is no file"):
            tell(name)


def test_the_network_that_was_kept(tmp_path: Path) -> None:
    kept = {"iteration": 400, "psnr": 34.3127, "start": 34.25, "end": 33.7, "data": "builtin"}
    entry = {"step": "finetune", "iterations": 5, "recipe": "r", "data": "d",
             "trained_on": "6 images of builtin", "kept": kept}  # fmt: skip
    assert _told(entry) == [
        "5 iterations of recipe r on data d, trained on 6 images of builtin",
        "kept iteration 400, 34.313 dB on builtin (34.250 at the start, 33.700 at the end)",
    ]
    del kept["start"]
    assert _told(entry)[1] == "kept iteration 400, 34.313 dB on builtin (33.700 at the end)"


def test_what_8_bits_cost_is_told_as_export_tells_it() -> None:
    quality = {"data": "Set5", "protocol": "psnr[y]", "psnr_fp32": 37.5, "psnr": 37.469,
               "drop": 0.031, "runtimes": {"onnxruntime": 37.469}}  # fmt: skip
    entry = {"step": "export", "target": "onnx", "precision": "int8", "quality": quality,
             "parity": {"tolerance": 0.5, "sizes": [[20, 24]]}}  # fmt: skip
    assert _told(entry) == [
        "onnx, int8",
        "checked: the picture that PyTorch makes, but for rounding to int8 (inputs 24x20)",
        quality_told(quality),
    ]
    assert "0.5" not in " ".join(_told(entry))
