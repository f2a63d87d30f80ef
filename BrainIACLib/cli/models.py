"""``brainiac models``: what is installed or missing, and how the official weights get in."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from BrainIACLib.cli.model_import import download_model, import_model, store_of
from BrainIACLib.cli.scan_options import add_models_dir, print_json
from BrainIACLib.errors import ModelError

if TYPE_CHECKING:
    from BrainIACLib.checkpoints.installed import InstalledModel


def add_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """Register the commands of this file."""
    models = commands.add_parser("models", help="list, import, check and remove models")
    actions = models.add_subparsers(required=True, metavar="ACTION")
    _action(actions, "list", _list, "bundled, imported, and known but missing models")
    importing = _action(actions, "import", import_model, "recognize, convert, verify and install a checkpoint file")
    importing.add_argument("file", type=Path, help="a checkpoint, or a folder or zip with a contract.json")
    importing.add_argument("--task", help="what the model is for, where the file's keys cannot tell")
    verify = _action(actions, "verify", _verify, "compare the weight files with their sha256")
    verify.add_argument("ids", nargs="*", metavar="ID", help="models to check (default: all)")
    show = _action(actions, "show", _show, "everything that is known about a model")
    show.add_argument("id", metavar="ID")
    export = _action(actions, "export", _export, "a model with its encoder, for another site or for MONAI")
    export.add_argument("id", metavar="ID")
    form = export.add_mutually_exclusive_group(required=True)
    form.add_argument("--out", type=Path, metavar="PATH", help="a new folder, or a .zip, for 'brainiac models import'")
    form.add_argument("--monai", type=Path, metavar="DIR", help="a new folder: a bundle for python -m monai.bundle")
    remove = _action(actions, "remove", _remove, "delete an imported model")
    remove.add_argument("id", metavar="ID")
    download = _action(actions, "download", download_model, "download a model from Hugging Face and import it")
    download.add_argument("id", metavar="ID", help="as 'brainiac models list' shows it")
    for command in (importing, download):
        command.add_argument("--yes", action="store_true", help="accept the license without being asked")
    parity = _action(actions, "parity", _parity, "upstream's published numbers against these weights")
    parity.add_argument("--weights", type=Path, required=True, metavar="DIR", help="folder of official files")
    parity.add_argument(
        "--scans", type=Path, metavar="DIR", help="folder of upstream's sample scans (default: that of the weights)"
    )


def _action(
    actions: argparse._SubParsersAction[Any],
    name: str,
    run: Callable[[argparse.Namespace], int],
    description: str,
) -> argparse.ArgumentParser:
    command = actions.add_parser(name, help=description)
    command.add_argument("--json", action="store_true", help="one JSON object a line on standard output")
    add_models_dir(command, must_exist=name not in ("import", "download"))
    command.set_defaults(run=run)
    return command


def _installed(options: argparse.Namespace) -> tuple[list[InstalledModel], dict[Path, ModelError]]:
    from BrainIACLib.checkpoints.installed import models_and_problems
    from BrainIACLib.checkpoints.store import model_folders

    return models_and_problems(model_folders(options.models_dir))


def _named(options: argparse.Namespace, model_id: str) -> InstalledModel:
    models, problems = _installed(options)
    for model in models:
        if model.contract.id == model_id:
            return model
    for folder, problem in problems.items():
        if folder.name == model_id:
            raise problem
    ids = ", ".join(model.contract.id for model in models) or "none"
    raise ModelError(f"No model '{model_id}' is installed (installed: {ids}).")


def _list(options: argparse.Namespace) -> int:
    from BrainIACLib.checkpoints.official_files import AUTHORS_FOLDER, OFFICIAL_FILES

    models, problems = _installed(options)
    rows: list[dict[str, Any]] = []
    for model in models:
        contract = model.contract
        rows.append(
            {
                "status": "bundled" if model.bundled else "trained" if model.trained_here else "imported",
                "id": contract.id,
                "task": model.task,
                "encoder": contract.encoder.architecture,
                "megabytes": round(sum(path.stat().st_size for path in model.folder.iterdir()) / 1e6, 1),
                "licence": contract.licence,
                "from": contract.source.name if contract.source else contract.title,
                "folder": str(model.folder),
            }
        )
    present = {(model.contract.encoder.generation, model.task) for model in models if model.contract.source}
    for file in OFFICIAL_FILES:
        if (file.generation, file.task) not in present:
            rows.append(
                {
                    "status": "missing",
                    "id": file.id,
                    "task": file.task,
                    "encoder": "vit_b" if file.generation == "v2" else "resnet50",
                    "megabytes": file.megabytes,
                    "licence": file.licence,
                    "from": ", ".join(file.names) or file.hub or "no released name known",
                    "folder": None,
                }
            )
    for row in rows:
        if options.json:
            print_json(**row)
    if not options.json:
        brief = [row | {"licence": textwrap.shorten(row["licence"], 28, placeholder=" ...")} for row in rows]
        _print_table([{name: str(fact) for name, fact in row.items() if name != "folder"} for row in brief])
        print(f"\nMissing files: {AUTHORS_FOLDER}, or Hugging Face.")
        with contextlib.suppress(ModelError):  # an account without a home folder
            print(f"Imported models go to {store_of(options)}.")
        print("Everything about one: brainiac models show ID.")
    for folder, problem in problems.items():
        if options.json:
            print_json(status="damaged", folder=str(folder), error=str(problem))
        else:
            print(f"brainiac: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _print_table(rows: Sequence[dict[str, str]]) -> None:
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}
    for row in ({name: name for name in widths}, *rows):
        print("  ".join(text.ljust(widths[name]) for name, text in row.items()).rstrip())


def _verify(options: argparse.Namespace) -> int:
    from BrainIACLib.checkpoints.installed import verify_model

    models, problems = _installed(options)
    if options.ids:
        models, problems = [_named(options, model_id) for model_id in options.ids], {}
    answers = [(folder.name, str(problem)) for folder, problem in problems.items()]
    for model in models:
        try:
            verify_model(model)
            answers.append((model.contract.id, ""))
        except ModelError as error:
            answers.append((model.contract.id, str(error)))
    for model_id, problem in answers:
        if options.json:
            print_json(id=model_id, ok=not problem, error=problem or None)
        else:
            print(f"{model_id}: {problem or 'unchanged'}")
    return 1 if any(problem for _, problem in answers) else 0


def _show(options: argparse.Namespace) -> int:
    from BrainIACLib.checkpoints.importing import CARD
    from BrainIACLib.checkpoints.model_card import model_card
    from BrainIACLib.checkpoints.official_files import OFFICIAL_FILES
    from BrainIACLib.contracts import contract_to_json

    missing = next((file for file in OFFICIAL_FILES if file.id == options.id), None)
    if missing is not None:
        facts: dict[str, object] = {
            "id": missing.id,
            "title": missing.title,
            "task": missing.task,
            "files": list(missing.names),
        }
        facts |= {"source": missing.source, "licence": missing.licence, "megabytes": missing.megabytes}
        facts |= {"reported_sha256": list(missing.sha256), "hub": missing.hub}
        if options.json:
            print_json(**facts)
        else:
            print(*(f"{name.replace('_', ' ')}: {fact}" for name, fact in facts.items()), sep="\n")
        return 0
    model = _named(options, options.id)
    if options.json:
        print_json(folder=str(model.folder), contract=json.loads(contract_to_json(model.contract)))
    else:
        text = model_card(model.contract)
        with contextlib.suppress(OSError):  # says more than the contract: of a trained head, what it is worth
            card = (model.folder / CARD).read_text(encoding="utf-8", errors="replace")
            # a card may be a stranger's: no escape sequences, and nothing that the contract says is left out
            card = "".join(letter for letter in card if letter.isprintable() or letter in "\n\t")
            text = card if card.startswith(text.rstrip()) or model.bundled else f"{text}\n{card}"
        print(f"{text.rstrip()}\n\nFolder: {model.folder}")
    return 0


def _export(options: argparse.Namespace) -> int:
    from BrainIACLib.checkpoints.store import model_folders
    from BrainIACLib.exports.model_folder import export_folder
    from BrainIACLib.exports.monai_bundle import export_monai_bundle

    model, folders = _named(options, options.id), model_folders(options.models_dir)
    if options.monai:
        out = export_monai_bundle(model, options.monai, folders)
    else:
        out = export_folder(model, options.out, folders)
    if options.json:
        print_json(id=options.id, out=str(out))
    else:
        print(f"Exported: {options.id} to {out}\nLicense: {model.contract.licence}")
    return 0


def _remove(options: argparse.Namespace) -> int:
    from BrainIACLib.checkpoints.store import remove

    _, problems = _installed(options)
    damaged = {folder.name: folder for folder in problems}
    remove(damaged[options.id] if options.id in damaged else _named(options, options.id).folder)
    if options.json:
        print_json(id=options.id, removed=True)
    else:
        print(f"Removed: {options.id}")
    return 0


def _parity(options: argparse.Namespace) -> int:
    from BrainIACLib.checkpoints.parity import run_parity

    scans = options.scans or options.weights
    rows = run_parity(options.weights, scans)
    if options.json:
        for row in rows:
            print_json(**row)
    else:
        _print_table([{name: "" if value is None else str(value) for name, value in row.items()} for row in rows])
    if all(row["found"] is None for row in rows):
        raise ModelError(
            f"Nothing could be compared: '{options.weights}' and '{scans}' hold no official weights together with the "
            "sample scans that they are to be compared on."
        )
    return 1 if any(row["result"] == "differs" for row in rows) else 0
