"""SMSR in the table of architectures."""

from __future__ import annotations

from srdeploy.models.architecture import Architecture

SMSR = Architecture(
    "smsr",
    "SMSR, CVPR 2021",
    "srdeploy.models.smsr.network:SMSR",
    "srdeploy.models.smsr.layout:SMSR",
    leave_alone=("tail.*",),
    layers=("n_modules", "n_layers"),
    finetune={"sparsity": {"start": 0.4, "end": 0.4}},  # trained masks go on as they ended
    recipe_needs={
        "sparsity": (
            "The recipe trains SMSR without training its masks; add a `sparsity` section "
            "(`weight: 0` for no sparsity loss)."
        )
    },
    inference="srdeploy.models.smsr.dense:dense_masks",
    counted="srdeploy.models.smsr.network:SMSR.without_masks",
    sparse="srdeploy.exporting.onnx.smsr:trace_sparse",
    no_sparse="what it computes has no sizes before a mask is known",
    decides=True,
    tiles_differ=(
        "its channel attention averages over all that it sees, and this runtime cannot be given "
        "the averages of the whole picture (on photographs the mean difference was 0.1 to 0.5 "
        "levels of 255); give the network itself, or more --memory for larger tiles"
    ),
)
