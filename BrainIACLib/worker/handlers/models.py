"""Models: which there are and what computes them; a weight file looked into, installed, or downloaded."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from BrainIACLib.checkpoints.conversion import inspect_checkpoint
from BrainIACLib.checkpoints.download import download, find_file, forget_download
from BrainIACLib.checkpoints.importing import import_checkpoint
from BrainIACLib.checkpoints.installed import installed_models
from BrainIACLib.checkpoints.official_files import OFFICIAL_FILES, official_file, task_by_name
from BrainIACLib.checkpoints.store import user_folders
from BrainIACLib.contracts import read_contract
from BrainIACLib.errors import ModelError
from BrainIACLib.job import Job
from BrainIACLib.provenance import versions
from BrainIACLib.worker.answering import answer
from BrainIACLib.worker.device import pick_device
from BrainIACLib.worker.requests import DownloadModel, Forget, ImportCheckpoint, InspectCheckpoint, Status
from BrainIACLib.worker.session import Session


@answer.register
def status(request: Status, session: Session, job: Job) -> dict[str, Any]:
    """The device that would compute, versions, and installed models."""
    found = pick_device(request.device)
    models = [dataclasses.asdict(model.contract) for model in installed_models(session.models)]
    return {"device": found.name, "reason": found.reason, "versions": versions(), "models": models}


@answer.register
def inspect(request: InspectCheckpoint, session: Session, job: Job) -> dict[str, Any]:
    """What a weight file is and which licenses its possible tasks have."""
    found = inspect_checkpoint(request.file)
    return {
        "title": found.title,
        "licences": {task: _licence(request.file, found.generation, task) for task in found.tasks},
        "suggestion": task_by_name(request.file.name, found.tasks),
    }


@answer.register
def install(request: ImportCheckpoint, session: Session, job: Job) -> dict[str, Any]:
    """A weight file becomes an installed model."""
    imported = import_checkpoint(request.file, request.task, user_folders()[0])
    return {"id": imported.model.contract.id, "new": imported.new}


@answer.register
def fetch(request: DownloadModel, session: Session, job: Job) -> dict[str, Any]:
    """An official file becomes an installed model."""
    official = next((file for file in OFFICIAL_FILES if file.id == request.id and file.hub), None)
    if official is None or official.hub is None:
        raise ModelError(f"'{request.id}' cannot be downloaded; import its file instead.")
    job.report("asking the host", 0.0)
    remote, store = find_file(official.hub, official.names), user_folders()[0]
    job.report(f"downloading {remote.size / 1e6:.0f} MB from {remote.host}", 0.0)
    path = download(remote, store)
    try:
        imported = import_checkpoint(path, official.task, store)
    finally:
        forget_download(remote, store)
    return {"id": imported.model.contract.id, "new": imported.new}


@answer.register
def forget(request: Forget, session: Session, job: Job) -> dict[str, Any]:
    """The study and the models are freed."""
    session.forget()
    return {}


def _licence(path: Path, generation: str, task: str) -> str:
    if generation == "own":
        return read_contract(path.parent).licence
    return official_file(generation, task).licence
