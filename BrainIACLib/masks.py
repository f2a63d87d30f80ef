"""A structure outlined voxel by voxel, by the decoder of an imported model: upstream's tumor mask of a FLAIR scan."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk

from BrainIACLib import RESEARCH_USE_ONLY
from BrainIACLib.checkpoints.installed import Folders, InstalledModel, installed_models, load_mask_net
from BrainIACLib.checkpoints.official_files import import_command
from BrainIACLib.contracts import EMBEDDING_TASK, MaskContract
from BrainIACLib.errors import ModelError
from BrainIACLib.preprocessing.intensity import image_on_model_grid, model_input
from BrainIACLib.preprocessing.standardised import Standardised

if typing.TYPE_CHECKING:
    from BrainIACLib.models.unetr import Unetr


@dataclass(frozen=True)
class Mask:
    """``image``: uint8 on the grid of the scan, 1 inside. ``ml``: its volume. ``slot``: the scan it was made for."""

    label: str
    slot: str
    ml: float
    image: sitk.Image
    warnings: tuple[str, ...]
    unverified: tuple[str, ...]
    valid_range: str
    provenance: Mapping[str, str]
    notice: str = RESEARCH_USE_ONLY

    def to_json(self) -> dict[str, Any]:
        """Everything but the image, for ``json.dumps``."""
        return {
            "label": self.label,
            "slot": self.slot,
            "ml": round(self.ml, 2),
            "warnings": list(self.warnings),
            "unverified": list(self.unverified),
            "valid_range": self.valid_range,
            "provenance": dict(self.provenance),
            "notice": self.notice,
        }


def find_mask_model(folders: Folders = None, model_id: str | None = None) -> InstalledModel:
    """The installed model that makes a mask, or the one with that id.

    Raises
    ------
    ModelError : there is none, none of that id, or several to choose from.
    """
    models = [model for model in installed_models(folders) if model.contract.mask is not None]
    ids = ", ".join(model.contract.id for model in models) or "none"
    if model_id is not None:
        models = [model for model in models if model.contract.id == model_id]
        if not models:
            raise ModelError(f"No model '{model_id}' that makes a mask is installed (installed: {ids}).")
    if not models:
        raise ModelError(
            "No model that makes a mask is installed. The authors of BrainIAC offer 'segmentation.ckpt' (v2); import "
            "that file.",
            import_command(EMBEDDING_TASK),
        )
    if len(models) > 1:
        raise ModelError(f"Several models make masks; choose one: {ids}.", "--model ID")
    return models[0]


class MaskMaker:
    """One model with a decoder, loaded once.

    Parameters
    ----------
    device : a torch device name.
    folders : where models lie; the bundled and the user's by default.

    Raises
    ------
    ModelError : no such model, or it is damaged.
    """

    def __init__(self, device: str = "cpu", folders: Folders = None, model_id: str | None = None):
        self.model = find_mask_model(folders, model_id)
        self._net: Unetr = load_mask_net(self.model, folders).to(device)
        self._device = device

    @property
    def contract(self) -> MaskContract:
        """What the mask means."""
        return typing.cast(MaskContract, self.model.contract.mask)

    def mask(self, standardised: Standardised) -> Mask:
        """The mask of one scan: probabilities on the model's grid, moved back linearly, cut at the threshold."""
        import torch

        contract = self.model.contract.encoder
        with torch.inference_mode():
            logits = self._net(model_input(standardised.image, contract).to(self._device))[0, 0].float()
        probability = torch.sigmoid(logits).cpu().numpy()
        on_template = image_on_model_grid(probability, standardised.image, contract.orientation)
        way = standardised.transform.GetInverse()
        native = sitk.Resample(on_template, standardised.native, way, sitk.sitkLinear, 0.0, sitk.sitkFloat32)
        inside = sitk.GetArrayViewFromImage(native) > self.contract.threshold
        inside &= sitk.GetArrayViewFromImage(standardised.native_mask) > 0  # outside the brain there is no answer
        image = sitk.GetImageFromArray(inside.astype(np.uint8))
        image.CopyInformation(standardised.native)
        return Mask(
            label=self.contract.label,
            slot=self.contract.slots[0],
            ml=float(inside.sum()) * float(np.prod(standardised.native.GetSpacing())) / 1000,
            image=image,
            warnings=standardised.warnings,
            unverified=self.model.contract.unverified,
            valid_range=self.contract.valid_range,
            provenance={
                "model": self.model.contract.id,
                "version": self.model.contract.version,
                "encoder_sha256": contract.sha256,
                "decoder_sha256": self.contract.sha256,
                "licence": self.model.contract.licence,
            },
        )
