from __future__ import annotations

import datetime as dt
import ssl
import stat
from pathlib import Path

import pytest

from srdeploy.errors import UserError
from srdeploy.farm import certificates
from srdeploy.farm.certificates import check, issue
from srdeploy.farm.settings import FarmFile, read_farm

pytest.importorskip("cryptography")


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    issue(tmp_path, ["sched", "10.0.0.7"], "sched:9000")
    return tmp_path


def at(monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    now = dt.datetime.now(dt.timezone.utc) + dt.timedelta(days=days)
    monkeypatch.setattr(certificates, "_now", lambda: now)


def test_a_hosts_folder_is_all_it_needs(lab: Path) -> None:
    farm = read_farm(lab / "10.0.0.7")
    assert farm.scheduler == "sched:9000"
    assert check(farm) is None
    context = ssl.create_default_context(cafile=str(farm.ca))
    context.load_cert_chain(farm.certificate, farm.key)  # OpenSSL accepts the pair
    for key in (lab / "ca.key", farm.key):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert not (lab / "10.0.0.7" / "ca.key").exists()


def test_hosts_are_added_and_kept(lab: Path) -> None:
    before = (lab / "sched" / "host.pem").read_bytes()
    (lab / "sched" / "farm.yaml").write_text("scheduler: sched:9000\npatience_seconds: 5\n")
    issued = issue(lab, ["sched", "bench2"])
    assert [one.new for one in issued] == [False, True]
    assert (lab / "sched" / "host.pem").read_bytes() == before
    assert read_farm(lab / "bench2").scheduler == "sched:9000"
    assert check(read_farm(lab / "bench2")) is None
    issue(lab, ["sched"], renew=True)
    assert (lab / "sched" / "host.pem").read_bytes() != before
    assert read_farm(lab / "sched").patience_seconds == 5
    assert check(read_farm(lab / "sched")) is None


def test_a_stale_certificate_is_one_clear_sentence(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm = read_farm(lab / "sched")
    at(monkeypatch, 360)
    assert "ends in 4 days" in (check(farm) or "")
    at(monkeypatch, 366)
    with pytest.raises(UserError, match=r"host.pem' expired on 20\d\d-.*--renew"):
        check(farm)
    at(monkeypatch, -2)
    with pytest.raises(UserError, match="clock right"):
        check(farm)
    at(monkeypatch, 3651)
    with pytest.raises(UserError, match=r"authority .* expired"):
        issue(lab, ["late"])


def test_files_that_do_not_belong_together(
    lab: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    issue(other, ["sched"], "sched")
    mine, theirs = read_farm(lab / "sched"), read_farm(other / "sched")

    def mixed(**change: Path) -> FarmFile:
        return mine.model_copy(update=change)

    with pytest.raises(UserError, match="not issued by the authority"):
        check(mixed(ca=theirs.ca))
    with pytest.raises(UserError, match="not the key of"):
        check(mixed(key=theirs.key))
    with pytest.raises(UserError, match="no certificate in PEM"):
        check(mixed(certificate=mine.key))
    with pytest.raises(UserError, match="no private key"):
        check(mixed(key=mine.ca))
    with pytest.raises(UserError, match="There is no key"):
        check(mixed(key=lab / "none"))
    with pytest.raises(UserError, match="farm certs"):
        check(mixed(certificate=lab / "none"))


def test_a_key_that_others_may_read_is_refused(lab: Path) -> None:
    farm = read_farm(lab / "sched")
    farm.key.chmod(0o640)
    with pytest.raises(UserError, match=r"host\.key' \(mode 640\).*chmod 600"):
        check(farm)
    farm.key.chmod(0o600)
    assert check(farm) is None
    (lab / "ca.key").chmod(0o644)
    with pytest.raises(UserError, match=r"ca\.key' \(mode 644\)"):
        issue(lab, ["another"])


def test_bad_requests(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least one host"):
        issue(tmp_path, [], "a")
    with pytest.raises(UserError, match="--scheduler"):
        issue(tmp_path, ["a"])
    with pytest.raises(UserError, match="no address"):
        issue(tmp_path, ["a/../b"], "a")
    assert not list(tmp_path.iterdir())
    issue(tmp_path, ["a"], "a")
    (tmp_path / "ca.key").unlink()
    with pytest.raises(UserError, match="authority's key"):
        issue(tmp_path, ["b"])
