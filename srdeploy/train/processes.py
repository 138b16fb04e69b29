"""Several processes that train one network: ``torchrun --nproc-per-node 2 -m srdeploy train ...``.

Every process draws the same batch, cuts its own share of it, and averages its gradients with the
others'. From then on all do the same, so all hold the same weights and the result is that of one
process to rounding. Only the first one writes.

Gradients are averaged by one all-reduce of a flat buffer after the backward pass, instead of by
wrapping the module in DistributedDataParallel: clipping, the gradient scaler and hooks (pruning
penalties) then see the gradients of the whole batch; hooks may re-parametrise the module (weight
normalisation) or replace its parameters; and state dicts keep their names. What DDP adds, sending
early gradients while late ones are computed, buys little: the gradients of EDSR-baseline are 5.5
MB, sent once in tens of milliseconds.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from srdeploy.errors import SrdeployError, UserError
from srdeploy.util.progress import set_quiet

PATIENCE = timedelta(hours=2)
"""How long processes wait for the one that decodes or measures. A process that *dies* is noticed
at once, by its closed connections."""


@dataclass(frozen=True)
class Processes:
    """The processes of a run, seen from one of them; a single one by default.

    Attributes:
        rank: Number of this process, from 0.
        size: How many there are.
        local_rank: Number of this process on its machine: the GPU it uses.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes and reports."""
        return self.rank == 0

    def share(self, batch: int) -> slice:
        """This process's part of a batch.

        Raises:
            UserError: the parts would not be of one size, so that averages over them would not be
                the batch's.
        """
        if batch % self.size:
            fitting = [str(n) for n in range(1, batch + 1) if batch % n == 0]
            raise UserError(
                f"A batch of {batch} cannot be shared equally by {self.size} processes; make "
                f"`batch` a multiple of {self.size}, or start {_either(fitting)} processes."
            )
        part = batch // self.size
        return slice(self.rank * part, (self.rank + 1) * part)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its mean over the processes."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        self._sum_(flat.div_(self.size))
        parts = flat.split([gradient.numel() for gradient in gradients])
        means = [part.view(g.shape) for part, g in zip(parts, gradients, strict=True)]
        torch._foreach_copy_(gradients, means)

    def mean(self, value: Tensor) -> float:
        """Mean of a scalar over the processes."""
        if self.size == 1:
            return float(value)
        total = value.detach().clone()
        self._sum_(total)
        return float(total) / self.size

    def any(self, *flags: bool) -> list[bool]:
        """For each flag, whether any process has raised it: the same answer in all of them.

        The exchange goes through the CPUs, so a GPU is not made to wait.
        """
        if self.size == 1:
            return list(flags)
        raised = torch.tensor([int(flag) for flag in flags])
        with _reachable():
            dist.all_reduce(raised, op=dist.ReduceOp.MAX)
        return [bool(value) for value in raised]

    def wait(self) -> None:
        """Until all processes are here."""
        self.any(True)

    @contextmanager
    def one_first(self) -> Iterator[None]:
        """The first process of each machine runs the body, then all others do."""
        if self.local_rank == 0:
            try:
                yield
            finally:  # after an error too: the others meet it themselves instead of waiting
                self.wait()
        else:
            self.wait()
            yield

    def check_same(self, what: str, value: str) -> None:
        """See that all processes hold the same value.

        Raises:
            SrdeployError: they do not; ``what`` begins the sentence.
        """
        if self.size == 1:
            return
        digest = int.from_bytes(hashlib.sha256(value.encode()).digest()[:7], "big")
        extremes = torch.tensor([digest, -digest])
        with _reachable():
            dist.all_reduce(extremes, op=dist.ReduceOp.MAX)
        if int(extremes[0]) != -int(extremes[1]):
            raise SrdeployError(
                f"{what} not the same in all {self.size} processes; they need the same files, run "
                "folder and versions, and hooks must do the same in each."
            )

    def _sum_(self, tensor: Tensor) -> None:
        with _reachable():
            dist.all_reduce(tensor)


ALONE = Processes()


def environment() -> Processes:
    """What torchrun tells this process through the environment."""
    return Processes(
        rank=int(os.environ.get("RANK", "0")),
        size=int(os.environ.get("WORLD_SIZE", "1")),
        local_rank=int(os.environ.get("LOCAL_RANK", "0")),
    )


@contextmanager
def joined() -> Iterator[Processes]:
    """Join the other processes that torchrun started, if it did; may be nested.

    Tensors on the CPU travel by gloo, those on GPUs by NCCL. Processes other than the first draw
    no progress bars.

    Raises:
        SrdeployError: the others cannot be reached.
    """
    processes = environment()
    if processes.size == 1 or dist.is_initialized():
        yield processes
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    if os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]:
        # All on one machine: nothing needs to leave it, nor the host's name to be resolvable.
        for _, interface in socket.if_nameindex():
            if interface in ("lo", "lo0"):
                os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    # Optimisers import this module, and its default arguments keep the group that exists then: the
    # group's threads would outlive ``destroy_process_group`` and could abort the process's end.
    importlib.import_module("torch.distributed.nn")
    with _reachable():
        dist.init_process_group(backend, timeout=PATIENCE)
    if not processes.is_first:
        set_quiet(True)
    try:
        yield processes
    finally:
        dist.destroy_process_group()


@contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise SrdeployError(
            f"Another process of this run has ended, so this one (process {environment().rank}) "
            "stops too; see what it said, and repeat the command to go on from the latest "
            f"checkpoint. ({reason})"
        ) from error


def _either(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]]) if words[1:] else words[0]
