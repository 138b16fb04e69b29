from __future__ import annotations

import pytest

from srdeploy.devices.errors import DeviceError, DeviceLost
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
        param="/d/a.param",
        weights="/d/a.bin",
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
