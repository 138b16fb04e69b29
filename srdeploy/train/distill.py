"""Learning from the dense network as well as from the images.

The output term is the one of Hinton et al. (2015) carried over to regression: the student is asked
for what the teacher produced. The feature term is attention transfer (Zagoruyko and Komodakis,
ICLR 2017, eq. 2): it compares *where* layers respond, not with which channels, so it needs no
table of which channel of the dense network became which of the pruned one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import ExitStack
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from srdeploy.errors import UserError
from srdeploy.models.network import Network
from srdeploy.train.checkpoint import weights_digest
from srdeploy.train.hooks import Forward, StepHook
from srdeploy.train.losses import loss_of
from srdeploy.train.precision import autocast, mixed
from srdeploy.train.recipe import Distillation, TrainRecipe


class DistillHook(StepHook):
    """Adds the teacher's part to the loss.

    Args:
        teacher: Never trained; run in evaluation mode without gradients.
        student: The network that will be trained.
        settings: Weights of the terms.
        recipe: The teacher runs in the same precision and memory layout.

    Raises:
        UserError: the teacher takes or gives other images, or has none of the layers named.
    """

    def __init__(
        self, teacher: Network, student: Network, settings: Distillation, recipe: TrainRecipe
    ) -> None:
        for key in ("scale", "channels", "pre_upscaled", "value_range"):
            theirs, ours = getattr(teacher.card, key), getattr(student.card, key)
            if theirs != ours:
                raise UserError(
                    f"The teacher's {key} is {theirs} and the network's {ours}; a teacher must "
                    "take and give the same images."
                )
        self._settings, self._recipe = settings, recipe
        self._teacher = copy.deepcopy(teacher.module).eval()
        self._digest = weights_digest(teacher.module)
        self._device = torch.device("cpu")
        self._seen: dict[str, Tensor] = {}
        self._wanted: dict[str, Tensor] = {}
        self._layers = self._matching(student.module) if settings.features else []
        self._attached = ExitStack()

    def attach(self, module: nn.Module) -> None:
        """Move the teacher to the student's device and watch the matching layers of both."""
        self._device = next(module.parameters()).device
        self._teacher.to(self._device)
        if self._recipe.channels_last:
            self._teacher.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._attached.enter_context(mixed(self._teacher, self._recipe.precision, self._device))
        for network, store in ((module, self._seen), (self._teacher, self._wanted)):
            for name in self._layers:
                layer = network.get_submodule(name)
                handle = layer.register_forward_hook(_keeper(store, name))
                self._attached.callback(handle.remove)

    def detach(self) -> None:
        """Stop watching."""
        self._attached.close()

    def adjust_loss(self, loss: Tensor, forward: Forward, iteration: int) -> Tensor:
        """``(1 - output) * loss + output * loss(student, teacher) + features * attention``."""
        settings = self._settings
        with torch.no_grad(), autocast(self._recipe.precision, self._device):
            wanted = self._teacher(forward.inputs.clone()).float()  # it may write into them
        total = (1 - settings.output) * loss
        total = total + settings.output * loss_of(self._recipe, forward.outputs, wanted)
        if self._layers:
            terms = [
                (self._seen[name] - self._wanted[name]).square().sum(1).mean()
                for name in self._layers
            ]
            total = total + settings.features * torch.stack(terms).mean()
        return total

    def state_dict(self) -> dict[str, Any]:
        """Which teacher it was."""
        return {"teacher": self._digest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the same teacher.

        Raises:
            UserError: it is another one.
        """
        if state.get("teacher") != self._digest:
            raise UserError(
                "The run was started with another teacher; give it the same one to resume, choose "
                "another run folder, or start over without resuming."
            )

    def _matching(self, student: nn.Module) -> list[str]:
        theirs = {n for n, m in self._teacher.named_modules() if isinstance(m, nn.Conv2d)}
        ours = [n for n, m in student.named_modules() if isinstance(m, nn.Conv2d)]
        names = [n for n in ours if n in theirs]
        found = [n for n in names if any(fnmatchcase(n, p) for p in self._settings.layers)]
        if not found:
            raise UserError(
                f"No layer that teacher and network share matches {list(self._settings.layers)}; "
                f"they share: {', '.join(names[:12])}{' ...' if names[12:] else ''}."
            )
        return found


def attention(features: Tensor) -> Tensor:
    """Where a layer responds: [N, C, H, W] to [N, H*W], the mean square of unit length."""
    return functional.normalize(features.float().square().mean(1).flatten(1), dim=1)


def _keeper(store: dict[str, Tensor], name: str) -> Callable[[nn.Module, Any, Tensor], None]:
    def keep(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        # Copied, because an in-place ReLU that follows would change what was seen.
        store[name] = attention(output.clone())

    return keep
