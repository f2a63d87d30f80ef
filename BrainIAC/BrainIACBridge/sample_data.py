"""The bundled simulated study in Slicer's Sample Data module; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import slicer.util
from slicer.i18n import tr as _

from BrainIACLib.resources import resource


def registerSampleData():
    """Called once Slicer has started."""
    import SampleData

    if hasattr(SampleData.SampleDataLogic, "registerCustomSampleDataCategory"):  # Slicer 5.12
        SampleData.SampleDataLogic.registerCustomSampleDataCategory("BrainIAC", title=_("BrainIAC"))
    for path in sorted(resource("SampleData").glob("*.nii.gz")):
        name = path.name.removesuffix(".nii.gz")
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category="BrainIAC",
            sampleName=name,
            uris=path.as_uri(),
            fileNames=path.name,
            nodeNames=name,
            checksums="SHA256:" + slicer.util.computeChecksum("SHA256", str(path)),
            thumbnailFileName=str(Path(__file__).parents[1] / "Resources" / "Icons" / "BrainIAC.png"),
        )
