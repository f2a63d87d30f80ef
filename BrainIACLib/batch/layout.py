"""Where the results of a cohort lie: BIDS derivatives (specification 1.10, "Derivatives").

What BIDS has no name for yet (embeddings, answers, transforms, thumbnails) ends in suffixes that ``.bidsignore`` names.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Sequence
from pathlib import Path

import BrainIACLib
from BrainIACLib.batch.cases import BatchCase
from BrainIACLib.publishing import write_text

SPACE = "MNI152NLin2009aSym"  # of the bundled template (BIDS: "Standard template identifiers")
DESCRIPTION = "dataset_description.json"
IGNORED = ("*_xfm.tfm", "*_embedding.npy", "*_answers.json", "*_thumbnail.webp", "*_MRI.*", "*_saliency.nii.gz")
IGNORED_WHOLE = (
    *("index.parquet", "embeddings.parquet", "decisions.csv", "failures.csv"),
    *("report.html", "series.csv", "study.json"),
)


class Names:
    """The file names of one case. The suffix (T1w, ...) is part of ``desc`` where a mask has no place for it.

    Parameters
    ----------
    mapped : the tasks of which a saliency map is written.
    """

    def __init__(self, case: BatchCase, mapped: Sequence[str] = ()):
        start, end = case.entities, case.suffix
        self.brain = f"{start}_space-{SPACE}_desc-preproc_{end}.nii.gz"
        self.brain_sidecar = f"{start}_space-{SPACE}_desc-preproc_{end}.json"
        self.mask = f"{start}_space-{SPACE}_desc-brain{end}_mask.nii.gz"
        self.mask_sidecar = f"{start}_space-{SPACE}_desc-brain{end}_mask.json"
        self.native_mask = f"{start}_desc-brain{end}_mask.nii.gz"
        self.native_mask_sidecar = f"{start}_desc-brain{end}_mask.json"
        self.transform = f"{start}_from-{end}_to-{SPACE}_mode-image_xfm.tfm"
        self.embedding = f"{start}_desc-{end}_embedding.npy"
        self.thumbnail = f"{start}_desc-{end}_thumbnail.webp"
        letters = {task: "".join(letter for letter in task if letter.isalnum()) for task in mapped}
        self._maps = f"{glob.escape(start)}_desc-{end}*_saliency.nii.gz"
        self.saliency = {task: f"{start}_desc-{end}{letters[task]}_saliency.nii.gz" for task in mapped}
        self.document = f"{start}_desc-{end}_answers.json"

    def maps_in(self, folder: Path) -> list[str]:
        """The saliency maps of the case that lie there, of whatever task."""
        return sorted(path.name for path in folder.glob(self._maps))

    @property
    def all(self) -> tuple[str, ...]:
        """The set, with the file last that says that it is complete."""
        return (
            self.brain,
            self.brain_sidecar,
            self.mask,
            self.mask_sidecar,
            self.native_mask,
            self.native_mask_sidecar,
            self.transform,
            self.embedding,
            self.thumbnail,
            *self.saliency.values(),
            self.document,
        )


def sidecar(case: BatchCase, kind: str) -> str:
    """The JSON beside an image."""
    facts: dict[str, object] = {"Sources": [f"bids:raw:{case.facts['scan']}"]}
    if kind == "brain":
        facts |= {
            "Description": "bias field corrected, registered rigidly, 1 mm, zero outside the brain",
            "SkullStripped": True,
            "SpatialReference": SPACE,
            "Resolution": "1 mm isotropic",
        }
    else:
        facts |= {"Type": "Brain"} | ({"Resolution": "1 mm isotropic"} if kind == "mask" else {})
    return json.dumps(facts, indent=1) + "\n"


def begin_dataset(out: Path, source: Path) -> None:
    """The files that make the folder a BIDS derivative data set, if they are not there."""
    out.mkdir(parents=True, exist_ok=True)
    (out / ".brainiac").mkdir(exist_ok=True)
    if not (out / DESCRIPTION).is_file():
        description = {
            "Name": "BrainIAC: prepared brains, embeddings and answers",
            "BIDSVersion": "1.10.0",
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "BrainIAC", "Version": BrainIACLib.__version__}],
            "SourceDatasets": [{"URL": source.resolve().as_uri()}],
            "DatasetLinks": {"raw": source.resolve().as_uri()},
        }
        write_text(json.dumps(description, indent=1) + "\n", out / DESCRIPTION)
    if not (out / ".bidsignore").is_file():
        write_text("\n".join((*IGNORED, *IGNORED_WHOLE)) + "\n", out / ".bidsignore")
    if not (out / "README").is_file():
        text = f"Made by BrainIAC {BrainIACLib.__version__}. {BrainIACLib.RESEARCH_USE_ONLY}\n"
        write_text(text, out / "README")
