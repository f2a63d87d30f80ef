"""Images on the scan's own grid as volumes of DICOM's frame of reference, and the objects that hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import highdicom as hd
import numpy as np
import SimpleITK as sitk
from highdicom.pm import ParametricMap, RealWorldValueMapping
from highdicom.seg import Segmentation, SegmentDescription
from pydicom import Dataset
from pydicom.sr.coding import Code

import BrainIACLib
from BrainIACLib.dicom_objects import codes
from BrainIACLib.dicom_objects.equipment import equipment, uid_of
from BrainIACLib.studies.document import Answer

STRONG = 0.5  # of the maximum of the map
_STEPS = 65535  # of the stored map, which is 0 to 1


def volume_of(
    image: sitk.Image, values: np.ndarray, frame_of_reference: str, channels: Mapping[str, Sequence[int]] | None = None
) -> hd.Volume:
    """``values`` (slice, row, column, and a channel if there are any) at the places of the voxels of ``image``.

    The matrix is given as it is: from attributes, highdicom would take the slices to run the other way.
    """
    axes = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes[:, ::-1], image.GetOrigin()
    return hd.Volume(
        np.ascontiguousarray(values),
        affine,
        "PATIENT",
        frame_of_reference_uid=frame_of_reference,
        channels=None if channels is None else {name: of_name for name, of_name in channels.items()},
    )


def segmentation(
    sources: Sequence[Dataset],
    mask: sitk.Image,
    maps: Sequence[tuple[Answer, sitk.Image]],
    number: int,
    algorithm: hd.AlgorithmIdentificationSequence,
) -> Segmentation:
    """The brain, and for each answer the region in which its map reaches ``STRONG`` of its maximum.

    ``mask`` and the maps are on the grid of the scan that ``sources`` hold. Regions may overlap (binary segments).
    """
    arrays = [sitk.GetArrayViewFromImage(mask) > 0]
    descriptions = [_segment(1, "Brain", codes.ANATOMICAL_STRUCTURE, codes.BRAIN, algorithm)]
    for answer, heat in maps:
        arrays.append(sitk.GetArrayViewFromImage(heat) >= STRONG)
        label = f"Strong saliency, {answer.task}"
        descriptions.append(_segment(len(arrays), label, codes.SPATIAL_CONCEPT, codes.STRONG_SALIENCY, algorithm))
    stacked = np.stack(arrays, axis=-1).astype(np.uint8)
    channels = {"SegmentNumber": list(range(1, len(arrays) + 1))}
    volume = volume_of(mask, stacked, str(sources[0].FrameOfReferenceUID), channels)
    series = str(sources[0].SeriesInstanceUID)
    return Segmentation(
        source_images=sources,
        pixel_array=volume,
        segmentation_type="BINARY",
        segment_descriptions=descriptions,
        series_instance_uid=uid_of("segmentation series", series),
        series_number=number,
        sop_instance_uid=uid_of("segmentation", series, *(_identity(answer) for answer, _ in maps)),
        instance_number=1,
        content_label="BRAINIAC",
        content_description="Brain and strong saliency (research use only)",
        series_description="BrainIAC brain and saliency regions (research use only)",
        **equipment(),
    )


def parametric_map(sources: Sequence[Dataset], answer: Answer, heat: sitk.Image, number: int) -> ParametricMap:
    """The saliency of one answer, 0 to 1, on the grid of the scan that ``sources`` hold."""
    values = np.clip(sitk.GetArrayViewFromImage(heat), 0, 1)
    series = str(sources[0].SeriesInstanceUID)
    found = ParametricMap(
        source_images=sources,
        pixel_array=volume_of(heat, np.round(values * _STEPS).astype(np.uint16), str(sources[0].FrameOfReferenceUID)),
        series_instance_uid=uid_of("saliency series", series, answer.task),
        series_number=number,
        sop_instance_uid=uid_of("saliency", series, _identity(answer)),
        instance_number=1,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[
            RealWorldValueMapping(
                lut_label="SALIENCY",
                lut_explanation="Saliency, fraction of its maximum",
                unit=codes.NO_UNITS,
                value_range=(0, _STEPS),
                slope=1 / _STEPS,
                intercept=0.0,
                quantity_definition=codes.SALIENCY,
            )
        ],
        voi_lut_transformations=[hd.VOILUTTransformation(window_center=_STEPS / 2, window_width=_STEPS)],
        content_label="SALIENCY",
        content_description=f"Where the model looked: {answer.task}"[:64],
        series_description=f"BrainIAC saliency, {answer.task} (research use only)"[:64],
        **equipment(),
    )
    found.BodyPartExamined = "BRAIN"
    _turn_frames(found)
    return found


def _turn_frames(found: ParametricMap) -> None:
    """Store the frames in the direction of the normal of their rows and columns; highdicom stores them against it.

    Each frame says where it lies, so both are right; but readers that take the position of the first frame and go on
    along the normal, as GDCM does (and with it Slicer and ITK), put the others in wrong places.
    """
    frames = list(found.PerFrameFunctionalGroupsSequence)
    found.PerFrameFunctionalGroupsSequence = frames[::-1]
    for frame in frames:
        content = frame.FrameContentSequence[0]
        *others, position = np.atleast_1d(content.DimensionIndexValues).tolist()
        content.DimensionIndexValues = [*others, len(frames) + 1 - position]
    pixels = np.frombuffer(found.PixelData, np.uint8).reshape(len(frames), -1)
    found.PixelData = pixels[::-1].tobytes()


def algorithm(models: Sequence[str]) -> hd.AlgorithmIdentificationSequence:
    """What made the segments."""
    return hd.AlgorithmIdentificationSequence(
        name=f"BrainIAC {BrainIACLib.__version__}",
        family=codes.ARTIFICIAL_INTELLIGENCE,
        version=BrainIACLib.__version__,
        source="BrainIAC, open source",
        parameters={"models": ", ".join(models) or "none"},
    )


def _segment(
    number: int, label: str, category: Code, kind: Code, made_by: hd.AlgorithmIdentificationSequence
) -> SegmentDescription:
    return SegmentDescription(
        segment_number=number,
        segment_label=label[:64],
        segmented_property_category=category,
        segmented_property_type=kind,
        algorithm_type="AUTOMATIC",
        algorithm_identification=made_by,
        anatomic_regions=[codes.BRAIN],
    )


def _identity(answer: Answer) -> str:
    model = answer.provenance.get("model", {})
    return f"{answer.task} {answer.model} {model.get('head_sha256', '')} {BrainIACLib.__version__}"
