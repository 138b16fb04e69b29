"""What a call of the api hands on: every argument, and what stands for those not given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import srdeploy as sr
from srdeploy import api
from srdeploy.api import artifacts, networks
from srdeploy.api import given as given_
from srdeploy.data.picture import Picture
from srdeploy.errors import UserError
from srdeploy.exporting.targets import TARGETS
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.pruning.methods.table import METHODS
from srdeploy.reconstruct.calibration import Calibration

NETWORK = create("ledsr", n_blocks=1, n_feats=4)
FITTED = SimpleNamespace(quantise=None)


class Calls(list):
    """Remembers how functions are called, and answers with something of its own."""

    def of(self, answer: Any) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            self.append((given, named))
            return answer

        return call


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    found = Calls()
    monkeypatch.setattr(given_, "load_network", lambda name: NETWORK)
    for name in ("prune_at_once", "prune_trained"):
        monkeypatch.setattr(networks, name, found.of(("small", "report")))
    for name in ("plan_oneshot", "prune_recipe", "_train"):
        monkeypatch.setattr(networks, name, found.of(name))
    monkeypatch.setattr(networks, "finetune_recipe", found.of(FITTED))
    for name in ("_export", "_bench", "_evaluate", "write_report"):
        monkeypatch.setattr(artifacts, name, found.of(name))
    return found


def test_plan(calls: Calls) -> None:
    assert api.plan("name", criterion="l2", exclude=("head*", "body*")) == "plan_oneshot"
    (network, options), _ = calls.pop()
    assert network is NETWORK
    assert (options.ratio, options.criterion) == (0.5, "l2")
    assert options.exclude[-2:] == ("head*", "body*")
    assert options.exclude[:-2] == tuple(networks.default_exclude(NETWORK))
    api.plan(NETWORK, 0.25, exclude=networks.default_exclude(NETWORK))
    options = calls.pop()[0][1]
    assert options.ratio == 0.25
    assert options.exclude == tuple(networks.default_exclude(NETWORK))  # each once


@pytest.mark.parametrize(
    ("given", "ratio"), [({}, 0.5), ({"ratio": 0.0}, 0.0), ({"ratio": 0.7}, 0.7)]
)
@pytest.mark.parametrize("method", [None, "l1", "obs", "reconstruct"])
def test_prune_at_once(calls: Calls, given: dict, ratio: float, method: str | None) -> None:
    assert api.prune(NETWORK, **given, method=method, round_to=2) == "small"
    (network, row, options, images), named = calls.pop()
    assert network is NETWORK
    assert row == METHODS[method or "reconstruct"]
    assert (options.ratio, options.round_to, images) == (
        ratio,
        2,
        Calibration(network_wise=0 if method == "l1" else 2, steps_asked=False),
    )
    assert named == {"refits": False, "budget": None, "folder": None}
    api.prune(NETWORK, **given, method=method, refit=True, calibration="dir", network_wise=7)
    (*_, images), named = calls.pop()
    assert (images.images, images.network_wise, named["refits"]) == ("dir", 7, True)
    assert images.steps_asked


@pytest.mark.parametrize(
    ("budget", "unit"), [({"macs": 1e9}, "MACs"), ({"params": 3e4}, "parameters")]
)
@pytest.mark.parametrize("ratio", [None, "auto"])
def test_prune_within_a_budget(calls: Calls, budget: dict, unit: str, ratio: str | None) -> None:
    assert api.prune(NETWORK, ratio, method="obs", **budget) == "small"
    (_, _, options, _), named = calls.pop()
    assert options.ratio == 0.0
    assert (named["budget"].amount, named["budget"].unit) == (*budget.values(), unit)
    for wrong in ({"ratio": 0.3, **budget}, {"ratio": "auto"}, {"ratio": "half"}):
        with pytest.raises(UserError, match="belong together"):
            api.prune(NETWORK, method="obs", **wrong)
    with pytest.raises(UserError, match="A budget of MACs or parameters belongs to method obs"):
        api.prune(NETWORK, method="l1", **budget)


def test_settings_of_other_methods_are_refused(calls: Calls) -> None:
    with pytest.raises(UserError, match="l1; obs chooses by cost"):
        api.prune(NETWORK, method="obs", criterion="l2")
    with pytest.raises(UserError, match="Calibration images belong to method obs or reconstruct"):
        api.prune(NETWORK, criterion="l2", calibration="dir")
    assert calls == []


@pytest.mark.parametrize(
    "given",
    [{"changes": ["a=1"]}, {"data": "x"}, {"iterations": 0},
     {"recipe": "r.yaml", "method": "l1"}],
)  # fmt: skip
def test_pruning_at_once_takes_nothing_of_training(calls: Calls, given: dict) -> None:
    with pytest.raises(UserError, match="belong to the methods that train"):
        api.prune(NETWORK, **given)
    assert calls == []


@pytest.mark.parametrize("given", [{"method": "srp"}, {"method": "assl"}, {"recipe": "r.yaml"}])
def test_training_needs_a_folder(calls: Calls, given: dict) -> None:
    with pytest.raises(UserError, match="Name a run_dir"):
        api.prune(NETWORK, **given)


def test_prune_by_training(calls: Calls) -> None:
    api.prune(NETWORK, method="srp", run_dir="run")
    recipe, trained = calls
    assert recipe == (
        (NETWORK, "srp", None, []),
        {"prune": {"ratio": None}, "training": {"data": None}, "finetune": {"iterations": None},
         "refit": None, "calibration": None},
    )  # fmt: skip
    assert trained == ((NETWORK, "prune_recipe", Path("run")), {})
    calls.clear()
    api.prune(
        NETWORK, 0.3, recipe="r.yaml", changes=["a=1"], data=[Path("x"), "y"], iterations=7,
        run_dir=Path("run"), round_to=8, refit=True, calibration=Path("c"),
    )  # fmt: skip
    assert calls[0] == (
        (NETWORK, None, Path("r.yaml"), ["a=1"]),
        {"prune": {"ratio": 0.3, "round_to": 8}, "training": {"data": {"folders": ["x", "y"]}},
         "finetune": {"iterations": 7}, "refit": True, "calibration": "c"},
    )  # fmt: skip


def test_finetune(calls: Calls) -> None:
    assert api.finetune(NETWORK, run_dir="run", lr=0.1) == "_train"
    recipe, trained = calls
    assert recipe == ((NETWORK.card, None, {"lr": 0.1, "data": None, "eval_data": None}, []), {})
    assert trained == ((NETWORK, FITTED, "run"), {"step": "finetune"})
    calls.clear()
    api.finetune(NETWORK, run_dir="r", data="one", recipe="f.yaml", changes=["b=2"], watch="set")
    told = {"data": ["one"], "eval_data": "set"}
    assert calls[0] == ((NETWORK.card, Path("f.yaml"), told, ["b=2"]), {})


def test_finetune_for_eight_bits(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    rounded = SimpleNamespace(quantise={"precision": "int8"})
    monkeypatch.setattr(networks, "finetune_recipe", calls.of(rounded))
    monkeypatch.setattr(
        "srdeploy.exporting.precision.quantise_finetune.finetune_int8", calls.of("int8")
    )
    assert api.finetune(NETWORK, run_dir="run", quantise="int8") == "int8"
    _, trained = calls
    assert trained == ((NETWORK, rounded, "run"), {})
    assert calls[0][0][2]["quantise"] == "int8"


def test_export(calls: Calls) -> None:
    api.export(NETWORK, "a.ONNX", precision="fp16")
    assert calls.pop() == ((NETWORK, "onnx", "a.ONNX"), {"precision": "fp16"})
    api.export("name", Path("a.xyz"), target="coreml")
    assert calls.pop() == ((NETWORK, "coreml", Path("a.xyz")), {})
    api.export("in.ONNX", "b.onnx")
    assert calls.pop() == ((Path("in.ONNX"), "onnx", "b.onnx"), {})
    for name in ("in.pt", "in.a"):
        api.export(name, "b.onnx")
        assert calls.pop()[0][0] is NETWORK
    for suffix in {row.suffix for row in TARGETS.values()}:
        api.export(NETWORK, f"a{suffix}")
        chosen = TARGETS[calls.pop()[0][1]]
        assert chosen.suffix == suffix
        assert chosen is next(row for row in TARGETS.values() if row.suffix == suffix)
    with pytest.raises(UserError, match=r"No target writes '' files; choose one of \.\w+, \.\w+"):
        api.export(NETWORK, "a")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list:
    found: list = []

    @contextmanager
    def open_session(artifact: object, **options: object) -> Iterator[SimpleNamespace]:
        found.append((artifact, options))
        yield SimpleNamespace(card=SimpleNamespace(scale=3))

    monkeypatch.setattr(artifacts, "open_session", open_session)
    return found


def test_evaluate(calls: Calls, opened: list) -> None:
    assert api.evaluate("a.onnx") == "_evaluate"
    assert opened.pop() == ("a.onnx", {"scale": None})
    assert calls.pop()[0][1:] == ("builtin", 3, None)
    api.evaluate("a.onnx", "set", scale=2, protocol="rgb", threads=4)
    assert opened.pop() == ("a.onnx", {"scale": 2, "threads": 4})
    assert calls.pop()[0][1:] == ("set", 2, "rgb")


def test_bench(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "scale_of", lambda artifact: {"a": 3, "b": 4}[artifact])
    told: list = []
    assert api.bench("a", Path("b"), on_row=told.append, threads=2) == "_bench"
    assert calls.pop() == (
        (["a", "b"],),
        {"data": "builtin", "scale": 3, "scenario": None, "on_row": told.append, "threads": 2},
    )
    scenario = sr.Scenario()
    api.bench("b", data="set", scale=2, scenario=scenario)
    named = calls.pop()[1]
    assert (named["data"], named["scale"], named["scenario"]) == ("set", 2, scenario)
    assert named["on_row"]("row") is None


def test_upscale(opened: list, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list = []

    def upscale_picture(
        session: object, picture: Picture, scale: object, *, memory: object
    ) -> Picture:
        asked.append((picture.pixels.shape, scale, memory))
        return picture

    monkeypatch.setattr(artifacts, "upscale_picture", upscale_picture)
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert np.array_equal(api.upscale("a", grey), grey)
    assert asked.pop() == ((3, 4, 1), None, None)
    assert opened.pop() == ("a", {"scale": None})
    found = api.upscale(NETWORK, grey[..., None], tmp_path / "a.png", scale=2, memory=9, threads=1)
    assert found.shape == (3, 4, 1)
    assert asked.pop() == ((3, 4, 1), 2, 9)
    assert opened.pop() == (NETWORK, {"scale": 2, "threads": 1})
    assert api.upscale("a", str(tmp_path / "a.png")).shape == (3, 4, 1)


@pytest.mark.parametrize("exclude", ["body.0", ["body.0"], ("body.0",)])
def test_one_of_a_list_is_a_list_of_one(calls: Calls, exclude: Any) -> None:
    api.prune(NETWORK, exclude=exclude)
    assert calls.pop()[0][2].exclude == (*networks.default_exclude(NETWORK), "body.0")
    api.prune(NETWORK, method="srp", run_dir="r", exclude=exclude, data="d", changes="a=1")
    recipe = calls[0]
    assert recipe[0][3] == ["a=1"]
    assert recipe[1]["prune"] == {"ratio": None, "exclude": ["body.0"]}
    assert recipe[1]["training"] == {"data": {"folders": ["d"]}}


def test_lists_of_artifacts_and_results(calls: Calls) -> None:
    api.bench(["a", Path("b")], "c", scale=2)
    assert calls.pop()[0] == (["a", "b", "c"],)
    rows = [SimpleNamespace(name="row")]
    api.report(rows, "b.json")
    assert calls.pop()[0] == ((rows[0], "b.json"), "report.html", None)


@pytest.mark.parametrize(
    ("sizes", "text"),
    [("480x270", "480x270"), ((480, 270), "480x270"), ([480, 270], "480x270"),
     ([(480, 270), "640x360"], "480x270,640x360"), ("64..1024", "64..1024"),
     ([(64, 48)], "64x48")],
)  # fmt: skip
def test_sizes_width_first(calls: Calls, sizes: Any, text: str) -> None:
    api.export(NETWORK, "a.mlpackage", sizes=sizes)
    assert calls.pop()[1] == {"sizes": text}


def test_other_options_of_targets(calls: Calls) -> None:
    api.export(NETWORK, "a.engine", target="trt-rtx", capabilities="8.9", data=Path("d"))
    assert calls.pop()[1] == {"capabilities": ("8.9",), "data": "d"}
    assert (
        api.export(NETWORK, "b/a.onnx", precision=("fp16", "int8"), max_drop=1.0) == ["_export"] * 2
    )
    assert [(given[2], named) for given, named in calls] == [
        (Path("b/a-fp16.onnx"), {"precision": "fp16", "max_drop": 1.0}),
        (Path("b/a-int8.onnx"), {"precision": "int8", "max_drop": 1.0}),
    ]


def test_live_modules_are_wrapped(calls: Calls, opened: list, tmp_path: Path) -> None:
    live, wrapped = NETWORK.module, []
    api.evaluate(live)
    network = opened.pop()[0]
    assert isinstance(network, Network)
    assert network.card.arch == "srdeploy.models.edsr.network:LEDSR"
    for call in (
        lambda: api.plan(live),
        lambda: api.prune(live),
        lambda: api.prune(live, method="srp", run_dir="r"),
        lambda: api.finetune(live, run_dir="r"),
        lambda: api.export(live, "a.onnx"),
    ):
        call()
        wrapped += [given[0] for given, _ in calls]
        calls.clear()
    networks = [one for one in wrapped if isinstance(one, Network)]
    assert len(networks) == 6  # of the recipe, too
    assert all(one.card.arch.endswith(":LEDSR") for one in networks)
    assert not any(one is live for one in wrapped)
    with pytest.raises(UserError, match=r"write the network first, with sr\.export"):
        api.bench(live)
    with pytest.raises(UserError, match=r"write the network first"):
        api.bench(NETWORK)


def test_what_is_no_network(calls: Calls) -> None:
    for call in (api.prune, api.plan, api.evaluate):
        with pytest.raises(UserError, match=r"A dict is no network; give a Network, a live torch"):
            call({"a.weight": 1})  # type: ignore[operator]
    with pytest.raises(UserError, match=r"a LEDSR is none; sr\.wrap\(module\) makes"):
        sr.load(NETWORK.module)  # type: ignore[arg-type]


def test_options_of_another_method(calls: Calls) -> None:
    with pytest.raises(UserError, match="common_set belongs to the methods that train"):
        api.prune(NETWORK, common_set="joint")
    with pytest.raises(UserError, match="These settings: round_to"):
        api.prune(NETWORK, round_to=[1])  # type: ignore[arg-type]


def test_report(calls: Calls) -> None:
    api.report("a", "b")
    assert calls.pop() == ((("a", "b"), "report.html", None), {})
    api.report("a", output="o.html", baseline="x", title="t")
    assert calls.pop() == ((("a",), "o.html", "x"), {"title": "t"})


def test_names_of_the_package() -> None:
    assert set(api.__all__) <= set(dir(sr))
    assert {"prune", "bench", "compact", "export", "report"} <= set(dir(sr))
    assert dir(sr) == sorted(dir(sr))
    assert isinstance(sr.load("edsr-s-x2"), Network)
    with pytest.raises(AttributeError, match="module 'srdeploy' has no attribute 'nothing'"):
        _ = sr.nothing
    for private in ("_nothing", "os_path"):
        assert not hasattr(sr, private)
    assert sr.evaluate is api.evaluate
    assert list(__import__("inspect").signature(sr.export).parameters)[:2] == ["network", "path"]
