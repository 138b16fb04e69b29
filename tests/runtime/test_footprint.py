"""Bytes per pixel, worked out on a kernel and a network that are made up."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from srdeploy.errors import UserError
from srdeploy.models.card import Card
from srdeploy.runtime import footprint
from srdeploy.runtime.footprint import bytes_per_pixel, peak, resident
from srdeploy.runtime.session import Session
from srdeploy.runtime.sizes import InputSizes


class Kernel:
    """/proc of a process: what it holds, and the most that it has held."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.status, self.clear = folder / "status", folder / "clear_refs"
        self.clear.touch()
        monkeypatch.setattr(footprint, "_STATUS", self.status)
        monkeypatch.setattr(footprint, "_CLEAR", self.clear)
        monkeypatch.setattr(footprint, "_before_reset", 0)
        self.tell(held=100, most=100)

    def tell(self, held: int, most: int) -> None:
        """In KB, as the kernel does."""
        self.status.write_text(f"Name:\tp\nVmPeak:\t9 kB\nVmHWM:\t{most} kB\nVmRSS:\t{held} kB")


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(tmp_path, monkeypatch)


class Network(Session):
    """Grows the process to ``needs`` bytes per pixel above what it held."""

    runtime: ClassVar[str] = "fake"

    def __init__(
        self, kernel: Kernel | None, needs: int, sizes: InputSizes | None = None, **card: object
    ) -> None:
        fields = {"arch": "t", "scale": 2, "scales": (2,), "channels": 3, "value_range": 1.0}
        super().__init__(Card(**(fields | card)), 1)
        self.kernel, self.needs, self.takes = kernel, needs, sizes
        self.seen: list[tuple[int, ...]] = []
        self.smallest = 1

    @property
    def sizes(self) -> InputSizes | None:
        return self.takes

    def _run(self, x: np.ndarray) -> np.ndarray:
        self.seen.append(x.shape)
        if x.shape[2] < self.smallest:
            raise UserError("too small for me")
        if self.kernel:
            self.kernel.tell(held=100, most=100 + self.needs * x[0, 0].size // 1024)
        s = self.card.network_scale
        return np.zeros((*x.shape[:2], x.shape[2] * s, x.shape[3] * s), np.float32)


def test_the_growth_of_a_run_and_a_fifth(kernel: Kernel) -> None:
    session = Network(kernel, needs=1024)
    assert bytes_per_pixel(session) == pytest.approx(1024 * 1.2)
    warm, large = (1, 3, 48, 48), (1, 3, 192, 192)
    assert session.seen == [warm, large, large]
    assert kernel.clear.read_text() == "5"


def test_the_result_is_the_least(kernel: Kernel) -> None:
    assert bytes_per_pixel(Network(kernel, needs=0)) == pytest.approx(4 * 3 * 2**2 * 1.2)
    luma = Network(kernel, needs=0, channels=1, scale=4, scales=(4,))
    assert bytes_per_pixel(luma) == pytest.approx(4 * 1 * 4**2 * 1.2)


@pytest.mark.parametrize(
    ("multiple", "warm", "large"), [(1, 48, 192), (7, 42, 189), (64, 64, 192), (100, 100, 100)]
)
def test_sizes_that_the_network_takes(kernel: Kernel, multiple: int, warm: int, large: int) -> None:
    session = Network(kernel, needs=2048, size_multiple=multiple)
    assert bytes_per_pixel(session) == pytest.approx(2048 * 1.2, rel=1e-3)
    assert [shape[2] for shape in session.seen] == [warm, large, large]


@pytest.mark.parametrize(
    ("sizes", "sides"),
    [
        (InputSizes(((192, 192),)), [192, 192]),
        (InputSizes(low=(60, 1), high=(500, 500)), [192, 192]),
        (InputSizes(low=(48, 48), high=(192, 192)), [48, 192, 192]),
    ],
)
def test_it_is_warmed_where_it_may_be(kernel: Kernel, sizes: InputSizes, sides: list[int]) -> None:
    session = Network(kernel, 1024, sizes)
    assert bytes_per_pixel(session) == pytest.approx(1024 * 1.2)
    assert [shape[2] for shape in session.seen] == sides


def test_a_network_that_the_warm_size_is_too_small_for(kernel: Kernel) -> None:
    session = Network(kernel, 1024)
    session.smallest = 100
    assert bytes_per_pixel(session) == pytest.approx(1024 * 1.2)
    session.smallest = 200
    with pytest.raises(UserError, match="too small"):
        bytes_per_pixel(session)


def test_estimates_are_four_tensors_of_the_widest_layer(kernel: Kernel) -> None:
    for sizes in (InputSizes(((8, 8),)), InputSizes(low=(1, 1), high=(191, 191))):
        session = Network(kernel, 1024, sizes, widths={"a": 64, "b": 128})
        assert bytes_per_pixel(session) == pytest.approx(4 * 4 * 128 * 1.2)
        assert session.seen == []
    assert bytes_per_pixel(Network(kernel, 1024, size_multiple=256)) == pytest.approx(16 * 12 * 1.2)


def test_a_system_that_tells_nothing(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel.status.unlink()
    monkeypatch.setattr(sys, "platform", "win32")
    assert (resident(), peak()) == (None, None)
    assert bytes_per_pixel(Network(None, 0, widths={"a": 32})) == pytest.approx(16 * 32 * 1.2)


def test_what_is_held_and_was(kernel: Kernel) -> None:
    kernel.tell(held=30, most=50)
    assert (resident(), peak()) == (30 * 1024, 50 * 1024)
    assert footprint._reset_peak() == 30 * 1024
    kernel.tell(held=30, most=30)
    assert peak() == 50 * 1024  # also of before
    kernel.tell(held=60, most=70)
    assert peak() == 70 * 1024
    footprint._reset_peak()
    kernel.tell(held=20, most=40)
    footprint._reset_peak()
    assert peak() == 70 * 1024


def test_a_kernel_that_resets_nothing_counts_from_the_peak(kernel: Kernel) -> None:
    kernel.clear.unlink()
    kernel.clear.mkdir()
    kernel.tell(held=30, most=50)
    assert footprint._reset_peak() == 50 * 1024
    assert footprint._before_reset == 0


def test_a_mac_tells_its_peak_alone(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    kernel.status.unlink()
    monkeypatch.setattr(sys, "platform", "darwin")
    usage = type("Usage", (), {"ru_maxrss": 12345})
    monkeypatch.setattr(resource, "getrusage", lambda who: usage)
    assert (resident(), peak()) == (12345, 12345)
