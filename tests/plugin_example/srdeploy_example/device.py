"""This machine, on one thread: ``one-thread``."""

from __future__ import annotations

from dataclasses import replace

from srdeploy.devices.local import LocalDevice, LocalModel
from srdeploy.devices.protocol import Job
from srdeploy.measure.measurement import DeviceFacts


class OneThreadDevice(LocalDevice):
    """As ``local``; whatever number of threads a job asks for, it has one."""

    @property
    def facts(self) -> DeviceFacts:
        return super().facts.model_copy(update={"kind": "one-thread"})

    def load(self, job: Job) -> LocalModel:
        return super().load(replace(job, threads=1))
