from __future__ import annotations

import os
import time
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from srdeploy.errors import SrdeployError, UserError
from srdeploy.farm import content_store
from srdeploy.farm.content_store import HostCache, PackedContents, StoredContent
from srdeploy.util.files import discard, sha256


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HostCache:
    monkeypatch.setenv("SRDEPLOY_CACHE", str(tmp_path / "cache"))
    return HostCache()


def send(cache: HostCache, packed: PackedContents, parcel: StoredContent, chunk: int = 3) -> None:
    for digest in cache.lacking(digest for _, digest in parcel.files):
        data = packed.sources[digest].read_bytes()
        offsets = list(range(0, len(data), chunk)) or [0]
        for offset in offsets:
            last = offset == offsets[-1]
            cache.receive(digest, offset, data[offset : offset + chunk], last, "me")


def test_a_folder_arrives_as_it_was(tmp_path: Path, cache: HostCache) -> None:
    folder = tmp_path / "Set2"
    (folder / "HR").mkdir(parents=True)
    (folder / "HR" / "a.png").write_bytes(b"pixels")
    (folder / "b.txt").write_bytes(b"")
    packed = PackedContents()
    parcel = StoredContent.of(packed.pack(str(folder)).as_dict())
    send(cache, packed, parcel)
    arrived = cache.folder(parcel)
    assert arrived.name == "Set2"
    assert sha256(arrived) == sha256(folder)
    assert cache.lacking(digest for _, digest in parcel.files) == []
    assert cache.folder(parcel) == arrived


def test_equal_contents_are_one(tmp_path: Path, cache: HostCache) -> None:
    for name in ("a.bin", "b.bin"):
        (tmp_path / name).write_bytes(b"same")
    packed = PackedContents()
    first, second = (packed.pack(str(tmp_path / name)) for name in ("a.bin", "b.bin"))
    send(cache, packed, first)
    assert cache.lacking(digest for _, digest in second.files) == []
    assert cache.folder(second).read_bytes() == b"same"
    assert cache.folder(second).name == "b.bin"


def test_what_lies_beside_travels_along(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    for name in ("net.engine", "net.engine.json", "net.engine.onnx", "other"):
        (tmp_path / name).write_bytes(name.encode())
    names = [name for name, _ in PackedContents().pack(str(tmp_path / "net.engine")).files]
    assert names == ["net.engine", "net.engine.json", "net.engine.onnx"]

    weight = onnx.numpy_helper.from_array(np.zeros(2000, np.float32), "w")
    graph = onnx.helper.make_graph([], "g", [], [], [weight])
    model = onnx.helper.make_model(graph)
    onnx.save(model, tmp_path / "big.onnx", save_as_external_data=True, location="big.data")
    names = [name for name, _ in PackedContents().pack(str(tmp_path / "big.onnx")).files]
    assert names == ["big.onnx", "big.data"]


def test_shipped_networks_travel_as_files() -> None:
    assert PackedContents().pack("edsr-s-x2").name == "edsr-s-x2.safetensors"
    with pytest.raises(UserError, match="no shipped network"):
        PackedContents().pack("nothing.onnx")


def test_broken_transfers_leave_nothing(tmp_path: Path, cache: HostCache) -> None:
    (tmp_path / "a").write_bytes(b"abcdef")
    ((_, digest),) = PackedContents().pack(str(tmp_path / "a")).files
    cache.receive(digest, 0, b"abc", False, "me")
    with pytest.raises(SrdeployError, match="sent again"):
        cache.receive(digest, 4, b"ef", True, "me")  # a piece is missing
    with pytest.raises(SrdeployError, match="sent again"):
        cache.receive(digest, 0, b"abcdeX", True, "me")
    assert cache.lacking([digest]) == [digest]
    assert not list((tmp_path / "cache").rglob("incoming/*"))


def test_nothing_leads_out_of_the_cache(cache: HostCache) -> None:
    with pytest.raises(SrdeployError, match="no hash"):
        cache.receive("../../evil", 0, b"", True, "me")
    with pytest.raises(SrdeployError, match="leads out"):
        cache.folder(StoredContent("x", (("../x", "0" * 64),)))


def test_what_is_not_used_goes(tmp_path: Path, cache: HostCache) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    packed = PackedContents()
    parcel = packed.pack(str(tmp_path / "a"))
    send(cache, packed, parcel)
    cache.folder(parcel)
    cache.tidy(days=1)
    assert cache.lacking(digest for _, digest in parcel.files) == []
    old = time.time() - 3 * 86400
    for path in [*(tmp_path / "cache").rglob("*")]:
        os.utime(path, (old, old))
    cache.tidy(days=1)
    assert len(cache.lacking(digest for _, digest in parcel.files)) == 1
    assert not list((tmp_path / "cache" / "farm" / "parcels").iterdir())


def test_two_workers_tidy_one_host(
    tmp_path: Path, cache: HostCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "a").write_bytes(b"abc")
    packed = PackedContents()
    parcel = packed.pack(str(tmp_path / "f"))
    send(cache, packed, parcel)
    cache.folder(parcel)
    other, listed = HostCache(), Path.glob

    def slow(self: Path, pattern: str) -> list[Path]:
        found = list(listed(self, pattern))
        monkeypatch.setattr(Path, "glob", listed)
        other.tidy(days=-1)
        monkeypatch.setattr(Path, "glob", slow)
        return found

    monkeypatch.setattr(Path, "glob", slow)
    cache.tidy(days=-1)
    assert cache.lacking(digest for _, digest in parcel.files)


def test_two_jobs_of_one_host_open_the_same(
    tmp_path: Path, cache: HostCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither takes away what the other has opened."""
    (tmp_path / "a.bin").write_bytes(b"right")
    packed = PackedContents()
    parcel = packed.pack(str(tmp_path / "a.bin"))
    send(cache, packed, parcel)
    others = []

    def meanwhile(path: Path, root: Path) -> None:
        monkeypatch.setattr(content_store, "discard", discard)

        def other() -> None:
            (HostCache().folder(parcel).parent / "opened").touch()

        others.append(Thread(target=other))
        others[0].start()
        others[0].join(0.5)
        discard(path, root)

    monkeypatch.setattr(content_store, "discard", meanwhile)
    mine = cache.folder(parcel).parent
    others[0].join()
    assert (mine / "opened").exists()


def test_what_a_disk_damaged_is_sent_again(tmp_path: Path, cache: HostCache) -> None:
    (tmp_path / "a.bin").write_bytes(b"right")
    packed = PackedContents()
    parcel = packed.pack(str(tmp_path / "a.bin"))
    send(cache, packed, parcel)
    arrived = cache.folder(parcel)
    arrived.write_bytes(b"wrong")  # a link to the content, so both are damaged
    digests = [digest for _, digest in parcel.files]
    assert cache.lacking(digests) == digests
    send(cache, packed, parcel)
    assert cache.lacking(digests) == []
    assert cache.folder(parcel).read_bytes() == b"right"
