"""The compiled kernel: how it is built and kept, and that it computes what torch's operators do."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from srdeploy.sparse import compiler, native
from srdeploy.sparse.backend import choose_backend
from srdeploy.sparse.compiler import Unavailable
from srdeploy.sparse.native import MAX_OUT, Kernel, NativeRowConv, load_kernel
from srdeploy.sparse.rowconv import Features, RowConv, Tap, TorchRowConv, aligned, spatial


@pytest.fixture
def kernel() -> Kernel:
    try:
        return load_kernel()
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture
def unbuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache."""
    monkeypatch.setenv("SRDEPLOY_CACHE", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    load_kernel.cache_clear()
    yield tmp_path
    load_kernel.cache_clear()


class Runs:
    """``subprocess.run`` of a compiler that is a function."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.commands: list[list[str]] = []
        self.code, self.said, self.writes = 0, b"", b"library"
        monkeypatch.setattr(compiler.subprocess, "run", self)
        monkeypatch.setattr(compiler.shutil, "which", lambda name: f"/bin/{name}")

    def __call__(self, command: list[str], **options: Any) -> Any:
        self.commands.append(command)
        if "--version" in command:
            assert options["check"]
            return subprocess.CompletedProcess(command, 0, "cc 1.0", "")
        if self.writes:
            Path(command[-1]).write_bytes(self.writes)
        return subprocess.CompletedProcess(command, self.code, b"", self.said)


@pytest.mark.parametrize(
    ("machine", "flag"),
    [("x86_64", "-march=native"), ("aarch64", "-mcpu=native"), ("ARM64", "-mcpu=native")],
)
def test_how_it_is_built(
    unbuilt: Path, machine: str, flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Runs(monkeypatch)
    monkeypatch.setattr(compiler.platform, "machine", lambda: machine)
    loaded: list[Path] = []
    monkeypatch.setattr(native, "Kernel", loaded.append)
    load_kernel()
    version, build = runs.commands
    assert version == ["/bin/cc", "--version"]
    assert build[:-1] == ["/bin/cc", flag, "-std=gnu11", "-O3", "-fopenmp", "-fPIC", "-shared",
                          str(compiler.SOURCES / "kernel.c"), "-o"]  # fmt: skip
    (library,) = loaded
    assert library.parent == unbuilt / "kernels"
    assert library.name.startswith("rows-")
    assert library.suffix == ".so"
    assert library.read_bytes() == b"library"
    load_kernel.cache_clear()
    load_kernel()  # kept
    assert len(runs.commands) == 3
    assert loaded == [library, library]
    monkeypatch.setattr(compiler, "_processor", lambda: "another")
    load_kernel.cache_clear()
    load_kernel()  # a home folder that two kinds of processor share
    assert loaded[2] != library


@pytest.mark.parametrize(
    ("code", "said", "writes", "reason"),
    [
        (1, b"\n no omp.h \nmore", b"x", "/bin/cc fails: no omp.h"),
        (1, b"", b"", "/bin/cc fails: no message"),
        (0, b"", b"", "/bin/cc fails: no message"),
        (0, b"", b"no library", "the compiled kernel does not load: "),
    ],
)
def test_where_it_cannot_be_had(
    unbuilt: Path, code: int, said: bytes, writes: bytes, reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    runs = Runs(monkeypatch)
    runs.code, runs.said, runs.writes = code, said, writes
    with pytest.raises(Unavailable) as caught:
        load_kernel()
    assert str(caught.value).startswith(reason)
    found = choose_backend("auto")
    assert (found.name, found.prepare) == ("torch", TorchRowConv)
    assert found.reason.startswith(f"torch's operators, because {reason}")
    with pytest.raises(Unavailable):
        choose_backend("native")
    if code:
        assert not list((unbuilt / "kernels").glob("*"))


def test_backends_by_name(kernel: Kernel) -> None:
    assert choose_backend().name == choose_backend("native").name == "native"
    assert choose_backend().reason == f"the compiled kernel, {kernel.lanes} floats per vector"
    assert choose_backend("torch").reason == "torch's operators, as asked"
    with pytest.raises(ValueError, match="unknown backend 'gpu'; there are auto, native, torch"):
        choose_backend("gpu")
    assert kernel.lanes in (4, 8, 16)
    assert kernel.block >= 1


# What it computes


def _conv(n_in: int, n_out: int, bias: bool, relu: bool, split: int | None = None) -> RowConv:
    chance = torch.Generator().manual_seed(n_in * 100 + n_out)
    kernel = torch.randn(n_out, n_in, 3, 3, generator=chance)
    given = torch.randn(n_out, generator=chance) if bias else None
    return spatial(kernel, given, relu, split=split)


@pytest.mark.parametrize("n_out", [1, 5, 16, 17, 40, 100])
@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("compact", [False, True])
def test_it_equals_torchs_operators(kernel: Kernel, n_out: int, extra: bool, compact: bool) -> None:
    conv = _conv(7, n_out, bias=extra, relu=not extra, split=3)
    line, n_rows = 9, 9 * 8
    chance = torch.Generator().manual_seed(0)
    rows = torch.tensor([10, 11, 13, 30, 31, 52, 60], dtype=torch.int32)
    places = None
    second = torch.randn(n_rows, 16, generator=chance)
    if compact:  # features that exist at listed pixels alone, behind a row of zeros
        places = torch.zeros(n_rows, dtype=torch.int32)
        places[rows.long()] = torch.arange(1, len(rows) + 1, dtype=torch.int32)
        second = torch.randn(len(rows) + 1, 16, generator=chance)
        second[0] = 0
    sources = [Features(torch.randn(n_rows, 16, generator=chance)), Features(second, places)]
    width = aligned(n_out)
    found = []
    for made in (NativeRowConv(conv, kernel), TorchRowConv(conv)):
        out = torch.full((len(rows) + 1 if compact else n_rows, width), 5.0)
        also = torch.full((n_rows, 16), 6.0)
        sums = torch.zeros(width, dtype=torch.float64)
        options: dict[str, Any] = {"sums": sums}
        if extra:
            options |= {
                "scale": torch.linspace(0.5, 2, width),
                "residual": torch.ones(n_rows, width + 16).cumsum(0),
            }
        if compact:
            options["also"] = also
        made(sources, rows, line, Features(out, places), **options)
        n = min(n_out, 16)
        found.append((out[:, :n_out], also[:, :n], sums[:n_out]))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)
    out, also, sums = found[0]
    kept = out[1:] if compact else out[rows.long()]
    torch.testing.assert_close(sums, kept.double().sum(0), rtol=1e-4, atol=1e-3)
    if compact:
        torch.testing.assert_close(also[rows.long()], out[1:, : also.shape[1]])
    elsewhere = torch.ones(n_rows, dtype=torch.bool)
    elsewhere[rows.long()] = False
    assert (also[elsewhere] == 6).all()
    if not compact:
        assert (out[elsewhere] == 5).all()


def test_nothing_to_compute(kernel: Kernel) -> None:
    x, none = torch.ones(9, 16), torch.zeros(0, dtype=torch.int32)
    out = torch.full((9, 16), 5.0)
    for conv, rows in ((_conv(3, 4, True, False), none), (_conv(3, 0, False, False), none + 4)):
        for made in (NativeRowConv(conv, kernel), TorchRowConv(conv)):
            made([Features(x)], rows, 3, Features(out))
            assert (out == 5).all()
    empty = NativeRowConv(RowConv((), torch.zeros(0, 2), torch.tensor([1.0, 2.0])), kernel)
    empty([Features(x)], torch.tensor([4], dtype=torch.int32), 3, Features(out))
    assert out[4, :2].tolist() == [1, 2]


def test_what_the_kernel_has_no_room_for(kernel: Kernel) -> None:
    NativeRowConv(RowConv((), torch.zeros(0, MAX_OUT)), kernel)
    with pytest.raises(ValueError, match="computes 4096 channels at most, not 4097"):
        NativeRowConv(RowConv((), torch.zeros(0, MAX_OUT + 1)), kernel)
    made = NativeRowConv(_conv(3, 17, False, False), kernel)
    rows = torch.tensor([4], dtype=torch.int32)
    x = Features(torch.zeros(9, 16))
    with pytest.raises(ValueError, match="rows of 16 floats cannot take 17 outputs"):
        made([x], rows, 3, Features(torch.zeros(9, 16)))
    with pytest.raises(ValueError, match="cannot take 17 outputs"):
        made([x], rows, 3, Features(torch.zeros(9, 32)), also=torch.zeros(9, 3))


def test_taps_that_touch_are_one_stretch(kernel: Kernel) -> None:
    """A kernel of 3x3 reads three lines where its input is as wide as its rows."""
    made = NativeRowConv(_conv(16, 4, False, False), kernel)
    whole, compact = Features(torch.zeros(9, 16)), torch.zeros(9, dtype=torch.int32)
    segments = made._place(10, [16], [whole])
    assert segments.tolist() == [[0, -11, 0, 48], [0, -1, 0, 48], [0, 9, 0, 48]]
    assert made._place(3, [16], [whole]).tolist() == [[0, -4, 0, 144]]  # lines touch, too
    assert len(made._place(10, [16], [Features(whole.data, compact)])) == 9
    assert len(made._place(10, [32], [whole])) == 9
    assert made._place(10, [16], [whole]) is segments
    two = RowConv((Tap(0, 0, 0, 0, 4), Tap(1, 0, 0, 4, 4)), torch.zeros(8, 1))
    assert len(NativeRowConv(two, kernel)._place(5, [16, 16], [whole, whole])) == 2


def test_few_widths_of_image_are_remembered(kernel: Kernel) -> None:
    made = NativeRowConv(_conv(3, 4, False, False), kernel)
    for line in range(3, 203):
        made._place(line, [16], [Features(torch.zeros(9, 16))])
    assert len(made._segments) < 100
