"""Which class opens what, with which options: sessions are noted, not made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from srdeploy.errors import UserError
from srdeploy.models.registry import create
from srdeploy.models.store import save_network
from srdeploy.runtime import open as open_module
from srdeploy.runtime.onnx.file import NotComputed
from srdeploy.runtime.onnx.providers import PROVIDERS
from srdeploy.runtime.open import artifact_runtime, open_session, scale_of
from srdeploy.runtime.table import RUNTIMES, Availability, Runtime
from tests.runtime.tensorrt.test_session import write_engine

OPENED: list[tuple[Any, ...]] = []


class Noted:
    """A session that notes what it was opened with."""

    precision: str | None = None

    def __init__(self, name: str, path: Any, options: dict[str, Any]) -> None:
        self.name, self.closed = name, False
        OPENED.append((name, path, options))

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def _noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every runtime is here, and its sessions are :class:`Noted`."""

    def noted(place: str) -> Any:
        return lambda path, **options: Noted(place, path, options)

    OPENED.clear()
    monkeypatch.setattr(open_module, "code_of", noted)
    monkeypatch.setattr(Runtime, "availability", lambda row: Availability(True, ""))


@pytest.mark.parametrize("name", [n for n, r in RUNTIMES.items() if ".engine" not in r.suffixes])
def test_each_runtime_by_its_name(name: str, tmp_path: Path) -> None:
    row = RUNTIMES[name]
    if not row.suffixes:
        return
    path = tmp_path / f"net{row.suffixes[0].upper()}"  # whatever the case
    path.touch()
    open_session(path, runtime=name, threads=3, value_range=255.0, scale=4)
    foreign = {"value_range": 255.0, "scale": 4} if row.foreign else {}
    assert [(row.session, path, {"threads": 3, **foreign})] == OPENED


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_provider_is_short_for_a_runtime(provider: str, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").touch()
    name = "onnxruntime" if provider == "cpu" else f"onnxruntime-{provider}"
    for runtime in (None, "onnxruntime", name):
        OPENED.clear()
        open_session(tmp_path / "net.onnx", provider=provider, runtime=runtime)
        assert OPENED[0][0] == RUNTIMES[name].session
    other = "onnxruntime-cuda" if provider != "cuda" else "onnxruntime-tensorrt"
    with pytest.raises(UserError, match=f"The runtime {other} cannot run .*, {name} can; leave"):
        open_session(tmp_path / "net.onnx", provider=provider, runtime=other)


def test_providers_are_for_onnx(tmp_path: Path) -> None:
    for name in ("net.tflite", "net.mlpackage"):
        (tmp_path / name).touch()
        with pytest.raises(UserError, match=rf"and it does not run '.*{name}'; export it to ONNX"):
            open_session(tmp_path / name, provider="cuda")
    with pytest.raises(UserError, match="There is no provider named 'coda'; did you mean 'cuda'"):
        open_session(tmp_path / "net.tflite", provider="coda")


def test_what_opens_unless_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of the table that is here; where none is, the first."""
    assert [artifact_runtime(f"a{end}").name for end in (".onnx", ".mlpackage", ".tflite")] == [
        "onnxruntime", "coreml", "litert",
    ]  # fmt: skip
    for name in ("a.pt", "a.safetensors", "onnx", "a"):
        assert artifact_runtime(name) is None
    assert artifact_runtime("a.onnx", "openvino").name == "openvino"
    assert artifact_runtime("a.onnx", "coreml").name == "onnxruntime"
    only = Availability(True, "")
    none = Availability(False, "")
    monkeypatch.setattr(
        Runtime, "availability", lambda row: only if "reference" in row.name else none
    )
    assert artifact_runtime("a.onnx").name == "onnx-reference"
    assert artifact_runtime("a.mlpackage").name == "coreml-reference"
    assert artifact_runtime("a.onnx", "openvino").name == "openvino"  # and it will say why not
    monkeypatch.setattr(Runtime, "availability", lambda row: Availability(False, ""))
    assert artifact_runtime("a.onnx").name == "onnxruntime"
    for builder in ("tensorrt", "tensorrt_rtx"):
        engine = write_engine(tmp_path / f"{builder}.engine", builder=builder)
        assert artifact_runtime(engine).name == builder
        OPENED.clear()
        open_session(engine, threads=2)
        assert [(RUNTIMES[builder].session, engine, {"threads": 2})] == OPENED


def test_a_row_without_a_session_says_what_is_missing(tmp_path: Path) -> None:
    row = Runtime("x", "X", RUNTIMES["torch"].module)
    (tmp_path / "a.x").touch()
    with pytest.raises(UserError, match=r"'.*a\.x' cannot be run here: \."):
        open_module._open_artifact(row, tmp_path / "a.x", None)
    with pytest.raises(UserError, match="There is no file"):
        open_module._open_artifact(RUNTIMES["litert"], tmp_path / "b.tflite", None)


@pytest.mark.parametrize(
    ("precisions", "here", "opened"),
    [
        ({"openvino": "bf16"}, ("openvino", "onnx-reference"), "openvino"),
        ({"openvino": "bf16+fp32"}, ("openvino", "onnx-reference"), "openvino"),
        ({"openvino": "fp32", "onnx-reference": "bf16"}, ("openvino", "onnx-reference"),
         "onnx-reference"),
        ({"onnx-reference": "bf16"}, ("onnx-reference",), "onnx-reference"),
        ({"openvino": None}, ("openvino", "onnx-reference"), None),
        ({}, (), None),
    ],
)  # fmt: skip
def test_a_bf16_file_is_run_by_what_computes_it(
    precisions: dict[str, str | None], here: tuple[str, ...], opened: str | None, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    made: list[Noted] = []

    def opens(row: Runtime, path: Any, threads: Any, **foreign: Any) -> Any:
        if row.name == "onnxruntime":
            raise NotComputed("no kernels")
        made.append(Noted(row.name, path, {"threads": threads, **foreign}))
        made[-1].precision = precisions.get(row.name)
        return made[-1]

    monkeypatch.setattr(open_module, "_open_artifact", opens)
    known = (*here, "onnxruntime")
    monkeypatch.setattr(Runtime, "availability", lambda row: Availability(row.name in known, ""))
    (tmp_path / "net.onnx").touch()
    if opened is None:
        with pytest.raises(NotComputed):
            open_session(tmp_path / "net.onnx")
        assert all(session.closed for session in made)
        return
    session = open_session(tmp_path / "net.onnx", threads=2, value_range=1.0, scale=3)
    assert session.name == opened
    assert OPENED[-1][2] == {"threads": 2, "value_range": 1.0, "scale": 3}
    assert [one.closed for one in made] == [True] * (len(made) - 1) + [False]


def test_networks_and_the_runtimes_that_run_them(tmp_path: Path) -> None:
    network = create("ledsr", n_blocks=1, n_feats=4)
    save_network(network, tmp_path / "net.safetensors")
    path = tmp_path / "net.safetensors"
    for source, what in ((network, "this ledsr network"), (path, f"'{path}'")):
        with pytest.raises(UserError) as caught:
            open_session(source, runtime="openvino")
        assert str(caught.value).startswith(f"The runtime openvino cannot run {what}, torch can;")
    with pytest.raises(UserError, match="Only onnxruntime has providers, and it does not run"):
        open_session(path, provider="cpu")
    with pytest.raises(UserError, match="runs SMSR networks, this one is ledsr"):
        open_session(path, runtime="sparse")
    session = open_session(path, threads=2)
    assert (session.runtime, session.threads) == ("torch", 2)
    smsr = create("smsr", n_modules=1, n_feats=8, mask_feats=4, reduction=4)
    plain = open_session(smsr, threads=1)
    assert type(plain._module).__name__ == "DenseMasks"  # the same at half the work
    assert type(session._module).__name__ != "DenseMasks"


def test_the_scale_of_what_has_no_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    class Opened:
        class card:
            scale = 7

        def __enter__(self) -> Opened:
            return self

        def __exit__(self, *_: object) -> None:
            asked.append("closed")

    monkeypatch.setattr(
        open_module, "open_session", lambda *a, **k: asked.append((a, k)) or Opened()
    )
    assert scale_of(tmp_path / "absent.onnx", threads=3) == 7
    assert asked == [((tmp_path / "absent.onnx",), {"threads": 3}), "closed"]
