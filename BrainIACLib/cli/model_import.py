"""``brainiac models import`` and ``download``: how models get in, each with its license accepted first."""

from __future__ import annotations

import argparse
import contextlib
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from BrainIACLib.cli.scan_options import print_json
from BrainIACLib.contracts import OWN_HEAD, ModelContract
from BrainIACLib.errors import BrainIACError, ModelError
from BrainIACLib.foreign_text import printable


def store_of(options: argparse.Namespace) -> Path:
    """Where models are installed."""
    from BrainIACLib.checkpoints.store import user_folders

    return options.models_dir or user_folders()[0]


def import_model(options: argparse.Namespace) -> int:
    """Install a checkpoint, or a folder or zip that a model was exported to."""
    from BrainIACLib.checkpoints.conversion import inspect_checkpoint
    from BrainIACLib.checkpoints.importing import import_checkpoint, import_folder, unpacked_model
    from BrainIACLib.checkpoints.official_files import official_file
    from BrainIACLib.contracts import read_contract

    if not options.file.exists():
        raise ModelError(f"'{options.file}' does not exist; check the spelling of the path.")
    if options.file.is_dir() or (options.file.suffix.lower() == ".zip" and _is_model_zip(options.file)):
        with contextlib.nullcontext(options.file) if options.file.is_dir() else unpacked_model(options.file) as folder:
            contract = read_contract(folder)
            if not _licence_is_settled(options, contract):
                _ask_licence(options, contract.title, contract.licence)
            imported = import_folder(folder, store_of(options))
    else:
        found = inspect_checkpoint(options.file)
        task = _choose_task(options, found.title, found.tasks)
        own = found.generation == "own"
        licence = read_contract(options.file.parent).licence if own else official_file(found.generation, task).licence
        _ask_licence(options, f"{found.title}, used for: {task}", licence)
        imported = import_checkpoint(options.file, task, store_of(options))
    contract = imported.model.contract
    if options.json:
        print_json(
            id=contract.id,
            task=imported.model.task,
            new=imported.new,
            folder=str(imported.model.folder),
            licence=contract.licence,
            unverified=contract.unverified,
        )
        return 0
    print(f"{'Installed' if imported.new else 'Installed before'}: {contract.id} in {imported.model.folder}")
    for statement in contract.unverified:
        print(f"  unverified: {statement}")
    return 0


def _is_model_zip(path: Path) -> bool:
    """A checkpoint of torch is a zip too, whatever its name."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(Path(name).name == "contract.json" for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _choose_task(options: argparse.Namespace, title: str, tasks: Sequence[str]) -> str:
    from BrainIACLib.checkpoints.official_files import task_by_name

    task = options.task or (tasks[0] if len(tasks) == 1 else None)
    choices = ", ".join(tasks)
    if task is None:
        hint = task_by_name(options.file.name, tuple(tasks))
        hint = f" Its name suggests '{hint}'." if hint else ""
        question = f"'{options.file.name}' is a {title}; its content cannot tell what it is for.{hint}"
        if options.yes or options.json or not sys.stdin.isatty():
            raise ModelError(f"{question} Say --task with one of: {choices}.")
        print(question)
        task = _asked(f"What is it for ({choices})? ")
    if task not in tasks:
        raise ModelError(f"'{options.file.name}' is a {title}; it can be for {choices}, not for '{task}'.")
    return task


def _licence_is_settled(options: argparse.Namespace, contract: ModelContract) -> bool:
    """Whether a head brings no terms of its own, and its encoder is installed: accepted before, or bundled."""
    from BrainIACLib.checkpoints.installed import models_and_problems
    from BrainIACLib.checkpoints.store import model_folders

    if contract.run is None or not contract.licence.startswith(OWN_HEAD):
        return False
    models, _ = models_and_problems(model_folders(options.models_dir))
    return any(model.contract.encoder.sha256 == contract.encoder.sha256 for model in models)


def _ask_licence(options: argparse.Namespace, what: str, licence: str) -> None:
    """``what`` may hold the name of a file; a contract's own texts were checked when it was read."""
    if not options.json:
        what = printable(what, keep="")
        print(f"This is: {what}\nLicense: {licence}\nResearch use only; not for diagnosis or treatment decisions.")
    if options.yes:
        return
    if options.json or not sys.stdin.isatty():
        raise ModelError("Importing needs your consent to the license; say --yes if you accept it.")
    if _asked("Do you accept this license (y/n)? ").lower() not in ("y", "yes"):
        raise BrainIACError("The license was not accepted, so nothing was installed.")


def _asked(question: str) -> str:
    try:
        return input(question).strip()
    except EOFError:
        return ""


def download_model(options: argparse.Namespace) -> int:
    """Fetch an official file from Hugging Face and install it."""
    from BrainIACLib.checkpoints.download import download, find_file, forget_download
    from BrainIACLib.checkpoints.official_files import OFFICIAL_FILES

    official = next((file for file in OFFICIAL_FILES if file.id == options.id), None)
    if official is None or official.hub is None:
        ids = ", ".join(file.id for file in OFFICIAL_FILES if file.hub)
        where = f" Get it from {official.source}." if official else ""
        raise ModelError(f"'{options.id}' cannot be downloaded from here; these can: {ids}.{where}")
    remote = find_file(official.hub, official.names)
    source = f"{remote.size / 1e6:.0f} MB from {remote.host} ({official.hub}/{remote.name})"
    _ask_licence(options, f"{official.title}: {source}", official.licence)
    options.file, options.task, options.yes = download(remote, store_of(options)), official.task, True
    status = import_model(options)  # where it fails, the checked file stays for the next try
    forget_download(remote, store_of(options))
    return status
