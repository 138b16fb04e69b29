from __future__ import annotations

import pytest

from srdeploy.devices.errors import DeviceError, DeviceFull, DeviceLost, DeviceUnfit
from srdeploy.devices.native import read_report, runner_arguments
from srdeploy.devices.protocol import Completed
from srdeploy.errors import SrdeployError

ANSWER = """runtime ncnn 20260113
precision fp16
threads 4
load_ms 12.31
first_ms 45.02
sample_ms 31.20
sample_ms 30.90
peak_mb 61.3
output 1,3,540,960
end ok
"""


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_an_answer(newline: str) -> None:
    report = read_report(Completed(0, ANSWER.replace("\n", newline), ""), "phone")
    assert (report.runtime, report.version, report.precision) == ("ncnn", "20260113", "fp16")
    assert report.samples_ms == [31.2, 30.9]
    assert (report.load_ms, report.first_ms, report.peak_mb) == (12.31, 45.02, 61.3)
    assert report.output == (1, 3, 540, 960)


@pytest.mark.parametrize(
    ("text", "complaint", "code", "kind", "sentence"),
    [
        (ANSWER.replace("end ok\n", ""), "", 0, DeviceLost, "went away"),
        ("", "Killed", 137, DeviceLost, "Killed"),
        ("", "", 0, DeviceLost, "nothing"),
        ("", "sh: ./srdeploy-runner: Exec format error", 126, DeviceError, "architecture"),
        ("error the network has an unknown layer\n", "", 2, SrdeployError, "unknown layer"),
        ("runtime ncnn\nend ok\n", "", 0, DeviceError, "another version"),
    ],
)
def test_bad_answers(text: str, complaint: str, code: int, kind: type, sentence: str) -> None:
    with pytest.raises(kind, match=sentence):
        read_report(Completed(code, text, complaint), "phone")


def test_arguments() -> None:
    arguments = runner_arguments(
        {"param": "/d/a.param", "bin": "/d/a.bin"},
        tensor="/d/x",
        shape=(1, 3, 4, 5),
        threads=2,
        precision="fp16",
        warmup=(3, 0.5),
        minimum=(20, 5.0),
        output="/d/y",
    )
    pairs = dict(zip(arguments[::2], arguments[1::2], strict=True))
    assert pairs == {
        "--param": "/d/a.param",
        "--bin": "/d/a.bin",
        "--input": "/d/x",
        "--shape": "1,3,4,5",
        "--threads": "2",
        "--precision": "fp16",
        "--warmup-runs": "3",
        "--warmup-seconds": "0.5",
        "--min-runs": "20",
        "--min-seconds": "5",
        "--output": "/d/y",
    }


def test_without_options_nothing_is_timed_or_kept() -> None:
    arguments = runner_arguments({"net": "n"}, tensor="x", shape=(1, 2, 3, 4), threads=1)
    pairs = dict(zip(arguments[::2], arguments[1::2], strict=True))
    assert arguments[:2] == ["--net", "n"]
    assert pairs["--precision"] == "fp32"
    assert [pairs[f"--{name}"] for name in ("warmup-runs", "warmup-seconds")] == ["0", "0"]
    assert [pairs[f"--{name}"] for name in ("min-runs", "min-seconds")] == ["0", "0"]
    assert "--output" not in pairs


def test_what_an_answer_may_leave_out() -> None:
    text = "".join(
        line for line in ANSWER.splitlines(keepends=True)
        if not line.startswith(("sample", "peak", "output"))
    )  # fmt: skip
    report = read_report(Completed(0, text, ""), "phone")
    assert (report.samples_ms, report.peak_mb, report.output) == ([], None, None)
    for line in ("threads 4", "load_ms 12.31", "first_ms 45.02", "precision fp16"):
        with pytest.raises(DeviceError, match="of another version"):
            read_report(Completed(0, ANSWER.replace(f"{line}\n", ""), ""), "phone")
    for broken in ("threads x", "output 1,2,3"):
        answer = f"{broken}\n".join(ANSWER.rsplit("end ok\n", 1)) + "end ok\n"
        with pytest.raises(DeviceError, match="of another version"):
            read_report(Completed(0, answer, ""), "phone")


@pytest.mark.parametrize(
    ("out", "err", "code", "kind", "told"),
    [
        ("error No space left on device: x\n", "", 2, DeviceFull, "phone: No space left"),
        ("", "error it broke\n", 2, SrdeployError, "phone: it broke"),
        (f"{ANSWER}more\n", "", 0, DeviceLost, r"exit code 0; it last said: more\)"),
        ("a\nlast\n", "first\nsecond\n", 9, DeviceLost, r"exit code 9; it last said: second\)"),
        ("x" * 201, "", 0, DeviceLost, f"last said: {'x' * 200}\\)"),
        ("", "", 126, DeviceError, "cannot run programs of this architecture"),
        ("", "sh: ./runner: not found\n", 127, DeviceUnfit, "--runtime ncnn takes its CPU"),
        ("", "/lib/libc.so.6: version `GLIBC_2.27' not found\n", 1, DeviceUnfit, "newer GNU C"),
        ("", "", 125, DeviceLost, "it last said: nothing"),
    ],
)
def test_whose_fault_an_answer_is(out: str, err: str, code: int, kind: type, told: str) -> None:
    with pytest.raises(kind, match=told) as caught:
        read_report(Completed(code, out, err), "phone")
    assert type(caught.value) is kind
    assert read_report(Completed(9, ANSWER, ""), "phone").threads == 4  # its end says it is whole


def test_which_gpu_it_was() -> None:
    for told, gpu in (
        ("integrated Mali-G610", "Mali-G610"),
        ("software llvmpipe (LLVM 19)", "llvmpipe (LLVM 19), in software: its speed is no GPU's"),
    ):
        report = read_report(Completed(0, f"gpu {told}\n{ANSWER}", ""), "board")
        assert report.gpu == gpu
    for broken in ("quantum Mali", "discrete", ""):
        with pytest.raises(DeviceError, match="of another version"):
            read_report(Completed(0, f"gpu {broken}\n{ANSWER}", ""), "board")


@pytest.mark.parametrize("length", [170, 300])
def test_an_answer_that_cannot_be_read_is_quoted_in_part(length: int) -> None:
    word = "x" * length
    with pytest.raises(DeviceError) as caught:
        read_report(Completed(0, ANSWER.replace("threads 4", f"threads {word}"), ""), "phone")
    quoted = f"invalid literal for int() with base 10: '{word}'"[:200]
    assert f"cannot read ({quoted}); it is of another version" in str(caught.value)


def test_what_smsr_tells() -> None:
    more = "kernel neon\nmodule 0.4312 rows\nmodule 1.0000 rows\nend ok\n"
    report = read_report(Completed(0, ANSWER.replace("end ok\n", more), ""), "phone")
    assert report.kernel == "neon"
    assert [(one.density, one.form) for one in report.modules] == [(0.4312, "rows"), (1.0, "rows")]
    for broken in ("1.2 rows", "-0.1 rows", "nan rows", "0.5 columns", "0.5", "x rows"):
        text = ANSWER.replace("end ok\n", f"module {broken}\nend ok\n")
        with pytest.raises(DeviceError, match="of another version"):
            read_report(Completed(0, text, ""), "phone")
