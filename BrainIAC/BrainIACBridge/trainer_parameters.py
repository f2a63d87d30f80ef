"""What the panel of the head trainer shows and the scene remembers."""

from slicer.parameterNodeWrapper import parameterNodeWrapper

from BrainIACBridge.choices import Kind
from BrainIACBridge.preprocessing_options import withPreprocessing
from BrainIACLib.head_training.labels import MISSING_WORDS

USUAL_CODES = ", ".join(MISSING_WORDS)


@parameterNodeWrapper
@withPreprocessing
class BrainIACHeadTrainerParameterNode:
    """Choices of the person; ``cases`` is ``Cases.toJson``, ``report`` the last training's, as JSON."""

    cases: str = ""
    labelColumn: str = "label"
    taskName: str = "my-task"
    kind: Kind = Kind.auto
    missingCodes: str = USUAL_CODES
    covariates: str = ""
    siteColumn: str = ""
    report: str = ""
