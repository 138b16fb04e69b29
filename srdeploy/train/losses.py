"""What training minimises."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from srdeploy.train.recipe import TrainRecipe

_MEANS = {"l1": functional.l1_loss, "l2": functional.mse_loss}


def loss_of(recipe: TrainRecipe, outputs: Tensor, targets: Tensor) -> Tensor:
    """The recipe's loss of a batch ``[N, C, H, W]``, in units of the value range (L2: squared).

    ``reduction: sum`` is VDSR's objective (Kim et al., CVPR 2016, section 3.1): half the squared
    error summed over a patch, averaged over patches. It is C*H*W/2 times the mean squared error
    (840.5 at 41 x 41), which a learning rate alone could not make up for: weight decay and the
    limits of clipping would have to be scaled too. L1 is summed without the half.
    """
    loss = _MEANS[recipe.loss](outputs, targets)
    if recipe.reduction == "sum":
        loss = loss * (outputs[0].numel() * (0.5 if recipe.loss == "l2" else 1.0))
    return loss
