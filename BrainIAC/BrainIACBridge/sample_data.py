"""The bundled simulated study in Slicer's Sample Data module: one entry, four sequences; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import slicer
import slicer.util
from slicer.i18n import tr as _

from BrainIACLib.resources import resource

STUDY = "BrainIACSimulatedStudy"


def registerSampleData():
    """Add the study to Sample Data."""
    import SampleData

    if hasattr(SampleData.SampleDataLogic, "registerCustomSampleDataCategory"):  # Slicer 5.12
        SampleData.SampleDataLogic.registerCustomSampleDataCategory("BrainIAC", title=_("BrainIAC"))
    paths = sorted(resource("SampleData").glob("*.nii.gz"))
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="BrainIAC",
        sampleName=STUDY,
        uris=[path.as_uri() for path in paths],
        fileNames=[path.name for path in paths],
        nodeNames=[path.name.removesuffix(".nii.gz") for path in paths],
        checksums=["SHA256:" + slicer.util.computeChecksum("SHA256", str(path)) for path in paths],
        thumbnailFileName=str(Path(__file__).parents[1] / "Resources" / "Icons" / "BrainIAC.png"),
    )
