"""``import srdeploy as sr``: light to import, typed, and the whole line as functions."""

from __future__ import annotations

import inspect
import pydoc
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

import srdeploy as sr
from srdeploy import api
from srdeploy.compacting.run import prune_oneshot
from srdeploy.errors import UserError
from srdeploy.exporting.report import Parity
from srdeploy.models.registry import create
from srdeploy.pruning.options import PruneOptions

pytestmark = pytest.mark.usefixtures("small_builtin")

EXAMPLE = Path(__file__).parents[2] / "examples" / "line.py"


def test_importing_loads_nothing_heavy() -> None:
    code = (
        "import sys, time; t = time.perf_counter(); import srdeploy as sr; "
        "seconds = time.perf_counter() - t; "
        "heavy = {'torch', 'numpy', 'onnx', 'onnxruntime', 'nni', 'typer'} & set(sys.modules); "
        "assert not heavy, heavy; print(sr.__version__)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == sr.__version__


def test_names() -> None:
    assert set(api.__all__) <= set(dir(sr))
    assert sr.load is api.load
    for name in ("load", "prune", "compact", "finetune", "export", "bench", "upscale"):
        assert callable(getattr(sr, name)), name
    for name in ("prune", "compact", "export", "bench"):
        signature = inspect.signature(getattr(sr, name))
        assert signature == inspect.signature(getattr(api, name))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        sr.nonsense  # noqa: B018


FUNCTIONS = [name for name in api.__all__ if inspect.isfunction(getattr(api, name))]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_help_shows_the_function(name: str) -> None:
    function = getattr(sr, name)
    assert inspect.isfunction(function)
    assert inspect.signature(function) == inspect.signature(getattr(api, name))
    told = pydoc.plain(pydoc.render_doc(function))
    assert told.startswith(f"Python Library Documentation: function {name} in ")
    parameters = inspect.signature(function).parameters.values()
    for one in parameters:
        assert one.annotation is not inspect.Parameter.empty
        assert str(one) in told.replace("\n", " "), one  # types and defaults
    documented = inspect.getdoc(function) or ""
    for one in parameters:
        assert re.search(rf"^    {one.name}: ", documented, re.MULTILINE), one.name
    example = documented.partition("Example:")[2]
    for line in re.findall(r">>> (.*)", example):
        compile(line, name, "exec")
    assert f"sr.{name}(" in example


CHECKED = """
import srdeploy as sr
import srdeploy.pruning.plan as plan
reveal_type(sr.prune("edsr-s-x2", 0.5))
reveal_type(sr.bench("a.onnx")[0].p50_ms)
reveal_type(sr.report("a.sqlite").sentences)
reveal_type(plan.Plan.removed)
sr.nonsense
"""


@pytest.mark.slow
def test_a_type_checker_sees_what_there_is(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "user.py").write_text(CHECKED)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(tmp_path / "user.py")],
        capture_output=True, text=True, cwd=EXAMPLE.parents[1],
    )  # fmt: skip
    told = re.findall(r"user\.py:\d+: (.*)", done.stdout)
    assert told == [
        'note: Revealed type is "srdeploy.models.network.Network"',
        'note: Revealed type is "float | None"',
        'note: Revealed type is "list[str]"',
        'note: Revealed type is "dict[str, list[int]]"',
        'error: Module has no attribute "nonsense"  [attr-defined]',
    ]


