"""A trained head as a model folder: safetensors, contract, card and report, with its encoder by reference."""

from __future__ import annotations

import hashlib
import json
import typing
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

import BrainIACLib
from BrainIACLib.checkpoints.installed import installed_models
from BrainIACLib.checkpoints.model_card import model_card
from BrainIACLib.checkpoints.store import incoming_folder, install, model_folders, remove
from BrainIACLib.contracts import OWN_HEAD, HeadContract, ModelContract, RunContract, contract_to_json
from BrainIACLib.errors import ModelError
from BrainIACLib.head_training.report import report_to_json
from BrainIACLib.head_training.words import figures_for_contract, sections, unverified
from BrainIACLib.trust.novelty import write_novelty

if typing.TYPE_CHECKING:
    from BrainIACLib.head_training.training import TrainedHead

HEAD, OOD, REPORT = "head.safetensors", "ood.safetensors", "report.json"


def install_head(head: "TrainedHead", store: Path, folders: Sequence[Path] | None, replace: bool) -> Path:
    """See ``TrainedHead.install``."""
    folders = model_folders(store) if folders is None else folders
    encoder = _encoder(head, folders)
    earlier = [model for model in installed_models([store]) if model.task == head.task and model.trained_here]
    if earlier and not replace:
        raise ModelError(
            f"A head for the task '{head.task}' was trained before ('{earlier[0].contract.id}'); choose another task "
            "name, or replace it.",
            "--replace",
        )
    with incoming_folder(store) as incoming:
        content = _tensors(head)
        sha256 = hashlib.sha256(content).hexdigest()
        try:
            (incoming / HEAD).write_bytes(content)
            ood_sha256 = write_novelty(head.novelty, incoming / OOD)
            contract = _contract(head, encoder, sha256, ood_sha256)
            (incoming / "contract.json").write_text(contract_to_json(contract), encoding="utf-8")
            (incoming / "card.md").write_text(_card(head, contract), encoding="utf-8")
            (incoming / REPORT).write_text(json.dumps(report_to_json(head.report)) + "\n", encoding="utf-8")
        except OSError as error:
            raise ModelError(
                f"'{store}' cannot be written ({error.strerror}), so nothing was installed; choose another model "
                "folder."
            ) from None
        for model in earlier:
            if model.contract.id == contract.id:  # the very same head, with a newer report
                remove(model.folder)
        folder, _ = install(incoming, store, contract.id)
    for model in earlier:  # after the new one is there: a kill between leaves two heads, never none
        if model.contract.id != contract.id:
            remove(model.folder)
    return folder


def _encoder(head: "TrainedHead", folders: Sequence[Path]) -> ModelContract:
    """The contract of the installed model that holds the encoder of the embeddings."""
    for model in installed_models(folders):
        contract = model.contract
        if contract.encoder.sha256 == head.encoder_sha256 and contract.encoder_model is None:
            return contract
    raise ModelError(
        f"The encoder of these embeddings ('{head.encoder_model}', sha256 {head.encoder_sha256[:8]}...) is not "
        "installed; install that model, or embed the scans again with one that is."
    )


def _tensors(head: "TrainedHead") -> bytes:
    from safetensors.numpy import save

    tensors = head.fitted.tensors()
    return save({name: np.ascontiguousarray(tensor, dtype=np.float32) for name, tensor in tensors.items()})


