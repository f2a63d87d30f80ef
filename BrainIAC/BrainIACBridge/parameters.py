"""What the panel of BrainIAC shows and the scene remembers; what belongs to the computer is in ``settings``."""

from typing import Annotated, Union

from slicer import vtkMRMLLabelMapVolumeNode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode, vtkMRMLTableNode
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper

from BrainIACBridge.overlay import COLOR_MAPS
from BrainIACBridge.preprocessing_options import withPreprocessing


@parameterNodeWrapper
@withPreprocessing
class BrainIACParameterNode:
    """Choices of the person; those of preprocessing are made from the library's options."""

    studyScan: vtkMRMLScalarVolumeNode  # the study that is analyzed is the one of this scan
    combineStudies: bool = False
    saliencyScan: vtkMRMLScalarVolumeNode
    resultTable: vtkMRMLTableNode
    brainMask: Union[vtkMRMLSegmentationNode, vtkMRMLLabelMapVolumeNode, None]  # noqa: UP007 (for 5.10)
    samples: Annotated[int, WithinRange(1, 50)] = 10
    showSaliency: bool = True
    showLegend: bool = True
    opacity: Annotated[float, WithinRange(0, 1)] = 0.6
    threshold: Annotated[float, WithinRange(0, 1)] = 0.3
    colorMap: Annotated[str, Choice(list(COLOR_MAPS))] = "Inferno"
