"""Qualcomm AI Hub in memory: it answers where the real client would make requests.

The functions of ``qai_hub.public_rest_api`` are the library's own seam (its tests replace them,
too); all above them, and every message, is the library's. Networks are really run, by onnxruntime.
"""

from __future__ import annotations

import itertools
import shutil
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from qai_hub import public_api_pb2 as pb
from qai_hub import public_rest_api
from qai_hub.client import Client, Job
from qai_hub.public_rest_api import APIException, ClientConfig
from qai_hub.util.dataset_entries_converters import dataset_entries_to_h5, h5_to_dataset_entries

from srdeploy.runtime.open import open_session

PHONE = "Samsung Galaxy S24"
ATTRIBUTES = ["framework:onnx", "framework:qnn", "os:android", "chipset:qualcomm-snapdragon-8gen3"]


class Service:
    """The lab.

    Attributes:
        jobs: Every job that was asked for, oldest first.
        failing: ``compile`` or ``inference``: such jobs fail.
        refusing: HTTP status of the next requests; 0 for none.
        runs: Times of every profile, microseconds.
    """

    def __init__(self, folder: Path) -> None:
        self.jobs: list[Any] = []
        self.failing, self.refusing = "", 0
        self.runs = [9000, 9100, 8900]
        self._folder, self._ids = folder, itertools.count()
        self._sources: dict[str, Path] = {}

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Stand in for the network."""
        for name in (
            *("get_device_list", "create_and_upload_model", "create_compile_job", "get_job"),
            *("create_and_upload_dataset", "create_inference_job", "get_job_results"),
            *("get_dataset", "download_dataset"),
        ):
            assert hasattr(public_rest_api, name)
            monkeypatch.setattr(public_rest_api, name, self._guarded(getattr(self, name)))
        monkeypatch.setattr(Job, "_polling_interval", 0.01)

    def client(self) -> Client:
        """The real client, of somebody with a token."""
        return Client(config=ClientConfig(api_token="t", api_url="http://127.0.0.1:9"))

    def get_device_list(
        self, config: ClientConfig, name: str, os: str, attributes: list[str], select: bool
    ) -> pb.DeviceList:
        versions = [one for one in ("13", "14") if os in ("", one)]
        phones = [pb.Device(name=PHONE, os=one, attributes=ATTRIBUTES) for one in versions]
        if name not in ("", PHONE):
            phones = []
        return pb.DeviceList(devices=phones[-1:] if select else phones)

    def create_and_upload_model(
        self, config: ClientConfig, path: str, **more: Any
    ) -> pb.CreateUpdateResponse:
        answer = self._new()
        self._sources[answer.id] = Path(shutil.copy(path, self._folder / f"{answer.id}.onnx"))
        return answer

    def create_compile_job(
        self, config: ClientConfig, job: pb.CompileJob, project: str | None
    ) -> pb.CreateUpdateResponse:
        answer = self._new()
        job.compile_job_id = answer.id
        job.target_model.model_id = f"target-{answer.id}"
        job.target_model.model_type = pb.MODEL_TYPE_ONNX
        self._sources[job.target_model.model_id] = self._sources[job.model.model_id]
        self._settle(job, "compile", "Unsupported layer")
        return answer

    def create_and_upload_dataset(
        self, config: ClientConfig, path: str, name: str, **more: Any
    ) -> pb.CreateUpdateResponse:
        answer = self._new()
        shutil.copy(path, self._folder / f"{answer.id}.h5")
        answer.expiration_time.FromSeconds(int(time.time()) + 1000)
        return answer

    def create_inference_job(
        self, config: ClientConfig, job: pb.InferenceJob, project: str | None
    ) -> pb.CreateUpdateResponse:
        answer = self._new()
        job = pb.InferenceJob.FromString(job.SerializeToString())
        job.inference_job_id = answer.id
        self._settle(job, "inference", "Device lost")
        return answer

    def get_job(self, config: ClientConfig, job_id: str) -> pb.Job:
        job = next(one for one in self.jobs if _id(one) == job_id)
        kind = "compile_job" if isinstance(job, pb.CompileJob) else "inference_job"
        return pb.Job(hub_version="aihub-2026.10", **{kind: job})

    def get_job_results(self, config: ClientConfig, job_id: str) -> pb.JobResult:
        job = next(one for one in self.jobs if _id(one) == job_id)
        detail = pb.ProfileDetail(
            major_version=1,
            minor_version=2,
            execution_time=min(self.runs),
            cold_load_time=500_000,
            compile_time=0,
            after_execution_peak_memory=61_000_000,
            all_execution_times=self.runs,
            layer_details=[
                pb.LayerDetail(name=str(n), compute_unit=unit)
                for n, unit in enumerate([pb.COMPUTE_UNIT_NPU] * 3 + [pb.COMPUTE_UNIT_CPU])
            ],
        )
        output = self._computed(job)
        return pb.JobResult(
            inference_job_result=pb.InferenceJobResult(
                inference_job_id=job_id,
                output_dataset_id=output,
                detail=detail if job.is_profiling_on else None,
            )
        )

    def get_dataset(self, config: ClientConfig, dataset_id: str) -> pb.Dataset:
        found = pb.Dataset(dataset_id=dataset_id)
        found.expiration_time.FromSeconds(int(time.time()) + 1000)
        return found

    def download_dataset(
        self, config: ClientConfig, dataset_id: str, file_path: str, **more: Any
    ) -> str:
        return str(shutil.copy(self._folder / f"{dataset_id}.h5", file_path))

    def _computed(self, job: pb.InferenceJob) -> str:
        with h5py.File(self._folder / f"{job.dataset.dataset_id}.h5") as file:
            ((_, (x,)),) = h5_to_dataset_entries(file).items()
        with open_session(self._sources[job.model.model_id], threads=1) as session:
            y = session.run(np.asarray(x, np.float32))
        name = f"out-{_id(job)}"
        with h5py.File(self._folder / f"{name}.h5", "w") as file:
            dataset_entries_to_h5({"output_0": [y]}, file)
        return name

    def _settle(self, job: Any, kind: str, reason: str) -> None:
        job.job_state = pb.JOB_STATE_FAILED if self.failing == kind else pb.JOB_STATE_DONE
        job.failure_reason = reason if self.failing == kind else ""
        self.jobs.append(job)

    def _new(self) -> pb.CreateUpdateResponse:
        answer = pb.CreateUpdateResponse(id=f"j{next(self._ids)}")
        answer.creation_time.GetCurrentTime()
        return answer

    def _guarded(self, function: Any) -> Any:
        def answer(*words: Any, **named: Any) -> Any:
            if self.refusing:
                raise APIException("no", status_code=self.refusing, url="http://127.0.0.1:9/api")
            return function(*words, **named)

        return answer


def _id(job: Any) -> str:
    return job.compile_job_id if isinstance(job, pb.CompileJob) else job.inference_job_id
