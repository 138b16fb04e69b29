"""What is read from stores, JSON and folders of runs, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from srdeploy.benchmarking.measuring.row import Row, measurement_of, row_of
from srdeploy.errors import UserError
from srdeploy.reporting.sources import Evidence, read_sources
from tests.reporting.material import measurement, measurements, write_store


def write_run(root: Path, cards: dict[str, object], quality: str | None = None) -> Path:
    """A run's folder with cards of stages only."""
    for folder, card in cards.items():
        (root / folder).mkdir(parents=True)
        text = card if isinstance(card, str) else json.dumps(card)
        (root / folder / "card.json").write_text(text)
    if quality is not None:
        (root / "70_bench").mkdir(exist_ok=True)
        (root / "70_bench" / "quality.json").write_text(quality)
    return root


def rows() -> list[Row]:
    found = measurements()[:3]
    return [row_of(one, found[0]) for one in found]


def test_each_measurement_counts_once(tmp_path: Path) -> None:
    store = write_store(tmp_path / "a.sqlite", measurements())
    evidence = read_sources([store, store, *rows()])
    assert len(evidence.entries) == len(measurements())
    assert evidence.names == [str(store), str(store), *(row.artifact for row in rows())]
    assert {entry.folder for entry in evidence.entries} == {tmp_path}
    assert [e.row.artifact for e in evidence.finished] == [
        one.artifact for one in measurements() if one.error is None
    ]


@pytest.mark.parametrize(
    "change",
    [{"artifact": "b"}, {"sha256": "0" * 64}, {"device": "ssh://b"}, {"started": "2026-01-01"},
     {"repeat": 1}, {"input": (1, 3, 8, 8)}],
)  # fmt: skip
def test_what_differs_in_its_identity_counts_twice(change: dict[str, object]) -> None:
    one = rows()[0]
    assert len(read_sources([one, one.model_copy(update=change)]).entries) == 2
    assert len(read_sources([one, one.model_copy(update={"p50_ms": 1.0})]).entries) == 1


def test_ratios_refer_to_the_first_of_the_same_turns(tmp_path: Path) -> None:
    ones = [
        measurement(f"{n}.onnx", ms, None, 1e9, session=session, device=device, repeat=repeat)
        for n, (ms, session, device, repeat) in enumerate(
            [
                (40, "s", "local", 0),
                (20, "s", "local", 0),
                (10, "s", "adb://x", 0),
                (5, "s", "local", 1),
                (2.5, "s", "local", 1),
                (1, "t", "local", 0),
            ]
        )
    ]
    found = read_sources([write_store(tmp_path / "a.sqlite", ones)]).entries
    ratios = {e.row.artifact: e.row.speedup for e in found}
    assert ratios["1.onnx"] == pytest.approx(2, rel=0.02)
    assert ratios["4.onnx"] == pytest.approx(2, rel=0.02)
    assert [ratios[f"{n}.onnx"] for n in (0, 2, 3, 5)] == [None] * 4


def test_a_run_is_its_cards_its_quality_and_its_store(tmp_path: Path) -> None:
    root = write_run(
        tmp_path / "run",
        {
            "20_pruned": {"stage": "20_pruned"},
            "10_model": {"stage": "10_model"},
            "80_report": {"stage": "80_report"},
            "90_else": {"stage": "90_else"},
            "30_other": {"what": "no stage"},
            "40_tuned": [1],
            "4x_odd": {"stage": "4x_odd"},
        },
        json.dumps({"tuned": {"psnr_y": 33}, "dense": {"psnr_y": 34}, "else": {}}),
    )
    write_store(root / "70_bench" / "results.sqlite", measurements()[:2])
    evidence = read_sources([root])
    (run,) = evidence.runs
    assert run.root == root
    assert [card["stage"] for card in run.cards] == [*("10_model", "20_pruned", "90_else")]
    assert list(run.quality.items()) == [("dense", {"psnr_y": 34}), ("tuned", {"psnr_y": 33})]
    assert {entry.folder for entry in evidence.entries} == {root}
    assert run.network("tuned") is None
    (root / "40_tuned" / "tuned.safetensors").touch()
    assert run.network("tuned") == root / "40_tuned" / "tuned.safetensors"


