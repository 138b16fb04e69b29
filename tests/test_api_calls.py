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
from srdeploy.data.picture import Picture
from srdeploy.errors import UserError
from srdeploy.models.network import Network
from srdeploy.models.registry import create

NETWORK = create("ledsr", n_blocks=1, n_feats=4)


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
    monkeypatch.setattr(api, "load", lambda name: NETWORK)
    for name in ("prune_oneshot", "prune_trained"):
        monkeypatch.setattr(api, name, found.of(("small", "report")))
    for name in ("plan_oneshot", "prune_recipe", "finetune_recipe", "_train", "_export", "_bench",
                 "_evaluate", "write_report"):  # fmt: skip
        monkeypatch.setattr(api, name, found.of(name))
    return found


def test_plan(calls: Calls) -> None:
    assert api.plan("name", criterion="l2", exclude=("head*", "body*")) == "plan_oneshot"
    (network, options), _ = calls.pop()
    assert network is NETWORK
    assert (options.ratio, options.criterion) == (0.5, "l2")
    assert options.exclude[-2:] == ("head*", "body*")
    assert options.exclude[:-2] == tuple(api.default_exclude(NETWORK))
    api.plan(NETWORK, 0.25, exclude=api.default_exclude(NETWORK))
    options = calls.pop()[0][1]
    assert options.ratio == 0.25
    assert options.exclude == tuple(api.default_exclude(NETWORK))  # each once


@pytest.mark.parametrize(
    ("given", "ratio"), [({}, 0.5), ({"ratio": 0.0}, 0.0), ({"ratio": 0.7}, 0.7)]
)
@pytest.mark.parametrize("method", [None, "l1"])
def test_prune_at_once(calls: Calls, given: dict, ratio: float, method: str | None) -> None:
    assert api.prune(NETWORK, **given, method=method, seed=3) == "small"
    (network, options), _ = calls.pop()
    assert network is NETWORK
    assert (options.ratio, options.seed) == (ratio, 3)


@pytest.mark.parametrize(
    "given",
    [{"changes": ["a=1"]}, {"data": "x"}, {"iterations": 0}, {"run_dir": "r"},
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
        (NETWORK, "srp", None, ()),
        {"prune": {"ratio": None}, "training": {"data": None}, "finetune": {"iterations": None}},
    )
    assert trained == ((NETWORK, "prune_recipe", Path("run")), {})
    calls.clear()
    api.prune(
        NETWORK, 0.3, recipe="r.yaml", changes=["a=1"], data=[Path("x"), "y"], iterations=7,
        run_dir=Path("run"), round_to=8,
    )  # fmt: skip
    assert calls[0] == (
        (NETWORK, None, Path("r.yaml"), ["a=1"]),
        {"prune": {"ratio": 0.3, "round_to": 8}, "training": {"data": {"folders": ["x", "y"]}},
         "finetune": {"iterations": 7}},
    )  # fmt: skip


def test_finetune(calls: Calls) -> None:
    assert api.finetune(NETWORK, run_dir="run", lr=0.1) == "_train"
    recipe, trained = calls
    assert recipe == ((NETWORK.card, None, {"lr": 0.1, "data": None, "eval_data": "none"}, ()), {})
    assert trained == ((NETWORK, "finetune_recipe", "run"), {"step": "finetune"})
    calls.clear()
    api.finetune(NETWORK, run_dir="r", data="one", recipe="f.yaml", changes=["b=2"], watch="set")
    told = {"data": ["one"], "eval_data": "set"}
    assert calls[0] == ((NETWORK.card, Path("f.yaml"), told, ["b=2"]), {})


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
    for suffix in {row.suffix for row in api.TARGETS.values()}:
        api.export(NETWORK, f"a{suffix}")
        chosen = api.TARGETS[calls.pop()[0][1]]
        assert chosen.suffix == suffix
        assert chosen is next(row for row in api.TARGETS.values() if row.suffix == suffix)
    with pytest.raises(UserError, match=r"No target writes '' files; choose one of \.\w+, \.\w+"):
        api.export(NETWORK, "a")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list:
    found: list = []

    @contextmanager
    def open_session(artifact: object, **options: object) -> Iterator[SimpleNamespace]:
        found.append((artifact, options))
        yield SimpleNamespace(card=SimpleNamespace(scale=3))

    monkeypatch.setattr(api, "open_session", open_session)
    return found


def test_evaluate(calls: Calls, opened: list) -> None:
    assert api.evaluate("a.onnx") == "_evaluate"
    assert opened.pop() == ("a.onnx", {"scale": None})
    assert calls.pop()[0][1:] == ("builtin", 3, None)
    api.evaluate("a.onnx", "set", scale=2, protocol="rgb", threads=4)
    assert opened.pop() == ("a.onnx", {"scale": 2, "threads": 4})
    assert calls.pop()[0][1:] == ("set", 2, "rgb")


def test_bench(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "scale_of", lambda artifact: {"a": 3, "b": 4}[artifact])
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

    monkeypatch.setattr(api, "upscale_picture", upscale_picture)
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert np.array_equal(api.upscale("a", grey), grey)
    assert asked.pop() == ((3, 4, 1), None, None)
    assert opened.pop() == ("a", {"scale": None})
    found = api.upscale(NETWORK, grey[..., None], tmp_path / "a.png", scale=2, memory=9, threads=1)
    assert found.shape == (3, 4, 1)
    assert asked.pop() == ((3, 4, 1), 2, 9)
    assert opened.pop() == (NETWORK, {"scale": 2, "threads": 1})
    assert api.upscale("a", str(tmp_path / "a.png")).shape == (3, 4, 1)


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
