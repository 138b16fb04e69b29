"""Files on the Hugging Face hub: names, the real client against a server here, and refusals."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from srdeploy.errors import SrdeployError, UserError
from srdeploy.models.hub_file import HubFile, fetch, hub_file, pinned
from srdeploy.models.load import load_network
from srdeploy.models.registry import create

COMMIT = "0123456789" * 4


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("hf:org/repo/net.pth", HubFile("org/repo", "net.pth")),
        ("hf://org/repo/a/b.onnx", HubFile("org/repo", "a/b.onnx")),
        ("hf:o-r.g/re_po@v1.0/net.pth", HubFile("o-r.g/re_po", "net.pth", "v1.0")),
        (Path("hf:org/repo/net 2.pth"), HubFile("org/repo", "net 2.pth")),
        ("net.pth", None),
        ("shf:org/repo/net.pth", None),
    ],
)
def test_names(name: str | Path, wanted: HubFile | None) -> None:
    assert hub_file(name) == wanted
    assert wanted is None or hub_file(str(wanted)) == wanted


@pytest.mark.parametrize(
    "rest",
    ["", "org", "org/repo", "org/repo/", "org/repo@/f", "org/repo@a/b/", "org/repo/../f",
     "org/repo/a//f", "org/repo/./f", "org/repo/a\\f", "org/repo/f@main", "o g/repo/f",
     "org/repo/f\x1b[2J", "org/repo/f\n"],
)  # fmt: skip
def test_what_is_no_name(rest: str) -> None:
    with pytest.raises(UserError, match=r"write hf:ORG/REPOSITORY/FILE") as caught:
        hub_file(f"hf:{rest}")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("https://huggingface.co/a/b/resolve/main/c/d.pth", "write hf:a/b@main/c/d.pth"),
        (Path("https://huggingface.co/a/b/blob/v1/d.pth"), "write hf:a/b@v1/d.pth"),
        ("https://huggingface.co/a/b/resolve/main/d.pth?download=true", "write hf:a/b@main/d.pth"),
        ("http://example.org/net.pth", "download the file"),
    ],
)
def test_addresses(address: str | Path, told: str) -> None:
    with pytest.raises(UserError, match=rf"is an address; {told}"):
        load_network(address)


def test_the_commit_is_read_off_the_cache() -> None:
    wanted = HubFile("a/b", "c/d.pth", "main")
    path = Path("hub/models--a--b/snapshots") / COMMIT / "c/d.pth"
    assert pinned(wanted, path) == f"hf:a/b@{COMMIT}/c/d.pth"
    assert pinned(wanted, Path("d.pth")) == pinned(wanted, Path("x/c/d.pth")) == str(wanted)


def test_without_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"needs huggingface_hub; .* 'srdeploy\[hf\]'"):
        load_network("hf:org/repo/absent.pth")


def test_what_the_history_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / COMMIT / "net.pth"
    file.parent.mkdir()
    torch.save({"params": create("edsr", n_blocks=1, n_feats=4).module.state_dict()}, file)
    monkeypatch.setattr("srdeploy.models.card_file.fetch", lambda wanted: file)
    (first,) = load_network("hf:org/repo/net.pth").card.history
    assert first["source"] == f"hf:org/repo@{COMMIT}/net.pth"
    assert "source" not in load_network(file).card.history[0]


# The client itself, against a server that answers as the hub does


class Hub(BaseHTTPRequestHandler):
    """One repository with one file; every request is noted."""

    content = b"weights" * 1000
    asked: list[str]

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        known, _, rest = self.path.removeprefix("/org/repo/resolve/").partition("/")
        error = None
        if not self.path.startswith("/org/"):
            error = "RepoNotFound"
        elif self.path.startswith("/org/gated/"):
            error = "GatedRepo"
        elif known not in ("main", "v1", COMMIT):
            error = "RevisionNotFound"
        elif rest != "nets/a.bin":
            error = "EntryNotFound"
        status = 200 if error is None else (403 if error == "GatedRepo" else 404)
        self.send_response(status)
        body = b"" if error else self.content
        if error:
            self.send_header("X-Error-Code", error)
            self.send_header("X-Error-Message", error)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(self.content).hexdigest()}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture
def hub() -> Iterator[tuple[str, list[str]]]:
    """Address of the server, and the requests that came."""

    class Mine(Hub):
        asked: list[str] = []

    with ThreadingHTTPServer(("127.0.0.1", 0), Mine) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", Mine.asked
        server.shutdown()
        thread.join()


ASK = """
import sys
from srdeploy.errors import SrdeployError
from srdeploy.models.card_file import find_file
from srdeploy.models.hub_file import hub_file, pinned
for name in sys.argv[1:]:
    try:
        path = find_file(name)
        print(path.read_bytes()[:7], path.name, pinned(hub_file(name), path))
    except SrdeployError as error:
        print(type(error).__name__, error)
"""


def ask(home: Path, endpoint: str, *names: str, **more: str) -> list[str]:
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), **more}
    environment |= {"HF_HUB_DISABLE_XET": "1", "NO_PROXY": "*"}
    found = subprocess.run(
        [sys.executable, "-c", ASK, *names],
        env=environment, capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    assert found.stderr == ""
    return found.stdout.splitlines()


def test_the_client_fetches_the_one_file(tmp_path: Path, hub: tuple[str, list[str]]) -> None:
    pytest.importorskip("huggingface_hub")
    address, asked = hub
    told = ask(
        tmp_path, address, "hf:org/repo/nets/a.bin", "hf:org/repo@v1/nets/a.bin",
        "hf:org/repo/nets/b.bin", "hf:org/repo@v2/nets/a.bin", "hf:org/gated/a.bin",
        "hf:nobody/repo/a.bin",
    )  # fmt: skip
    assert told[0] == told[1] == f"b'weights' a.bin hf:org/repo@{COMMIT}/nets/a.bin"
    assert told[2].startswith("UserError 'org/repo' has no file 'nets/b.bin'")
    assert told[3].startswith("UserError 'org/repo' has no revision 'v2'")
    assert told[4].startswith("UserError 'org/gated' gives its files only to those")
    assert told[5].startswith("UserError The Hugging Face hub has no repository 'nobody/repo'")
    gets = [one.partition("/resolve/")[2] for one in asked if one.startswith("GET")]
    assert gets == ["main/nets/a.bin"]
    # Then the hub is out of reach: what is in the cache opens, and the rest is told.
    told = ask(
        tmp_path, "http://127.0.0.1:9", "hf:org/repo/nets/a.bin", "hf:org/repo/nets/c.bin",
        HF_HUB_OFFLINE="1",
    )  # fmt: skip
    assert told[0] == f"b'weights' a.bin hf:org/repo@{COMMIT}/nets/a.bin"
    assert told[1].startswith("SrdeployError 'hf:org/repo/nets/c.bin' is not on this machine")


def test_any_other_failure_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")

    def fails(*_: Any, **__: Any) -> str:
        raise OSError("disk\x1b full.\nmore")

    monkeypatch.setattr(hub, "hf_hub_download", fails)
    with pytest.raises(SrdeployError, match=r"could not be fetched \(disk\? full\); try") as caught:
        fetch.__wrapped__(HubFile("a", "b"))
    assert type(caught.value) is SrdeployError
