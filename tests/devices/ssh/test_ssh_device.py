"""Against a real sshd: what works beyond the contract, and every misfortune in one sentence."""

from __future__ import annotations

import gc
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from srdeploy.devices.errors import DeviceError, DeviceFull, DeviceLost, DeviceRefused, DeviceUnfit
from srdeploy.devices.open import open_device
from srdeploy.devices.protocol import Job
from srdeploy.devices.ssh.device import SshDevice
from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.models.load import load_network
from tests.devices.ssh.loopback import Loopback, require_openssh

SHAPE = (1, 3, 12, 16)


@pytest.fixture(scope="module")
def onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    export_onnx(load_network("edsr-s-x2-p70"), path, check=False)
    return path


@pytest.fixture
def job(onnx: Path) -> Job:
    return Job(str(onnx), shapes=(SHAPE,), timeout_seconds=60)


@pytest.fixture(scope="module")
def device(board: Loopback) -> Iterator[SshDevice]:
    with open_device(board.uri) as opened:
        assert isinstance(opened, SshDevice)
        yield opened


def test_an_engine_is_built_once_and_the_network_travels_once(
    board: Loopback, device: SshDevice, job: Job
) -> None:
    before = len(board.builds)
    with device.load(job) as model:
        built = model.loaded.build_ms
    with device.load(job) as model:
        assert model.loaded.build_ms == 0
        assert model.loaded.precision == "fp32"
        assert "read back" in model.loaded.notes[0]
    builds = [arguments for arguments in board.builds[before:] if "--skipInference" in arguments]
    assert (len(builds), built) == (1, 12500.0)
    assert "--stronglyTyped" in builds[0]
    assert f"--optShapes=lr:{'x'.join(map(str, SHAPE))}" in builds[0]
    assert not list(board.cache.rglob("*.part"))


def test_load_and_compute_times_come_from_trtexec(device: SshDevice, job: Job) -> None:
    with device.load(job) as model:
        assert model.prepare(np.zeros(SHAPE, np.float32), runs=2, seconds=0) is None
        turn = model.turn(0.3)
        assert model.loaded.load_ms == 62.5
        assert model.loaded.runtime_version == "10.3.0"
    assert turn.samples_ms[0] == 30.4
    assert turn.compute_ms[0] == 30.0
    assert len(turn.samples_ms) == 9


def test_nothing_of_a_run_stays_but_engine_and_network(
    board: Loopback, device: SshDevice, job: Job
) -> None:
    with device.load(job) as model:
        model.prepare(np.zeros(SHAPE, np.float32), runs=0, seconds=0)
        model.run(np.zeros(SHAPE, np.float32))
    left = {path.name for path in (board.cache / "srdeploy").iterdir()}
    assert left <= {"engines", "files", "run", "timing-10.3.0.cache"}
    assert not list((board.cache / "srdeploy" / "run").iterdir())


def test_power_is_sampled_alongside(device: SshDevice) -> None:
    with device.sensors.watch(0.05) as watch:
        deadline = time.monotonic() + 20
        while len(watch.readings) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
    assert len(watch.readings) >= 3
    assert device.sensors.total_rails == ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")
    assert sum(watch.readings[-1].power_w.values()) == pytest.approx(6.755)
    assert device.sensors.conditions().power_mode == "nvpmodel MAXN"
    time.sleep(0.2)
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert "bin/tegrastats --interval 50" not in listed.stdout


def test_a_size_outside_the_engine_is_told(device: SshDevice, job: Job) -> None:
    with device.load(job) as model, pytest.raises(UserError, match="takes 1x3x12x16, not 1x3x4x4"):
        model.run(np.zeros((1, 3, 4, 4), np.float32))


def test_no_such_host() -> None:
    require_openssh()
    uri = "ssh://no-such-host.invalid"
    with pytest.raises(DeviceRefused, match="there is no host of that name"), open_device(uri):
        pass


def test_nobody_listens(board: Loopback) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        config = board.client_config("user_key", Port=str(unused.getsockname()[1]))
        uri = f"ssh://board?config={config}"
        with pytest.raises(DeviceRefused, match="is sshd running"), open_device(uri):
            pass