def _contract(head: "TrainedHead", encoder: ModelContract, sha256: str, ood_sha256: str) -> ModelContract:
    target, cases = head.cases.target, head.cases
    patients = len(set(cases.groups))
    survival, regression = target.kind == "survival", target.kind == "regression"
    labels: tuple[str, ...] | None = target.classes or None
    if survival:
        end = f"{head.endpoint:g} {target.unit}"
        labels = (f"low risk (no event within {end})", f"high risk (event within {end})")
    return ModelContract(
        id=f"{head.task}-{sha256[:8]}",
        title=f"{head.task}: {target.name} (trained by the user)",
        version=sha256[:8],
        licence=f"{OWN_HEAD}; its encoder ({encoder.id}): {encoder.licence}",
        citation="BrainIAC for 3D Slicer; the head was trained by its user.",
        training_data=f"{sum(map(len, cases.scans))} scans of {patients} patients, column '{target.name}'",
        intended_use="Research on scans like those it was trained on. Not for diagnosis or treatment decisions.",
        encoder=encoder.encoder,
        head=HeadContract(
            task=head.task,
            head_type=head.kind.network,
            outputs=len(head.fitted.bias),
            link="identity" if regression else "cloglog" if survival else _class_link(target.classes),
            labels=labels,
            unit=target.unit if regression else None,
            slots=cases.slots,
            missing_policy="refuse" if cases.complete else "masked-mean",
            temperature=head.temperature,
            confidence_gate=None,
            valid_range=_valid_range(head, patients),
            polarity_verified=True,
            polarity_evidence="class names as in the training table",
            weights=HEAD,
            sha256=sha256,
            dropout=head.kind.dropout,
            training_range=(float(target.values.min()), float(target.values.max())) if regression else None,
            training_age_range=_age_range(head),
            training_sets=("user's own cohort",),
            training_scans=sum(map(len, cases.scans)),
            endpoint=f"{head.endpoint:g} {target.unit}" if survival else None,
            threshold=head.threshold,
            threshold_source="median probability of the training cases" if survival else None,
            metrics=figures_for_contract(head.report),
            conformal=head.conformal.quantile if head.conformal else None,
            conformal_coverage=head.conformal.coverage if head.conformal else None,
            conformal_measured=head.conformal.measured if head.conformal else None,
            ood_stats=OOD,
            ood_sha256=ood_sha256,
        ),
        encoder_model=encoder.id,
        unverified=unverified(head.report),
        run=RunContract(
            trained=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            library=BrainIACLib.__version__,
            table_sha256=head.table_sha256,
            target=target.name,
            solver=head.solver,
            regularisation=float(head.fitted.penalty),
            seed=head.seed,
            scans=sum(map(len, cases.scans)),
            cases=len(cases),
            patients=patients,
            preset=cases.preset,
        ),
    )


def _class_link(classes: tuple[str, ...]) -> str:
    return "sigmoid" if len(classes) == 2 else "softmax"


def _valid_range(head: "TrainedHead", patients: int) -> str:
    scans = "one scan of any sequence" if head.cases.slots == ("any",) else " + ".join(head.cases.slots)
    text = f"Made from {patients} patients ({scans}); valid for scans and people like those only."
    if head.cases.target.kind == "classification" and head.balanced:
        text += " Probabilities are those for classes of equal frequency."
    if head.cases.target.kind == "survival":
        text += (
            f" The probability of an event by {head.endpoint:g} {head.cases.target.unit} was set on held-out cases, "
            "censoring taken into account; high and low risk are divided at the median of the training cases. There "
            "is no prediction set."
        )
    return text


def _age_range(head: "TrainedHead") -> tuple[float, float] | None:
    target = head.cases.target
    ages = head.cases.ages[np.isfinite(head.cases.ages)]
    if not len(ages) and target.kind == "regression" and target.unit == "years" and "age" in target.name:
        ages = target.values
    return (float(ages.min()), float(ages.max())) if len(ages) and ages.min() < ages.max() else None


def _card(head: "TrainedHead", contract: ModelContract) -> str:
    lines = [model_card(contract), "## What it is worth", ""]
    lines += ["No patient was both fitted on and answered. Intervals are 95%, by resampling patients.", ""]
    for section in sections(head.report):
        lines += [f"### {section.title}", "", *(f"- {line}" for line in section.lines), ""]
    lines += [
        "## What it cannot do",
        "",
        "It was judged on the cohort that it was trained on, by cross-validation: another scanner, site or population "
        "may give other figures. It was reviewed by no one but its user. **Research use only.**",
    ]
    return "\n".join(lines) + "\n"
