"""What processes share and tell each other; the rest of them are forks of the test."""

from __future__ import annotations

import json
import os
import socket
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.nn  # so that forks need not import it
from torch import nn

from srdeploy.errors import SrdeployError, UserError
from srdeploy.models.network import Network
from srdeploy.train.patches import FolderPatches
from srdeploy.train.processes import Processes, environment, joined
from srdeploy.train.recipe import TrainRecipe
from srdeploy.util import progress

Make = Callable[..., TrainRecipe]


def together(count: int, folder: Path, body: Callable[[Processes], Any], **variables: str) -> list:
    """What ``body`` answers in each of so many processes, which find each other as torchrun's."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    children = []
    for rank in range(count):
        if (pid := os.fork()) == 0:
            os.environ.update(
                RANK=str(rank), WORLD_SIZE=str(count), LOCAL_RANK=str(rank),
                LOCAL_WORLD_SIZE=str(count), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
            )  # fmt: skip
            os.environ.update(variables)
            torch.set_num_threads(1)
            try:
                with joined() as processes:
                    answer = body(processes)
                    processes.wait()
            except BaseException:
                answer = traceback.format_exc()
            (folder / f"{rank}.part").write_text(json.dumps(answer))
            (folder / f"{rank}.part").rename(folder / f"{rank}.json")
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(count)]


def test_figures_and_flags_are_shared(tmp_path: Path) -> None:
    def body(processes: Processes) -> Any:
        rank = processes.rank
        mean = processes.mean(torch.tensor(4.0 + 2 * rank))
        flags = processes.any(rank == 0, False, rank == 2, True)
        return [rank, processes.is_first, mean, flags, progress.is_quiet()]

    flags = [True, False, True, True]
    told = together(3, tmp_path, body)
    assert told == [[rank, rank == 0, 6.0, flags, rank != 0] for rank in range(3)]


def test_gradients_are_averaged_and_the_missing_are_left(tmp_path: Path) -> None:
    def body(processes: Processes) -> Any:
        shapes = (2, 3), (1,), (2, 1, 2)
        parameters = [nn.Parameter(torch.zeros(shape)) for shape in shapes]
        for number, parameter in enumerate(parameters[::2]):
            count = parameter.numel()
            own = torch.arange(float(count)).view(parameter.shape)
            parameter.grad = (own + 10 * number) * (1 + 2 * processes.rank)
        processes.average_gradients(parameters)
        return [None if p.grad is None else p.grad.tolist() for p in parameters]

    wanted = [
        [[0.0, 2.0, 4.0], [6.0, 8.0, 10.0]], None, [[[20.0, 22.0]], [[24.0, 26.0]]],
    ]  # fmt: skip
    assert together(2, tmp_path, body) == [wanted, wanted]


def test_what_is_not_the_same_in_all_is_noticed(tmp_path: Path) -> None:
    def body(processes: Processes) -> Any:
        processes.check_same("The start is", "equal")
        told = []
        for value in ("ab"[processes.rank], "ba"[processes.rank]):
            with pytest.raises(SrdeployError) as error:
                processes.check_same("The start is", value)
            told.append(str(error.value))
        return told

    told = together(2, tmp_path, body)
    assert told[0] == told[1]
    assert {text.partition(";")[0] for text in told[0]} == {
        "The start is not the same in all 2 processes"
    }


def test_the_first_of_a_machine_goes_ahead(tmp_path: Path) -> None:
    def body(processes: Processes) -> Any:
        with processes.one_first():
            if processes.rank == 0:
                time.sleep(0.3)
            return [time.monotonic(), [p.name for p in tmp_path.glob("*.done")],
                    (tmp_path / f"{processes.rank}.done").write_text("")]  # fmt: skip

    first, second = together(2, tmp_path, body)
    assert first[1] == []
    assert second[1] == ["0.done"]
    assert second[0] > first[0]


def test_an_error_of_the_first_lets_the_others_meet_it_themselves(tmp_path: Path) -> None:
    def body(processes: Processes) -> Any:
        try:
            with processes.one_first():
                raise ValueError(f"of {processes.rank}")
        except ValueError as error:
            return str(error)

    assert together(2, tmp_path, body) == ["of 0", "of 1"]


def test_those_of_one_machine_need_no_network(tmp_path: Path) -> None:
    def body(processes: Processes) -> Any:
        return os.environ.get("GLOO_SOCKET_IFNAME")

    assert together(2, tmp_path, body) == ["lo", "lo"]
    assert together(1, tmp_path, body, WORLD_SIZE="1") == [os.environ.get("GLOO_SOCKET_IFNAME")]


def test_joining_again_is_no_other_group(tmp_path: Path) -> None:
    def body(processes: Processes) -> Any:
        with joined() as again:
            flags = again.any(again.rank == 1)
        return [again == processes, flags, torch.distributed.is_initialized()]

    assert together(2, tmp_path, body) == [[True, [True], True]] * 2


def test_a_process_that_is_gone_is_a_sentence(tmp_path: Path) -> None:
    def body(processes: Processes) -> Any:
        if processes.rank == 1:
            (tmp_path / "1.json").write_text("null")
            os._exit(0)
        with pytest.raises(SrdeployError) as error:
            processes.wait()
        return str(error.value)

    told = together(2, tmp_path, body)[0]
    # It cannot wait for the other at its end, either.
    assert "Another process of this run has ended, so this one (process 0) stops too" in told


@pytest.mark.parametrize(
    ("batch", "size", "shares"),
    [(4, 1, [(0, 4)]), (6, 3, [(0, 2), (2, 4), (4, 6)]), (2, 2, [(0, 1), (1, 2)])],
)
def test_shares_are_equal_and_in_order(batch: int, size: int, shares: list) -> None:
    found = [Processes(rank, size).share(batch) for rank in range(size)]
    assert [(share.start, share.stop) for share in found] == shares


@pytest.mark.parametrize(
    ("batch", "size", "fitting"),
    [(4, 3, "1, 2 or 4"), (6, 4, "1, 2, 3 or 6"), (1, 2, "1"), (3, 2, "1 or 3")],
)
def test_shares_that_would_be_unequal(batch: int, size: int, fitting: str) -> None:
    sentence = (
        f"A batch of {batch} cannot be shared equally by {size} processes; make `batch` a multiple "
        f"of {size}, or start {fitting} processes."
    )
    with pytest.raises(UserError) as error:
        Processes(0, size).share(batch)
    assert str(error.value) == sentence


def test_one_process_has_nothing_to_exchange() -> None:
    alone = Processes()
    assert (alone.rank, alone.size, alone.local_rank, alone.is_first) == (0, 1, 0, True)
    assert not Processes(rank=1, size=2).is_first
    assert alone.any(True, False) == [True, False]
    assert alone.mean(torch.tensor(2.5)) == 2.5
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([1.0, 2.0])
    alone.average_gradients([parameter])
    assert parameter.grad.tolist() == [1.0, 2.0]
    alone.check_same("Nothing is", "x")
    with alone.one_first():
        alone.wait()


def test_what_torchrun_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "5"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert environment() == Processes(rank=5, size=8, local_rank=1)


def test_shares_make_up_the_batch(tiny: Network, recipe: Make) -> None:
    settings = recipe(batch=6)
    whole = FolderPatches(tiny.card, settings).batch(7)
    parts = [FolderPatches(tiny.card, settings, Processes(r, 3)).batch(7) for r in range(3)]
    for name in ("inputs", "targets"):
        together = torch.cat([getattr(part, name) for part in parts])
        assert torch.equal(together, getattr(whole, name))
    assert len({part.gain for part in parts} | {whole.gain}) == 1


def test_unequal_shares_are_refused(tiny: Network, recipe: Make) -> None:
    sentence = "batch of 4 cannot be shared equally by 3 processes.* start 1, 2 or 4 processes"
    with pytest.raises(UserError, match=sentence):
        FolderPatches(tiny.card, recipe(batch=4), Processes(0, 3))


def test_alone_without_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert environment() == Processes()
    with joined() as processes:
        assert processes.is_first
        assert processes.any(False, True) == [False, True]
        assert not torch.distributed.is_initialized()
