"""What the panel of the head trainer shows and the scene remembers."""

from typing import Annotated

from slicer.parameterNodeWrapper import Choice, parameterNodeWrapper

from BrainIACBridge.choices import BrainExtraction, Device

KINDS = ("auto", "classification", "regression", "survival")


@parameterNodeWrapper
class BrainIACHeadTrainerParameterNode:
    """Choices of the person; ``cases`` is ``Cases.toJson``, ``report`` the last training's, as JSON."""

    cases: str = ""
    labelColumn: str = "label"
    taskName: str = "my-task"
    kind: Annotated[str, Choice(list(KINDS))] = "auto"
    report: str = ""
    brainExtraction: BrainExtraction = BrainExtraction.auto
    biasField: bool = True
    device: Device = Device.auto
