"""Rows of srdeploy's tables. They name their code, which is imported when it is first used."""

from srdeploy.devices.table import Kind
from srdeploy.exporting.targets import Target
from srdeploy.models.architecture import Architecture
from srdeploy.runtime.table import TORCH, Runtime

PIXELNET = Architecture(
    "pixelnet",
    "PixelNet, three convolutions",
    "srdeploy_example.pixelnet:PixelNet",
    "srdeploy_example.pixelnet:IMPORTER",
    layers=(),
)
NPZ_RUNTIME = Runtime(
    "npz",
    "numpy's archives, run by PyTorch",
    TORCH,
    suffixes=(".npz",),
    session="srdeploy_example.npz:NpzSession",
    card="srdeploy_example.npz:card_of_npz",
)
NPZ = Target(
    "npz",
    "numpy archive of weights, any size",
    ".npz",
    ("fp32",),
    (TORCH,),
    builds_on="anywhere",
    runs_on="wherever srdeploy and this plug-in are installed",
    runtime="npz",
    exporter="srdeploy_example.npz:export_npz",
)
ONE_THREAD = Kind(
    "one-thread",
    "this machine, on one thread of its CPU",
    "one-thread",
    "srdeploy_example.device:OneThreadDevice",
)