@pytest.mark.parametrize("quality", [None, "no JSON", "[1]", "3"])
def test_a_run_without_figures_is_one_all_the_same(tmp_path: Path, quality: str | None) -> None:
    root = write_run(tmp_path, {"10_model": {"stage": "10_model"}}, quality)
    evidence = read_sources([root])
    assert evidence.runs[0].quality == {}
    assert evidence.entries == []


@pytest.mark.parametrize(
    ("cards", "told"),
    [({"10_model": "no JSON"}, r"card\.json' is damaged; run the stage again"),
     ({"80_report": {"stage": "80_report"}}, "is no folder of `srdeploy run`: no stage in it is"),
     ({}, "name the folder of a run, or a file of results")],
)  # fmt: skip
def test_folders_that_are_refused(tmp_path: Path, cards: dict[str, object], told: str) -> None:
    with pytest.raises(UserError, match=told):
        read_sources([write_run(tmp_path, cards)])


def test_json_in_all_its_forms(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    own = rows()
    one = own[0].model_dump(mode="json")
    path.write_text(json.dumps(one))  # one, not in a list
    assert [e.row for e in read_sources([path]).entries] == own[:1]
    events = [{"event": "begin"}, {"event": "row", **one}, {"event": "end", "artifact": "x"}]
    path.write_text("\n\n".join(map(json.dumps, events)) + "\n")
    assert [e.row for e in read_sources([path]).entries] == own[:1]
    whole = measurements()[1].model_dump(mode="json")
    path.write_text(json.dumps([one, whole]))  # measurements first
    names = [e.row.artifact for e in read_sources([path]).entries]
    assert names == ["pruned.onnx", "dense.onnx"]
    assert read_sources([path]).entries[0].folder == tmp_path


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe", b'{"artifact": "a"}', b'{"scenario": {}}', b"3", b'[{"event": "row"}]',
     b'{"artifact": "a", "scenario": {}, "machine": {}, "scale": "x"}', b"{}\n{"],
)  # fmt: skip
def test_foreign_files_are_told_apart(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.json' holds no results of srdeploy; name a store"):
        read_sources([tmp_path / "a.json"])


def test_nothing_measured_is_told_with_every_name(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text("[]")
    told = f"'{tmp_path}/a', '{tmp_path}/b' holds no results; measure with"
    with pytest.raises(UserError, match=told):
        read_sources([tmp_path / "a", tmp_path / "b"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[]")
    path.chmod(0)
    with pytest.raises(UserError, match="cannot be read"):
        read_sources([path])


@pytest.mark.parametrize("colour", ["y", "rgb"])
def test_a_row_becomes_the_measurement_that_it_was_of(colour: str) -> None:
    one = measurement("net.onnx", 5, 33.0, 1e9, repeat=2, build_ms=7.0, compute_ms=[1.0] * 60)
    assert one.quality is not None
    quality = one.quality.model_copy(update={"colour": colour, "bicubic": 30.5})
    one = one.model_copy(update={"quality": quality})
    assert measurement_of(row_of(one, one)) == one


def test_a_row_that_tells_little_becomes_a_measurement_that_does() -> None:
    row = Row(artifact="a.onnx", scenario={"name": "own"}, machine={"cpu": "Core"}, scale=2)
    one = measurement_of(row)
    assert (one.quality, one.started, one.facts.model, one.facts.kind) == (
        *(None, "", "unknown", "local"),
    )
    assert one.facts.cpu == "Core"
    for known in ({"psnr_y": 33.0}, {"ssim_y": 0.9}):
        assert measurement_of(row.model_copy(update=known)).quality is None
    both = measurement_of(row.model_copy(update={"psnr_y": 33.0, "ssim_y": 0.9})).quality
    assert both is not None
    assert (both.psnr, both.ssim, both.colour, both.protocol, both.n_images, both.data) == (
        *(33.0, 0.9, "y", "", 0, ""),
    )


def test_evidence_begins_empty() -> None:
    assert Evidence().finished == []
