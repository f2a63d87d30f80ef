"""All files of one analysis, written together: either the whole set appears in the folder, or nothing changes."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

from BrainIACLib.errors import BrainIACError
from BrainIACLib.predictor import Explanation, Prediction
from BrainIACLib.preprocessing.pipeline import Standardised
from BrainIACLib.reports.earlier_results import RESULT
from BrainIACLib.reports.overview_picture import save_overview
from BrainIACLib.scans import Scan, write_image, write_transform

SALIENCY, BRAIN, MASK = "saliency.nii.gz", "preprocessed_brain.nii.gz", "brain_mask.nii.gz"
TRANSFORM, PICTURE = "native_to_mni.tfm", "overview.png"
FILES = {
    SALIENCY: "where the model looked, on the scan's own voxel grid, maximum 1",
    BRAIN: "bias-corrected brain in MNI space, 1 mm, zero outside the brain",
    MASK: "brain mask on the scan's own voxel grid",
    TRANSFORM: "rigid transform; applied to the scan in Slicer it moves it into MNI space",
    PICTURE: "three planes: scan, contours, heat map",
    RESULT: "this document",
}


def write_results(
    scan: Scan, standardised: Standardised, prediction: Prediction, explanation: Explanation, out: Path
) -> Path:
    """Write the files of ``FILES`` into ``out`` and return the path of ``result.json``.

    Raises
    ------
    BrainIACError : ``out`` cannot be written, or would overwrite the scan itself.
    """
    out = Path(out)
    if any((out / name).resolve() == scan.path.resolve() for name in FILES):
        raise BrainIACError(
            f"Writing to '{out}' would overwrite the input '{scan.path.name}'; choose another --out folder."
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".brainiac-", dir=out))
    except OSError as error:
        raise BrainIACError(
            f"The folder '{out}' cannot be written ({error.strerror}); choose another --out folder."
        ) from None
    try:
        write_image(explanation.map, staging / SALIENCY)
        write_image(standardised.image, staging / BRAIN)
        write_image(standardised.native_mask, staging / MASK)
        write_transform(standardised.transform, staging / TRANSFORM)
        title = f"{scan.name}: {prediction.headline}"
        count = len(prediction.warnings)
        notes = f"{count} warning{'s' * (count > 1)}, see {RESULT}" if count else "no warnings"
        save_overview(
            scan.image, explanation.map, title, f"{prediction.provenance['model']['id']}; {notes}", staging / PICTURE
        )
        document = {
            "file": str(scan.path),
            **prediction.to_json(),
            "saliency": dict(explanation.parameters),
            "files": FILES,
        }
        (staging / RESULT).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        for name in FILES:  # result.json last: its presence says that the set is complete
            os.replace(staging / name, out / name)
    except OSError as error:
        raise BrainIACError(
            f"Writing to '{out}' failed ({error.strerror}); free some space or choose another folder."
        ) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return out / RESULT
