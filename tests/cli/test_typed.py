"""What is typed, and what the parser gets of it."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import typer

import srdeploy.api  # noqa: F401  (all that imports what is replaced below does so before)
from srdeploy.cli.main import app, run
from srdeploy.cli.typed import EVERYWHERE, understood
from srdeploy.errors import UserError
from tests.cli.reach import STOP, calls

ROOT: Any = typer.main.get_command(app)


@pytest.mark.parametrize(
    ("typed", "parsed"),
    [
        ("prune n --sparsity 0.5 -o s", "prune n --ratio 0.5 -o s"),
        ("prune n --sparsity=0.5 -o s", "prune n --ratio=0.5 -o s"),
        ("export n --half", "export n --precision fp16"),
        ("export n --fp16", "export n --precision fp16"),
        ("export n --int8 --data D", "export n --precision int8 --eval-data D"),
        ("finetune n --int8 -o t", "finetune n --quantise int8 -o t"),
        ("finetune n --quantize int8 -o t", "finetune n --quantise int8 -o t"),
        ("export n --quantize w8", "export n --quantise w8"),
        ("finetune n --data D --eval E -o t", "finetune n --train-data D --eval-data E -o t"),
        ("prune n --data D --finetune 9", "prune n --eval-data D --iterations 9"),
        ("bench a b --data D", "bench a b --eval-data D"),
        ("bench compare a b --data D", "bench compare a b --eval-data D"),
        ("bench sparse --repeats 3", "bench sparse --runs 3"),
        ("bench a --repeats 3", "bench a --repeats 3"),
        ("report r --images Set5", "report r --eval-data Set5"),
        ("export n --images", "export n --images"),
        ("rebuild e --on ssh://x", "rebuild e --device ssh://x"),
        ("finetune n --precision int8 -o t", "finetune n --quantise int8 -o t"),
        ("finetune n --precision=int8 -o t", "finetune n --quantise int8 -o t"),
        ("export n --quantize int8", "export n --precision int8"),
        ("export n --quantise w8", "export n --quantise w8"),
        ("eval n --gpu", "eval n --runtime onnxruntime-cuda"),
        # -q and -v anywhere
        ("eval n -q", "-q eval n"),
        ("bench a b --verbose --json", "--verbose bench a b --json"),
        ("bench -v compare a b", "-v bench compare a b"),
        ("farm devices -qv", "-qv farm devices"),
        ("-q eval n", "-q eval n"),
        # values, and what follows --, are nobody's words
        ("report r --title --data", "report r --title --data"),
        ("report r --title -v", "report r --title -v"),
        ("export n -- --half -v", "export n -- --half -v"),
        ("upscale n - -o x", "upscale n - -o x"),
        ("bench --json a", "bench --json a"),
        ("--help", "--help"),
        ("prune --help", "prune --help"),
        ("prune -h", "prune -h"),
    ],
)
def test_other_words_become_ours(typed: str, parsed: str) -> None:
    assert understood(ROOT, shlex.split(typed)) == shlex.split(parsed)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("quantize n", "`srdeploy export FILE --precision int8`"),
        ("convert n", "`srdeploy export`"),
        ("benchmark n", "`srdeploy bench`"),
        ("test n", "`srdeploy eval`"),
        ("infer n", "`srdeploy upscale`"),
        ("upsample n", "`srdeploy upscale`"),
        ("prun n", "did you mean 'prune'? See `srdeploy --help`."),
        ("farm status", "`srdeploy farm devices`. See `srdeploy farm --help`."),
        ("bench a --int8", "the precision lies in the file: `srdeploy export"),
        ("bench a --fp16=1", "the precision lies in the file"),
        ("eval n --scael 2", "`srdeploy eval` has no option --scael; did you mean --scale?"),
        ("eval n --zzzzzz", "see `srdeploy eval --help`."),
        ("finetune n --epochs 3", "training counts --iterations"),
        ("bench compare a b --zzzzzz", "`srdeploy bench compare` has no option --zzzzzz"),
        ("--zzzzzz", "`srdeploy` has no option --zzzzzz; see `srdeploy --help`."),
        ("export n --half=yes", "`srdeploy export` has no option --half"),
    ],
)
def test_what_is_not_ours_is_refused_with_what_is_meant(typed: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        understood(ROOT, shlex.split(typed))
    assert told in str(caught.value)


def test_a_refusal_is_one_sentence_and_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["quantize", "x"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert len(told.err.splitlines()) == 1
    assert told.err.startswith("srdeploy: There is no command named 'quantize'; write ")


def test_what_the_parser_refuses_names_the_help_of_its_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for line, told in (
        ("inspect", "Missing argument 'FILE'. See `srdeploy inspect --help`."),
        ("bench compare a", "Missing argument 'NEW'. See `srdeploy bench compare --help`."),
        ("finetune n -o x.st --lr half", "string as a number. See `srdeploy finetune --help`."),
    ):
        assert run(line.split()) == 2
        assert told in capsys.readouterr().err


def test_no_command_has_another_q_or_v() -> None:
    def walk(command: Any) -> list[str]:
        inner = getattr(command, "commands", {}).values()
        own = [flag for one in command.params for flag in one.opts]
        return own + [flag for one in inner for flag in walk(one)]

    for command in ROOT.commands.values():
        assert not set(walk(command)) & set(EVERYWHERE)


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("eval n.onnx --runtime trt", {"open_session.runtime": "tensorrt"}),
        ("eval n.onnx --runtime onnxruntime-gpu", {"open_session.runtime": "onnxruntime-cuda"}),
        ("export n.st --target TensorRT", {"export.target": "trt"}),
        ("export n.st --target mlmodel", {"export.target": "coreml"}),
        ("export n.st --precision HALF", {"export.options.precision": "fp16"}),
        ("bench n.onnx --device gpu", {"plan.devices": ["local?provider=cuda"]}),
        ("bench n.onnx --device cpu,android", {"plan.devices": ["local", "adb"]}),
    ],
)
def test_values_in_other_words_are_understood(line: str, meant: dict[str, Any]) -> None:
    replaced = {
        "srdeploy.runtime.open:open_session": STOP,
        "srdeploy.models.load:load_network": "the network",
        "srdeploy.exporting.run:export": STOP,
        "srdeploy.benchmarking.measuring.plan:check_artifacts": None,
        "srdeploy.runtime.open:scale_of": 2,
        "srdeploy.benchmarking.measuring.plan:plan": STOP,
    }
    seen = calls(line, replaced)
    assert {key: seen.get(key) for key in meant} == meant
