"""What the official files' numbers mean: one table, from PROTOCOL 3.1 to 3.6, since none of it stands in the files.

``unverified`` collects what is known from documents or inference only; it is shown with every result.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from BrainIACLib.checkpoints.official_files import model_id, official_file
from BrainIACLib.checkpoints.recognition import Recognised
from BrainIACLib.contracts import (
    EMBEDDING_TASK,
    EncoderContract,
    HeadContract,
    MaskContract,
    ModelContract,
    SourceContract,
)

CITATION = (
    "Tak et al., A generalizable foundation model for analysis of human brain MRI, Nature Neuroscience 2026, "
    "doi 10.1038/s41593-026-02202-6; github.com/AIM-KannLab/BrainIAC"
)
MEDICALNET_CITATION = "Chen, Ma, Zheng 2019, Med3D: transfer learning for 3D medical image analysis, arXiv 1904.00625"
UPSTREAM_TEMPLATE = "NIHPD asymmetric 13-18.5 years"
DOCS_ONLY = "the label map and the unit are known from upstream's documents only"
ARRAY_ORDER = (
    "upstream never reorients scans: the array order ({}) is that of its sample files, and its template is not ours"
)
ANY_SEQUENCE = ("any",)
RESEARCH_POPULATION = "Not validated by this project. "

# What differs from head to head (PROTOCOL 3.2). "verified" is the evidence for the label map or unit, if there is any.
_HEADS: dict[tuple[str, str], dict[str, Any]] = {
    ("v1", "sequence"): {
        "labels": ("T1", "T2", "T1CE", "FLAIR"),
        "verified": "upstream's notebook note and its run on the sample 00001_t2f (class 3) agree",
        "unverified": ("upstream's v1 README exchanges T1CE and FLAIR, against its own notebook",),
        "valid": "One skull-stripped T1, T2, T1CE or FLAIR scan; there is no answer for anything else.",
    },
    ("v2", "sequence"): {
        "labels": ("T1", "T2", "FLAIR", "T1CE"),
        "unverified": ("the order of the four classes is known from upstream's documents only",),
        "valid": "One skull-stripped T1, T2, FLAIR or T1CE scan; there is no answer for anything else.",
    },
    ("v1", "age"): {
        "verified": "sample label 42.0 months of subpixar009 (3.518 years), prediction 43.15 (third party)"
    },
    ("v2", "age"): {"verified": "upstream's v2 documents say months"},
    ("v1", "idh"): {"slots": ("T1CE", "FLAIR")},
    ("v2", "idh"): {"slots": ("FLAIR", "T1CE")},
    ("v1", "survival"): {
        "labels": ("dead within 1 year", "alive at 1 year"),
        "slots": ("T1", "T2", "T1CE", "FLAIR"),
        "endpoint": "12 months",
        "threshold": 1 - 0.5215,
        "threshold_source": "constant of upstream's code, 'validation data': high risk where 1 - p >= 0.5215",
        "unverified": (
            "that the output is the probability of being alive at 1 year is inferred from upstream's code",
            "upstream's threshold has no stated origin",
        ),
        "valid": RESEARCH_POPULATION + "Trained on glioblastoma before surgery (UPENN-GBM).",
    },
    ("v2", "survival"): {
        "labels": ("short survival", "long survival"),
        "slots": ("T1CE", "T1", "T2", "FLAIR"),
        "endpoint": "15 months",
        "unverified": ("the endpoint of 15 months and the label map are known from upstream's documents only",),
        "valid": RESEARCH_POPULATION + "Trained on glioblastoma before surgery (UPENN-GBM).",
    },
}
_TASKS: dict[str, dict[str, Any]] = {
    "sequence": {"link": "softmax", "outputs": 4},
    "age": {
        "link": "identity",
        "unit": "months",
        "display_unit": "years",
        "conversion": 1 / 12,
        "plausible_range": (-1.0, 100.0),
        "training_range": (0.0, 40.0),
        "training_age_range": (0.0, 40.0),
        "slots": ("T1",),
        "unverified": ("the training ages of about 0 to 40 years are read off the paper's figures",),
        "valid": "One skull-stripped T1 scan of a person of about 0 to 40 years. Not for older adults.",
    },
    "idh": {
        "link": "sigmoid",
        "labels": ("wild type", "mutant"),
        "unverified": (
            "which class is the mutant: upstream's documents and its counts contradict each other, and its "
            "own example, a glioblastoma, gets 0.87; test it on labeled cases before reading a class into it",
        ),
        "valid": RESEARCH_POPULATION + "Trained on diffuse glioma of grade 2 to 4 (UCSF-PDGM).",
    },
    "survival": {"link": "sigmoid"},
    "mci": {
        "link": "sigmoid",
        "labels": ("healthy control", "MCI"),
        "slots": ("T1",),
        "unverified": (DOCS_ONLY,),
        "valid": RESEARCH_POPULATION + "One skull-stripped T1 scan of an older adult.",
    },
    "stroke": {
        "link": "identity",
        "unit": "days",
        "display_unit": "days",
        "conversion": 1.0,
        "plausible_range": (-100.0, 10_000.0),
        "slots": ("T1",),
        "unverified": (DOCS_ONLY,),
        "valid": RESEARCH_POPULATION + "One skull-stripped T1 scan after a stroke.",
    },
}  # fmt: skip
_TRAINING_SETS = {
    "idh": ("UCSF-PDGM",),
    "survival": ("UPENN-GBM",),
    "sequence": ("BraTS 2023",),
}


# U-10
class _Input(TypedDict):
    embedding: str
    input_size: tuple[int, int, int]
    resize_mode: str
    normalisation: str


_RESNET_INPUT: _Input = {
    "embedding": "gap",
    "input_size": (128, 128, 128),
    "resize_mode": "area",
    "normalisation": "minmax",
}
_VIT_INPUT: _Input = {
    "embedding": "token0",
    "input_size": (96, 96, 96),
    "resize_mode": "trilinear",
    "normalisation": "nonzero-zscore",
}
# From the sample files of each task: UPENN and BraTS scans are stored LPS, Pixar's RAS (PROTOCOL 3.2).
_ORIENTATION = {"sequence": "LPS", "idh": "LPS", "survival": "LPS"}


def official_contract(
    recognised: Recognised, task: str, source: SourceContract, sha256: Mapping[str, str]
) -> ModelContract:
    """The contract of an official file that was recognized and is to be used for ``task``.

    ``sha256`` holds those of the converted ``encoder.safetensors`` and, where there are such parts, of
    ``head.safetensors`` and ``decoder.safetensors``.
    """
    generation = recognised.generation
    orientation = _ORIENTATION.get(task, "RAS")
    inputs = _VIT_INPUT if recognised.architecture == "vit_b" else _RESNET_INPUT
    if recognised.embedding is not None:
        inputs = {**inputs, "embedding": recognised.embedding}
    encoder = EncoderContract(
        architecture=recognised.architecture,
        width=recognised.width,
        embedding_size=recognised.embedding_size,
        template=UPSTREAM_TEMPLATE,
        skull_stripped="required",
        weights="encoder.safetensors",
        sha256=sha256["encoder"],
        generation=generation,
        orientation=orientation,
        clip_percentiles=None,
        **inputs,
    )
    head = None if task == EMBEDDING_TASK else _head_contract(generation, task, sha256["head"])
    file = official_file(generation, task)
    unverified = [ARRAY_ORDER.format(orientation)]
    if recognised.decoder_keys:
        unverified.append("that the mask is of a tumor and made for FLAIR is known from upstream's documents only")
    if recognised.embedding == "token_mean":
        unverified.append("features are averaged over the patches, as nidl does; upstream reads the first patch alone")
    if generation == "medicalnet":
        unverified.append(
            "the original MedicalNet dilates its last two stages, this net (as MONAI's) does not: other features"
        )
    elif source.sha256 not in file.sha256:
        unverified.append("this very file has no published sha256 to compare with")
    return ModelContract(
        id=model_id(file, source.sha256),
        title=file.title,
        version=source.sha256[:8],
        licence=file.licence,
        citation=MEDICALNET_CITATION if generation == "medicalnet" else CITATION,
        training_data=", ".join(_TRAINING_SETS.get(task, ())) or "see the citation",
        intended_use="Research only, under the license of its authors. Not for diagnosis or treatment decisions.",
        encoder=encoder,
        head=head,
        mask=_mask_contract(sha256["decoder"]) if recognised.decoder_keys else None,
        unverified=(*(_meaning(generation, task).get("unverified", ()) if head else ()), *unverified),
        source=source,
    )


def _mask_contract(sha256: str) -> MaskContract:
    return MaskContract(
        decoder="unetr",
        label="tumor",
        slots=("FLAIR",),
        threshold=0.5,
        valid_range=RESEARCH_POPULATION + "One skull-stripped FLAIR scan of an adult with a glioma.",
        weights="decoder.safetensors",
        sha256=sha256,
    )


def _meaning(generation: str, task: str) -> dict[str, Any]:
    task_facts, head_facts = _TASKS[task], _HEADS.get((generation, task), {})
    both = (*task_facts.get("unverified", ()), *head_facts.get("unverified", ()))
    return {**task_facts, **head_facts, "unverified": both}


def _head_contract(generation: str, task: str, sha256: str) -> HeadContract:
    meaning = _meaning(generation, task)
    slots = meaning.get("slots", ANY_SEQUENCE)
    evidence = meaning.get("verified")
    return HeadContract(
        task=task,
        head_type="linear",
        outputs=meaning.get("outputs", 1),
        link=meaning["link"],
        labels=meaning.get("labels"),
        unit=meaning.get("unit"),
        slots=slots,
        missing_policy="refuse",
        temperature=None,
        confidence_gate=None,
        valid_range=meaning["valid"],
        polarity_verified=evidence is not None,
        polarity_evidence=evidence,
        weights="head.safetensors",
        sha256=sha256,
        display_unit=meaning.get("display_unit"),
        conversion=meaning.get("conversion"),
        plausible_range=meaning.get("plausible_range"),
        training_range=meaning.get("training_range"),
        training_age_range=meaning.get("training_age_range"),
        training_sets=_TRAINING_SETS.get(task, ()),
        endpoint=meaning.get("endpoint"),
        threshold=meaning.get("threshold"),
        threshold_source=meaning.get("threshold_source"),
    )
