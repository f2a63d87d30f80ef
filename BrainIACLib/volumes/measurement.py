"""Volumes of brain structures in one standardized scan, and the label map on the scan's own grid."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import SimpleITK as sitk

from BrainIACLib import RESEARCH_USE_ONLY
from BrainIACLib.checkpoints.installed import Folders, InstalledModel, find_encoder, load_model
from BrainIACLib.errors import PreprocessingError
from BrainIACLib.models.anatomy import VOXEL_ML, certainty_of
from BrainIACLib.preprocessing.intensity import model_input
from BrainIACLib.preprocessing.standardised import Standardised
from BrainIACLib.structures import GREY_MATTER, INDEX, MEASURED, VENTRICLES, WHITE_MATTER
from BrainIACLib.volumes.label_map import label_map
from BrainIACLib.volumes.percentiles import read_norms

if typing.TYPE_CHECKING:
    import torch

    from BrainIACLib.models.anatomy import AnatomyEncoder

MODEL = "structure-volumes"
INTRACRANIAL_ML = (900.0, 2000.0)  # adults of either sex; outside, the scan or its preparation is to be looked at
SMALLEST_CERTAINTY = 0.58  # 95 % of the open T1 scans have 0.61 and more
SUMS = {"grey_matter": GREY_MATTER, "white_matter_with_brainstem": WHITE_MATTER, "ventricles": VENTRICLES}


@dataclass(frozen=True)
class Volume:
    """Of one structure: ml, of both sides and of each (None in the midline), and its share of the intracranial one.

    ``percentile``: of the share among healthy adults of one age, 0 to 100; None if no age was given or none is known.
    """

    structure: str
    title: str
    ml: float
    left_ml: float | None
    right_ml: float | None
    share: float
    percentile: float | None = None


@dataclass(frozen=True)
class Measurement:
    """``labels``: uint8 on the grid of the scan, numbers as in ``STRUCTURES``. ``quality``: plain numbers."""

    volumes: tuple[Volume, ...]
    intracranial_ml: float
    labels: sitk.Image
    quality: Mapping[str, float]
    warnings: tuple[str, ...]
    provenance: Mapping[str, str]
    percentiles: str | None = None  # what they are of: persons, ages, source and license
    notice: str = RESEARCH_USE_ONLY

    def to_json(self) -> dict[str, Any]:
        """Everything but the label map, for ``json.dumps``."""
        return {
            "intracranial_ml": round(self.intracranial_ml, 1),
            "volumes": [
                {
                    "structure": volume.structure,
                    "title": volume.title,
                    "ml": round(volume.ml, 2),
                    "left_ml": None if volume.left_ml is None else round(volume.left_ml, 2),
                    "right_ml": None if volume.right_ml is None else round(volume.right_ml, 2),
                    "share_of_intracranial": round(volume.share, 5),
                    "percentile_for_age": None if volume.percentile is None else round(volume.percentile, 1),
                }
                for volume in self.volumes
            ],
            "percentiles": self.percentiles,
            "quality": dict(self.quality),
            "warnings": list(self.warnings),
            "provenance": dict(self.provenance),
            "notice": self.notice,
        }


class VolumeMeter:
    """The bundled anatomy network, loaded once.

    Parameters
    ----------
    device : a torch device name.
    folders : where models lie; the bundled and the user's by default.
    encoder : its network, where it was loaded before, on that device.

    Raises
    ------
    ModelError : the network is missing or damaged.
    """

    def __init__(self, device: str = "cpu", folders: Folders = None, encoder: "torch.nn.Module | None" = None):
        self.model: InstalledModel = find_encoder(folders, MODEL)
        self._norms = read_norms(self.model.folder, self.model.contract.encoder.sha256)
        self._device = device
        found: Any = load_model(self.model, folders).encoder.to(device) if encoder is None else encoder
        self._encoder: AnatomyEncoder = found

    def measure(
        self, standardised: Standardised, age: float | None = None, shares: "torch.Tensor | None" = None
    ) -> Measurement:
        """Volumes and label map of one scan of any sequence; made for adults, whole brains and T1 best.

        Parameters
        ----------
        shares : (structures, X, Y, Z) on the CPU, what the network says of this scan, where it was asked before.
        age : years at the scan; gives each share its percentile among healthy adults of that age, if there are curves.

        Raises
        ------
        PreprocessingError : the network finds no brain.
        """
        import torch

        contract = self.model.contract.encoder
        with torch.inference_mode():
            if shares is None:
                inputs = model_input(standardised.image, contract).to(self._device)
                shares = self._encoder.shares(inputs)[0].cpu()
            shares = shares.clone()
            shares[INDEX["white_matter"]] += shares[INDEX["lesion"]]
            shares[INDEX["lesion"]] = 0
        brain = 1 - shares[0]
        intracranial = float(brain.sum()) * VOXEL_ML
        if intracranial < 100:
            raise PreprocessingError("No brain structures were found in this scan; check that it shows a whole brain.")
        certainty = float(certainty_of(shares[None])[0])
        mask_ml = float(sitk.GetArrayViewFromImage(standardised.mask).sum()) / 1000
        quality = {
            "certainty": round(certainty, 3),
            "brain_mask_ml": round(mask_ml, 1),
            "brain_mask_of_intracranial": round(mask_ml / intracranial, 3),
        }
        volumes, doubts = _volumes(shares, intracranial), _doubts(intracranial, quality)
        norms = self._norms if age is not None else None
        if norms is not None and age is not None:
            volumes = tuple(
                dataclasses.replace(volume, percentile=norms.percentile(volume.structure, volume.share, age))
                for volume in volumes
            )
            low, high = norms.ages
            if not low <= age <= high:
                doubts.append(f"Percentiles are known from {low:.0f} to {high:.0f} years, not for {age:g}.")
        return Measurement(
            volumes=volumes,
            intracranial_ml=intracranial,
            labels=label_map(shares, standardised, contract.orientation),
            quality=quality,
            warnings=(*standardised.warnings, *doubts),
            percentiles=None if norms is None else norms.caption,
            provenance={
                "model": self.model.contract.id,
                "version": self.model.contract.version,
                "encoder_sha256": contract.sha256,
                "licence": self.model.contract.licence,
            },
        )


def _volumes(shares: "torch.Tensor", intracranial: float) -> tuple[Volume, ...]:
    """All structures that are measured, then the sums; index 0 of an array in RAS order is the patient's left."""
    half = shares.shape[1] // 2
    left, right = (part.sum((1, 2, 3)) * VOXEL_ML for part in (shares[:, :half], shares[:, half:]))
    found = []
    for structure in MEASURED:
        index = INDEX[structure.name]
        sides = (float(left[index]), float(right[index]))
        ml = sum(sides)
        is_paired = structure.left != structure.right
        each = sides if is_paired else (None, None)
        found.append(Volume(structure.name, structure.title, ml, each[0], each[1], ml / intracranial))
    by_name = {volume.structure: volume.ml for volume in found}
    for name, parts in SUMS.items():
        total = sum(by_name[part] for part in parts)
        found.append(
            Volume(name, name.replace("_", " ").replace("grey", "gray"), total, None, None, total / intracranial)
        )
    return tuple(found)


def _doubts(intracranial: float, quality: Mapping[str, float]) -> list[str]:
    doubts = []
    low, high = INTRACRANIAL_ML
    if not low <= intracranial <= high:
        doubts.append(
            f"The intracranial volume of {intracranial:.0f} ml is unusual for an adult ({low:.0f} to {high:.0f} ml): "
            "check that the scan shows the whole brain of an adult and that its voxel size is right."
        )
    if quality["certainty"] < SMALLEST_CERTAINTY:
        doubts.append(
            f"The structures are not clear in this scan (certainty {quality['certainty']:.2f}, usual is above "
            f"{SMALLEST_CERTAINTY:.2f}): do not rely on the volumes."
        )
    return doubts