def test_refused_key(board: Loopback) -> None:
    uri = f"ssh://me@board?config={board.client_config('other_key')}"
    refusal = "'me@board': it refuses our key"
    with pytest.raises(DeviceRefused, match=refusal) as caught, open_device(uri):
        pass
    assert "ssh-copy-id me@board" in str(caught.value)


def test_changed_host_key(board: Loopback) -> None:
    board.trust("other_key")
    try:
        changed = "host key is another than last time"
        with pytest.raises(DeviceRefused, match=changed), open_device(board.uri):
            pass
        board.known.write_text("")
        unknown = "host key is not known yet"
        with pytest.raises(DeviceRefused, match=unknown), open_device(board.uri):
            pass
    finally:
        board.trust("host_key")


def test_a_broken_configuration(tmp_path: Path) -> None:
    require_openssh()
    (tmp_path / "config").write_text("Host board\n  NoSuchOption yes\n")
    uri = f"ssh://board?config={tmp_path / 'config'}"
    with pytest.raises(DeviceRefused, match="configuration"), open_device(uri):
        pass


def masters(board: Loopback) -> list[str]:
    """The ssh processes of this test's board."""
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return [line for line in listed.stdout.splitlines() if f"-F {board.folder}" in line]


def test_a_device_that_nobody_left_takes_its_master_along(board: Loopback) -> None:
    """A failing test, an interrupted program: the connection ends with whoever held it."""
    before = masters(board)
    device = open_device(board.uri)
    device.__enter__()
    assert len(masters(board)) == len(before) + 1
    del device
    gc.collect()
    assert masters(board) == before
    code = (
        "import sys; from srdeploy.devices.open import open_device as o; o(sys.argv[1]).__enter__()"
    )
    subprocess.run([sys.executable, "-c", code, board.uri], check=True)
    assert masters(board) == before


def test_no_command_connects_by_itself_once_the_master_is_gone(board: Loopback) -> None:
    with open_device(board.uri) as device:
        assert isinstance(device, SshDevice)
        command = device._connection.remote("echo connected anew")
        master = device._connection._master
        assert master is not None
        master.kill()
        master.wait()
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stdout) == (255, "")
        with pytest.raises(DeviceLost):
            device.commands.run(["true"])


def test_many_push_one_file_at_once(board: Loopback, tmp_path: Path) -> None:
    source = tmp_path / "net.onnx"
    source.write_bytes(random.Random(0).randbytes(3 << 20))
    board.script("mv", 'sleep 2; exec /bin/mv "$@"')  # so that all are at it together
    with ExitStack() as stack, ThreadPoolExecutor(12) as pool:
        stack.callback((board.bin / "mv").unlink)
        doors = [stack.enter_context(open_device(board.uri)) for _ in range(3)]
        files = [door.files for door in doors * 4]
        pushes = [pool.submit(one.push, source) for one in files if one is not None]
        paths = {push.result() for push in pushes}
        assert len(pushes) == 12
    (path,) = paths
    assert Path(path).read_bytes() == source.read_bytes()
    assert not list(Path(path).parent.glob("*.part"))


@pytest.mark.parametrize("tools", ["sha256sum", "none"])
def test_a_damaged_file_is_not_believed_for_its_name(
    board: Loopback, tmp_path: Path, tools: str
) -> None:
    source = tmp_path / f"{tools}.bin"
    source.write_bytes(tools.encode() * 5000)
    names = ("sha256sum", "toybox", "busybox", "shasum", "openssl")
    for name in names if tools == "none" else ():
        board.script(name, "exit 1")
    try:
        with open_device(board.uri) as device:
            assert device.files is not None
            path = Path(device.files.push(source))
            damaged = bytearray(source.read_bytes())
            damaged[777] ^= 1  # of the same size
            path.write_bytes(damaged)
            assert device.files.push(source) == str(path)
            assert path.read_bytes() == source.read_bytes()
            path.write_bytes(b"")
            device.files.push(source)
            assert path.read_bytes() == source.read_bytes()
    finally:
        for name in names if tools == "none" else ():
            (board.bin / name).unlink()


