"""The state of a training run, and one iteration of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from srdeploy.errors import UserError
from srdeploy.models.network import Network
from srdeploy.models.weight_norm import merge_weight_norm
from srdeploy.train.checkpoint import TrainingState
from srdeploy.train.hooks import Ema, Forward, StepHook, clip_gradients
from srdeploy.train.losses import loss_of
from srdeploy.train.patches import PatchBatch
from srdeploy.train.precision import autocast
from srdeploy.train.processes import ALONE, Processes
from srdeploy.train.recipe import Sgd, TrainRecipe
from srdeploy.train.schedule import learning_rate


class Run:
    """A network being trained: weights, optimiser, average, and the place in the run.

    With ``in_place`` the given module itself is trained (and moved to the device), else a copy.
    Among several ``processes``, each has a Run of its own and they stay alike.
    """

    def __init__(
        self,
        network: Network,
        recipe: TrainRecipe,
        hooks: Sequence[StepHook],
        in_place: bool = False,
        processes: Processes = ALONE,
    ) -> None:
        self.recipe = recipe
        self.network = network.copy() if in_place else network
        self.hooks, self.processes = hooks, processes
        self.device = _device(recipe.device, processes.local_rank)
        module = network.module if in_place else copy.deepcopy(network.module)
        self.module = module.train().to(self.device)
        if recipe.channels_last:
            self.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.parameters = [p for p in self.module.parameters() if p.requires_grad]
        self.optimiser = _optimiser(self.parameters, recipe)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=recipe.precision == "fp16")
        self.ema = Ema(self.module, recipe.ema) if recipe.ema is not None else None
        self.iteration = 0
        self.seconds = 0.0
        torch.manual_seed(recipe.seed)
        for hook in hooks:
            hook.attach(self.module)
        self._learned = [*self.parameters, *(p for hook in hooks for p in hook.parameters())]
        # Compiles at the first call. The module itself stays what is saved and what hooks see.
        self._forward: Callable[[Tensor], Tensor] = (
            torch.compile(self.module) if recipe.compile else self.module
        )

    def advance(self, batch: PatchBatch) -> Tensor:
        """One iteration; returns the loss of this process's share, detached."""
        recipe = self.recipe
        lr = self.learning_rate()
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        inputs, targets = batch.to(self.device)
        for hook in self.hooks:
            hook.before_forward(self.module, self.iteration)
        with autocast(recipe.precision, self.device):
            outputs = self._forward(inputs.clone())  # the network may write into what it is given
        outputs = outputs.float()
        loss = loss_of(recipe, outputs, targets)
        for hook in self.hooks:
            loss = hook.adjust_loss(loss, Forward(inputs, outputs, targets), self.iteration)
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.processes.average_gradients(self._learned)
        self.scaler.unscale_(self.optimiser)
        clip_gradients(self.parameters, recipe.clip, lr)  # of the loss: a penalty may be large
        for hook in self.hooks:
            hook.before_step(self.module, self.iteration)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        for hook in self.hooks:
            hook.after_step(self.module, self.iteration)
        if self.ema is not None:
            self.ema.update()
        self.iteration += 1
        return loss.detach()

    def learning_rate(self) -> float:
        """The rate of the next iteration."""
        recipe = self.recipe
        return learning_rate(
            recipe.optimiser.lr, recipe.schedule, self.iteration, recipe.iterations
        )

    def reports(self) -> dict[str, float]:
        """What the hooks tell about themselves after the latest iteration."""
        values: dict[str, float] = {}
        for hook in self.hooks:
            values |= hook.report(self.module, self.iteration - 1)
        return values

    def is_finite(self) -> bool:
        """Whether every weight is a number."""
        return all(bool(torch.isfinite(p).all()) for p in self._learned)

    def fingerprint(self) -> str:
        """Sums of the weights' bit patterns: exact, in whatever order they are added up."""
        sums = [p.detach().view(torch.int32).sum(dtype=torch.int64) for p in self._learned]
        return str(torch.stack(sums).tolist())

    def averaged(self) -> Network:
        """The network to measure and hand on: averaged weights, evaluation mode, CPU.

        Normalised weights are merged, so that it is an ordinary network, and hooks add what they
        learned.
        """
        state = {k: v.detach().cpu().contiguous() for k, v in self.module.state_dict().items()}
        if self.ema is not None:
            state |= {k: v.cpu().contiguous() for k, v in self.ema.average.items()}
        result = self.network.copy()
        result.module.load_state_dict(state)
        result = replace(result, module=merge_weight_norm(result.module).eval())
        for hook in self.hooks:
            result = hook.finish(result)
        return result

    def state(self) -> TrainingState:
        """Everything :meth:`restore` needs, sharing memory with the run."""
        return TrainingState(
            iteration=self.iteration,
            module=self.module.state_dict(),
            optimiser=self.optimiser.state_dict(),
            rng=torch.get_rng_state(),
            ema=self.ema.state_dict() if self.ema is not None else None,
            scaler=self.scaler.state_dict(),
            hooks=[hook.state_dict() for hook in self.hooks],
            seconds=self.seconds,
        )

    def restore(self, state: TrainingState) -> None:
        """Continue from a state of a run of the same recipe and network.

        Raises:
            UserError: that run had another number of hooks.
        """
        if len(state.hooks) != len(self.hooks):
            raise UserError(
                f"The run was started with {len(state.hooks)} hooks and is resumed with "
                f"{len(self.hooks)}; resume it with the command that started it."
            )
        self.iteration, self.seconds = state.iteration, state.seconds
        self.module.load_state_dict(state.module)
        self.optimiser.load_state_dict(state.optimiser)
        if self.ema is not None and state.ema is not None:
            self.ema.load_state_dict(state.ema)
        if state.scaler:
            self.scaler.load_state_dict(state.scaler)
        for hook, saved in zip(self.hooks, state.hooks, strict=True):
            hook.load_state_dict(saved)
        torch.set_rng_state(state.rng)


def _optimiser(parameters: list[nn.Parameter], recipe: TrainRecipe) -> torch.optim.Optimizer:
    o = recipe.optimiser
    if isinstance(o, Sgd):
        return torch.optim.SGD(
            parameters, o.lr, momentum=o.momentum, weight_decay=o.weight_decay, fused=True
        )
    return torch.optim.Adam(
        parameters, o.lr, betas=o.betas, eps=o.eps, weight_decay=o.weight_decay, fused=True
    )


def _device(name: str, local_rank: int) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("The recipe asks for device 'cuda', but torch finds no GPU; set `device`.")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return torch.device("cpu")
    if local_rank >= torch.cuda.device_count():
        raise UserError(
            f"Process {local_rank} of this machine has no GPU of its own: torch finds "
            f"{torch.cuda.device_count()}; start at most that many processes."
        )
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)  # NCCL and pinned memory go by the current device
    return device
