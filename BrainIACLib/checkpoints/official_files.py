"""The files that the authors of BrainIAC and MedicalNet offer: names, sources, licenses (PROTOCOL 3.1, 3.6).

They are never shipped: a person gets them from their authors and imports them.
"""

from __future__ import annotations

from dataclasses import dataclass

from BrainIACLib.contracts import EMBEDDING_TASK
from BrainIACLib.errors import ModelError

LICENCE = "CC BY-NC 4.0 as upstream stated in 2025; since 2026 non-commercial academic research only"
MIT = "MIT"
AUTHORS_FOLDER = "the authors' folder that the README of github.com/AIM-KannLab/BrainIAC links"


@dataclass(frozen=True)
class OfficialFile:
    """A file that people have; ``names`` as released (no evidence of the content, PROTOCOL 3.1)."""

    id: str
    generation: str
    task: str
    title: str
    names: tuple[str, ...]
    source: str
    licence: str
    megabytes: int
    sha256: tuple[str, ...] = ()  # as third parties reported them
    hub: str | None = None  # repository on Hugging Face


V1_AGE_SHA256 = "0bbc78dc2237f08655c6b8cfb6b56d065e43c17d93d6e826d455a331189f3d8f"
V2_BACKBONE_SHA256 = "f22bdbcae26823a9d9e8aee883c6f24386ba4617339c12269848b6666cc62693"


def _official(generation: str, task: str, title: str, *names: str, sha256: tuple[str, ...] = ()) -> OfficialFile:
    encoder, megabytes = ("ResNet50", 185) if generation == "v1" else ("ViT-B", 362 if task == EMBEDDING_TASK else 707)
    return OfficialFile(
        f"brainiac-{generation}-{task}", generation, task, f"{title}, BrainIAC {generation} ({encoder})", names,
        AUTHORS_FOLDER, LICENCE, megabytes, sha256,
    )  # fmt: skip


OFFICIAL_FILES = (
    _official("v1", EMBEDDING_TASK, "encoder", "BrainIAC.ckpt"),
    _official("v1", "sequence", "MRI sequence", "sequenceclassification_model.pt"),
    _official("v1", "age", "brain age", "brainage_model_latest.pt", sha256=(V1_AGE_SHA256,)),
    _official("v1", "idh", "IDH mutation", "idh_model.76"),
    _official("v1", "survival", "overall survival at 1 year", "os_model.pt"),
    _official("v1", "mci", "mild cognitive impairment", "mci_model.pt"),
    _official("v1", "stroke", "time since stroke", "stroke_model.pt", "stroke.03"),
    _official("v2", EMBEDDING_TASK, "encoder", "BrainIAC.ckpt", "segmentation.ckpt", sha256=(V2_BACKBONE_SHA256,)),
    _official("v2", "sequence", "MRI sequence", "sequence_classifcation.ckpt"),
    _official("v2", "age", "brain age", "brainage.ckpt"),
    _official("v2", "idh", "IDH mutation", "idh.ckpt"),
    _official("v2", "survival", "overall survival at 15 months"),
    _official("v2", "mci", "mild cognitive impairment", "vit_mci.ckpt"),
    _official("v2", "stroke", "time since stroke"),
    OfficialFile(
        "brainiac-v1-hugging-face", "v1", EMBEDDING_TASK, "encoder, BrainIAC v1 (ResNet50), Hugging Face form", (),
        "Hugging Face (gated: ask the authors there first)", LICENCE, 185, hub="Divytak/brainiac",
    ),
    OfficialFile(
        "brainiac-v2-nidl", "v2", EMBEDDING_TASK, "encoder, BrainIAC v2 (ViT-B), nidl's form", (),
        "Hugging Face, redistributed with the authors' approval", LICENCE, 362, hub="nidl-neurospin/brainiac-vit-b",
    ),
    OfficialFile(
        "brainiac-v2-safetensors", "v2", EMBEDDING_TASK, "encoder, BrainIAC v2 (ViT-B), a port's safetensors",
        ("backbone.safetensors",), "Hugging Face", LICENCE, 353, hub="eugenehp/brainiac",
    ),
    OfficialFile(
        "medicalnet-resnet50", "medicalnet", EMBEDDING_TASK, "encoder, MedicalNet (ResNet50)",
        ("resnet_50_23dataset.pth",), "Hugging Face", MIT, 185, hub="TencentMedicalNet/MedicalNet-Resnet50",
    ),
)  # fmt: skip


def official_file(generation: str, task: str) -> OfficialFile:
    """The first official file of a generation for a task. Raises ModelError if there is none."""
    for file in OFFICIAL_FILES:
        if (file.generation, file.task) == (generation, task):
            return file
    raise ModelError(f"There is no official {generation} model for the task '{task}'.")


def model_id(file: OfficialFile, source_sha256: str) -> str:
    """One id for one source file, so that two releases of one name can be installed side by side."""
    return f"{file.id}-{source_sha256[:8]}"


def task_by_name(file_name: str, tasks: tuple[str, ...]) -> str | None:
    """A task whose released file has this name: a hint for a person's question, never an answer."""
    return next((file.task for file in OFFICIAL_FILES if file.task in tasks and file_name in file.names), None)


def where_to_get(task: str) -> str:
    """For a person without weights: which files, from where, and under which license."""
    files = [file for file in OFFICIAL_FILES if file.task == task]
    if not files:
        return ""
    names = " or ".join(f"'{name}' ({file.generation})" for file in files for name in file.names)
    return (
        f"The authors of BrainIAC offer {names} in {files[0].source}, license: {files[0].licence}. Import one of them."
    )


def import_command(task: str) -> str:
    """How the command line imports a file for a task."""
    return f"brainiac models import FILE --task {task}"
