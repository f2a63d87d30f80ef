"""One small study, analyzed once for all tests of this folder: two series of the simulated sample, and a screenshot."""

from __future__ import annotations

from pathlib import Path

import pytest
from fabricated_study import LOCALIZER, MPRAGE, MPRAGE_CE, FabricatedStudy, read, secondary_capture

from BrainIACLib.predictor import Predictor
from BrainIACLib.resources import resource
from BrainIACLib.studies.analysis import AnalyzedStudy, StudyOptions, analyze_open_study
from BrainIACLib.studies.opening import open_study

REPOSITORY = Path(__file__).resolve().parents[3]
SAMPLES = resource("SampleData")


def made_study(folder: Path) -> FabricatedStudy:
    """Localizer, T1, T1CE, a screenshot."""
    study = FabricatedStudy(folder)
    study.add(read(SAMPLES / "simulated_T1.nii.gz")[:, :, 40:43], LOCALIZER)
    study.add(read(SAMPLES / "simulated_T1.nii.gz"), MPRAGE, SeriesDescription="Doe t1 <script>alert(1)</script>")
    study.add(read(SAMPLES / "simulated_T1CE.nii.gz"), MPRAGE_CE)
    secondary_capture(study)
    return study


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder with ``docs``."""
    return REPOSITORY


@pytest.fixture(scope="session")
def study_folder(tmp_path_factory) -> Path:
    """The study as DICOM files."""
    return made_study(tmp_path_factory.mktemp("study") / "Doe_Jane").folder


@pytest.fixture(scope="session")
def results(study_folder) -> tuple[AnalyzedStudy, object]:
    """The analyzed study, and its DICOM objects where highdicom is installed."""
    with open_study([study_folder]) as study:
        analyzed = analyze_open_study(study, Predictor("cpu"), StudyOptions(samples=1))
        try:
            from BrainIACLib.dicom_objects.making import make_objects
        except ImportError:
            return analyzed, None
        return analyzed, make_objects(analyzed)


@pytest.fixture(scope="session")
def analyzed(results) -> AnalyzedStudy:
    """The analyzed study."""
    return results[0]


@pytest.fixture(scope="session")
def made(results) -> object:
    """Its DICOM objects."""
    if results[1] is None:
        pytest.skip("DICOM objects need highdicom (pip install highdicom)")
    return results[1]