def test_a_disk_that_changes_bytes_is_told(board: Loopback, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"a" * 5000)
    board.script("cat", "/bin/cat | tr a b")
    try:
        with open_device(board.uri) as device:
            assert device.files is not None
            with pytest.raises(DeviceError, match="did not arrive whole on 'board'"):
                device.files.push(tmp_path / "f")
    finally:
        (board.bin / "cat").unlink()


def test_what_was_never_finished_is_deleted_after_days(board: Loopback, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"fresh")
    folder = board.cache / "srdeploy" / "files"
    folder.mkdir(parents=True, exist_ok=True)
    old, young = folder / "old.1.part", folder / "young.2.part"
    for one in (old, young):
        one.write_bytes(b"half")
    long_ago = time.time() - 4 * 86400
    os.utime(old, (long_ago, long_ago))
    with open_device(board.uri) as device:
        assert device.files is not None
        device.files.push(tmp_path / "f")
    assert not old.exists()
    assert young.exists()
    young.unlink()


def test_a_damaged_engine_is_built_again(board: Loopback, device: SshDevice, onnx: Path) -> None:
    job = Job(str(onnx), shapes=((1, 3, 8, 24),), timeout_seconds=60)
    with device.load(job) as model:
        assert model.loaded.build_ms == 12500.0
    with device.load(job) as model:
        assert model.loaded.build_ms == 0
    newest = max(board.cache.rglob("net.engine"), key=lambda path: path.stat().st_mtime)
    newest.write_bytes(newest.read_bytes()[:-1] + b"?")
    with device.load(job) as model:
        assert model.loaded.build_ms == 12500.0


def test_a_board_that_prints_without_end_is_cut_off(board: Loopback) -> None:
    with open_device(board.uri) as device:
        assert device.commands is not None
        with pytest.raises(DeviceError, match="'yes' printed more on 'board' than"):
            device.commands.run(["yes"])
        assert device.commands.run(["echo", "well"]).stdout == "well\n"


def test_a_jump_host(board: Loopback) -> None:
    inner = board.client_config("user_key")
    text = inner.read_text()
    hop = text.replace("Host board", "Host hop")
    inner.write_text(hop + text + f"  ProxyCommand ssh -F {inner} -W %h:%p hop\n")
    with open_device(f"ssh://board?config={inner}") as device:
        assert device.commands is not None
        assert device.commands.run(["echo", "through"]).stdout == "through\n"


def test_lost_in_the_middle_of_a_run(board: Loopback, job: Job) -> None:
    with open_device(board.uri) as device, device.load(job) as model:
        model.prepare(np.zeros(SHAPE, np.float32), runs=0, seconds=0)
        board.trouble("lost")
        with pytest.raises(DeviceLost, match="went away"):
            model.turn(0.1)


def test_a_killed_trtexec_is_not_a_lost_board(board: Loopback, device: SshDevice, job: Job) -> None:
    with device.load(job) as model:
        model.prepare(np.zeros(SHAPE, np.float32), runs=0, seconds=0)
        board.trouble("crash")
        with pytest.raises(DeviceError, match="signal 11") as caught:
            model.turn(0.1)
        assert not isinstance(caught.value, DeviceLost)


def test_a_hanging_trtexec_is_ended_there(board: Loopback, device: SshDevice, onnx: Path) -> None:
    with device.load(Job(str(onnx), shapes=(SHAPE,), timeout_seconds=60)):
        pass
    with device.load(Job(str(onnx), shapes=(SHAPE,), timeout_seconds=2)) as model:
        board.trouble("hang")
        with pytest.raises(DeviceError, match="did not end on 'board' within 2 s"):
            model.prepare(np.zeros(SHAPE, np.float32), runs=0, seconds=0)


@pytest.mark.parametrize(
    ("trouble", "kind", "sentence"),
    [
        ("full", DeviceFull, "No space is left on 'board'"),
        ("memory", DeviceError, "out of memory"),
        ("refuse", SrdeployError, "failed .building net.onnx.: .*DepthToSpace"),
        ("precision", SrdeployError, "another precision .* fp16, which nobody asked for"),
    ],
)
def test_builds_that_fail(
    trouble: str, kind: type, sentence: str, board: Loopback, device: SshDevice, onnx: Path
) -> None:
    shape = (1, 3, 12, 4 * (20 + ["full", "memory", "refuse", "precision"].index(trouble)))
    board.trouble(trouble)
    with pytest.raises(kind, match=sentence) as caught:
        device.load(Job(str(onnx), shapes=(shape,)))
    assert "\n" not in str(caught.value)
    assert not list(board.cache.rglob("*.part"))
    board.trouble("")
    with device.load(Job(str(onnx), shapes=(shape,))) as model:
        assert model.loaded.build_ms == 12500.0