def test_nothing_but_names_is_special_about_the_module() -> None:
    assert type(sr) is ModuleType
    code = (
        "import srdeploy as sr; from srdeploy import prune; import srdeploy.pruning.plan as plan; "
        "from srdeploy.pruning.plan import Plan; import srdeploy.exporting.targets; "
        "assert plan.Plan is Plan is sr.Plan; assert prune is sr.prune; "
        "assert srdeploy.exporting.targets.TARGETS; "
        "print(type(sr.prune).__name__, type(sr.export).__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.split() == ["function", "function"]


def test_no_function_has_the_name_of_a_package() -> None:
    package = Path(sr.__file__ or "").parent
    inside = {path.name.removesuffix(".py") for path in package.iterdir()}
    assert {"bench", "compact", "export", "prune", "report"} <= set(FUNCTIONS)
    assert not inside & set(FUNCTIONS)
    assert sr.prune is api.prune
    assert pydoc.render_doc(sr.prune, renderer=pydoc.plaintext).count("def ") <= 1
    code = (
        "import sys, srdeploy as sr; sr.__version__; "
        "import srdeploy.benchmarking; assert 'torch' not in sys.modules; "
        "print(sr.bench.__name__, sr.bench.__module__)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["bench", "srdeploy.api.artifacts"]


def test_what_functions_return_is_a_line() -> None:
    dense = create("ledsr", n_blocks=8, n_feats=32)
    plan = sr.plan(dense, 0.5)
    small, report = prune_oneshot(dense, PruneOptions(ratio=0.5, exclude=("tail.*",)))
    row = sr.Row(
        artifact="a.onnx", scale=2, scenario={"x": [1] * 99}, machine={}, p50_ms=1.23456,
        samples_ms=[1.0] * 999, psnr_y=31.61234,
    )  # fmt: skip
    quality = sr.Quality(
        figures={"psnr": 34.4, "ssim": 0.93}, colour="y", protocol="psnr[y]", n_images=1,
        per_image=[{"name": "a"}] * 99,
    )  # fmt: skip
    summary = sr.ReportSummary(
        Path("r.html"), "t", [], ["It is fast.", "And more."], [{}] * 3, {}, {}, [], None, [], []
    )
    exported = sr.ExportReport(
        "onnx", "a.onnx", "0" * 64, 2048, "int8", 17, Parity(0.1, 1.2e-3, [(8, 8)]), {}, {}, 1.0,
        layers=[{"layer": "a"}] * 99, quality={"drop": 0.03, "data": "builtin"},
    )  # fmt: skip
    told = {
        "Network(ledsr x2, 3 channels, values 0..255, pruned, 41.6K parameters)": small,
        "Card(ledsr x2, 3 channels, values 0..255, pruned)": small.card,
        "Plan(method='l1', ratio=0.5, removed=144, groups=9, tensors=37)": plan,
        "Row(artifact='a.onnx', device='local', p50_ms=1.235, psnr_y=31.612)": row,
        "Quality(psnr=34.400, ssim=0.9300, n_images=1, protocol='psnr[y]')": quality,
        "ReportSummary(r.html, 3 measurements: It is fast.)": summary,
        "ExportReport(a.onnx: onnx, int8, 2 KiB, parity 1.2e-03, drop 0.030 dB on builtin)":
            exported,
        "Scenario(inputs=((16, 16),), min_runs=2)": sr.Scenario(inputs=(16, 16), min_runs=2),
    }  # fmt: skip
    assert [repr(one) for one in told.values()] == list(told)
    assert repr(report).startswith("PruneReport(Plan(method='l1', ratio=0.5, removed=144")
    assert len(repr(report)) < 200
    assert str(row) == "artifact='a.onnx' device='local' p50_ms=1.235 psnr_y=31.612"


@pytest.mark.slow
def test_a_package_imported_first_can_still_be_called() -> None:
    code = (
        "from srdeploy.pruning.options import PruneOptions; import srdeploy as sr; "
        "import srdeploy.pruning.plan as plan; assert plan.Plan; "
        "print(sr.prune('edsr-s-x2', 0.5, method='l1').card.widths['head.0'])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "16"


def test_the_line(tmp_path: Path) -> None:
    dense = create("ledsr", n_blocks=1, n_feats=8)
    sr.save(dense, tmp_path / "dense.safetensors")
    plan = sr.plan(tmp_path / "dense.safetensors", 0.5)
    small = sr.compact(dense, plan)
    again = sr.prune(dense, 0.5, method="l1")
    for name, tensor in small.module.state_dict().items():
        assert torch.equal(tensor, again.module.state_dict()[name])
    assert small.card.widths["head.0"] == 4
    tuned = sr.finetune(small, run_dir=tmp_path / "run", iterations=2, batch=1, patch=8)
    entry = tuned.card.history[-1]
    assert (entry["step"], entry["trained_on"]) == ("finetune", "6 images of builtin")
    assert entry["kept"]["psnr"] == max(entry["kept"]["start"], entry["kept"]["psnr"])
    asked = {"run_dir": tmp_path / "last", "iterations": 2, "batch": 1, "patch": 8}
    assert "kept" not in sr.finetune(small, watch="none", **asked).card.history[-1]
    report = sr.export(tuned, tmp_path / "tuned.onnx")
    assert report.parity is not None
    assert report.parity.relative < 1e-4
    quality = sr.evaluate(tmp_path / "tuned.onnx")
    assert quality.psnr == pytest.approx(sr.evaluate(tuned).psnr, abs=1e-3)
    (row,) = sr.bench(
        tmp_path / "tuned.onnx", scenario=sr.Scenario(inputs=(16, 16), min_runs=2, min_seconds=0)
    )
    assert row.p50_ms is not None
    assert row.p50_ms > 0


@pytest.mark.slow
def test_methods_that_train(tmp_path: Path) -> None:
    from srdeploy.data.images import write_png

    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    (tmp_path / "images").mkdir()
    write_png(tmp_path / "images" / "1.png", noise)
    small = sr.prune(
        create("ledsr", n_blocks=1, n_feats=4),
        0.5,
        method="fade",
        data=tmp_path / "images",
        iterations=1,
        run_dir=tmp_path / "run",
    )
    assert small.card.widths["head.0"] == 2


def test_refusals(tmp_path: Path) -> None:
    dense = create("ledsr", n_blocks=1, n_feats=4)
    with pytest.raises(UserError, match="run_dir"):
        sr.prune(dense, method="srp")
    with pytest.raises(UserError, match="belong to the methods that train"):
        sr.prune(dense, iterations=5)
    with pytest.raises(UserError, match=r"No target writes '\.xyz'"):
        sr.export(dense, tmp_path / "a.xyz")
    with pytest.raises(UserError, match="nothing to measure"):
        sr.bench()


def test_bench_opens_nothing_here_to_learn_a_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    from srdeploy.api import artifacts

    def fails(*arguments: object, **options: object) -> object:
        raise AssertionError("opened")

    asked: list[int] = []
    monkeypatch.setattr(artifacts, "open_session", fails)
    monkeypatch.setattr("srdeploy.runtime.open.open_session", fails)
    monkeypatch.setattr(artifacts, "_bench", lambda names, *, scale, **options: asked.append(scale))
    sr.bench("edsr-s-x3")
    assert asked == [3]


def test_upscale(tmp_path: Path) -> None:
    from PIL import Image

    network = create("ledsr", n_blocks=1, n_feats=8)
    pixels = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    found = sr.upscale(network, pixels)
    assert (found.shape, found.dtype) == ((18, 22, 3), np.uint8)
    assert sr.upscale(network, pixels[..., 0]).shape == (18, 22)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    written = tmp_path / "b.webp"
    np.testing.assert_array_equal(sr.upscale(network, tmp_path / "a.png", written), found)
    with Image.open(written) as image:
        assert image.size == (22, 18)
    with pytest.raises(UserError, match="no image format by its ending"):
        sr.upscale(network, tmp_path / "a.png", tmp_path / "b.gif")
    with pytest.raises(UserError, match="jpeg has no alpha"):
        sr.upscale(network, np.dstack([pixels, pixels[..., :1]]), tmp_path / "b.jpg")
    with pytest.raises(UserError, match="jpeg has 8 bits"):
        sr.upscale(network, pixels.astype(np.uint16), tmp_path / "b.jpg")


def test_the_example_fits_a_screen_and_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    from srdeploy.data.builtin import BENCHMARK_IMAGES

    code = EXAMPLE.read_text(encoding="utf-8")
    assert len(code.splitlines()) <= 50
    for name in ("load", "plan", "compact", "finetune", "save", "export", "bench", "report"):
        assert f"sr.{name}(" in code
    code = code.replace("iterations=1500", "iterations=2, batch=1, patch=8")  # every call stays
    brief = "scenario=sr.Scenario(inputs=(16, 16), min_runs=2, min_seconds=0)"
    code = code.replace('"small.onnx")\nfor', f'"small.onnx", {brief})\nfor')
    assert brief in code
    assert code.count("sr.bench(") == 1
    # A process of many tests holds more than a picture is allowed to take by default.
    code = code.replace('"photo_x2.png")', '"photo_x2.png", memory=8 * 10**9)')
    assert "memory=" in code
    (tmp_path / "set").mkdir()
    with Image.open(BENCHMARK_IMAGES / "coffee.png") as photo:
        photo.convert("RGB").crop((0, 0, 96, 64)).save(tmp_path / "set" / "a.png")
    monkeypatch.setattr("srdeploy.data.benchmark.BENCHMARK_IMAGES", tmp_path / "set")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(EXAMPLE), "exec"), {"__name__": "__main__"})
    made = {"dense.onnx", "photo_x2.png", "report.html", "small.onnx", "small.safetensors"}
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == made
    told = capsys.readouterr().out
    assert "small.onnx" in told
    assert "times as fast" in told or "takes" in told
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "dense.onnx" in page
    with Image.open(tmp_path / "photo_x2.png") as image:
        assert image.size == (2 * photo.width, 2 * photo.height)
