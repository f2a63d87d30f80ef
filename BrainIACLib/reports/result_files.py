"""All files of one analysis, written together: either the whole set appears in the folder, or nothing changes."""

from __future__ import annotations

import json
from pathlib import Path

from BrainIACLib.errors import BrainIACError
from BrainIACLib.predictions import Explanation, Prediction
from BrainIACLib.preprocessing.standardised import Standardised
from BrainIACLib.publishing import publishing_set, write_text
from BrainIACLib.reports.earlier_results import RESULT, refuse_results_of_another_scan
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
    BrainIACError : ``out`` cannot be written, holds the results of another scan, or would overwrite the scan itself.
    """
    out = Path(out)
    if any((out / name).resolve() == scan.path.resolve() for name in FILES):
        raise BrainIACError(
            f"Writing to '{out}' would overwrite the input '{scan.path.name}'; choose another folder.", "--out FOLDER"
        )
    with publishing_set(out, tuple(FILES)) as staging:
        refuse_results_of_another_scan(scan.path, out, lambda: scan.identity)  # that came since this one was begun
        write_image(explanation.map, staging / SALIENCY)
        write_image(standardised.image, staging / BRAIN)
        write_image(standardised.native_mask, staging / MASK)
        write_transform(standardised.transform, staging / TRANSFORM)
        title = f"{scan.name}: {prediction.headline}"
        subtitle = prediction.provenance["model"]["id"] + ("" if prediction.warnings else "; no warnings")
        save_overview(
            scan.image,
            explanation.map,
            title,
            subtitle,
            staging / PICTURE,
            warnings=prediction.warnings,
            method=str(explanation.parameters["method"]),
        )
        document = {
            "file": str(scan.path),
            "identity": scan.identity,
            **prediction.to_json(),
            "saliency": dict(explanation.parameters),
            "files": FILES,
        }
        write_text(json.dumps(document, indent=2) + "\n", staging / RESULT)
    return out / RESULT