def test_a_full_disk_leaves_nothing_half_written(board: Loopback, tmp_path: Path) -> None:
    (tmp_path / "big.bin").write_bytes(b"x" * 5000)
    # The kernel's own answer for a full device, given to whatever copies.
    board.script("cat", "exec /bin/cat > /dev/full")
    try:
        with open_device(board.uri) as device:
            assert device.files is not None
            with pytest.raises(DeviceFull, match=r"No space is left on 'board'.*\?dir=PATH"):
                device.files.push(tmp_path / "big.bin")
    finally:
        (board.bin / "cat").unlink()
    assert not list((board.cache / "srdeploy" / "files").glob("*.part"))
    with open_device(board.uri) as device:
        assert device.files is not None
        path = device.files.push(tmp_path / "big.bin")
        assert Path(path).read_bytes() == b"x" * 5000


def test_a_folder_that_may_not_be_written(board: Loopback, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    with open_device(f"{board.uri}&dir=/proc/srdeploy") as device:
        assert device.files is not None
        with pytest.raises(DeviceError, match="was not written"):
            device.files.push(tmp_path / "f")


def test_trtexec_is_missing(board: Loopback, job: Job) -> None:
    shutil.move(board.bin / "trtexec", board.bin / "hidden")
    try:
        with open_device(board.uri) as device:
            ended = Job(job.artifact, shapes=job.shapes, runtime="tensorrt")
            with pytest.raises(DeviceUnfit, match=r"no trtexec on 'board'.*libnvinfer-bin"):
                device.load(ended)
        with open_device(f"{board.uri}&trtexec={board.bin / 'hidden'}") as device:
            assert device.facts.versions == {"tensorrt": "10.3.0"}
    finally:
        shutil.move(board.bin / "hidden", board.bin / "trtexec")


def test_wrong_architecture(board: Loopback, job: Job) -> None:
    board.script("uname", 'case "$1" in -m) echo riscv64 ;; *) echo Linux ;; esac')
    try:
        with open_device(board.uri) as device:
            assert device.facts.arch == "riscv64"
            with pytest.raises(DeviceUnfit, match="'board' is riscv64; the native runner exists"):
                device.load(Job(job.artifact, shapes=job.shapes, runtime="ncnn"))
    finally:
        (board.bin / "uname").unlink()


def test_an_unknown_runtime(device: SshDevice, job: Job) -> None:
    with pytest.raises(UserError, match="runtime of ssh devices"):
        device.load(Job(job.artifact, shapes=job.shapes, runtime="tensorr"))


@pytest.mark.parametrize(("uri", "reason"), [("ssh://", "no host"), ("ssh://-oProxy", "no name")])
def test_uris_that_name_no_host(uri: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        open_device(uri)


@pytest.mark.parametrize(
    ("version", "dotted", "flag"),
    [("8502", "8.5.2", "--buildOnly"), ("8601", "8.6.1", "--skipInference"),
     ("110100", "11.1.0", "--skipInference")],
)  # fmt: skip
def test_other_versions_of_trtexec(
    version: str, dotted: str, flag: str, job: Job, tmp_path: Path
) -> None:
    """The stand-in refuses every option that its version does not have."""
    require_openssh()
    other = Loopback(tmp_path, programs=("trtexec",), version=version)
    try:
        with open_device(other.uri) as device, device.load(job) as model:
            x = np.random.default_rng(0).random(SHAPE, np.float32)
            model.prepare(x, runs=0, seconds=0)
            assert model.turn(0.1).samples_ms
            assert model.loaded.runtime_version == dotted
            assert model.run(x).shape == (1, 3, 24, 32)
        assert flag in other.builds[0]
        timing = other.builds[1]
        assert ("--includeDataTransfers" in timing) == (version == "110100")
    finally:
        other.stop()
