"""The scans of one study as they were read and as they were prepared."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import SimpleITK as sitk

from BrainIACLib.contracts import AS_STORED, EncoderContract
from BrainIACLib.job import UNATTENDED, Job
from BrainIACLib.preprocessing.options import PreprocessingOptions
from BrainIACLib.preprocessing.pipeline import standardise
from BrainIACLib.preprocessing.standardised import Standardised
from BrainIACLib.scans import Scan, image_identity
from BrainIACLib.trust.echo_planar import in_plane_mm


class PreparedStudy:
    """Scans by name, each standardized once; empty at first."""

    def __init__(self) -> None:
        self.scans: dict[str, Scan] = {}
        self.standardised: dict[str, Standardised] = {}
        self.options = PreprocessingOptions()
        self.mask: sitk.Image | None = None  # of the brain, where one was given

    def set(
        self,
        scans: Mapping[str, Scan],
        options: PreprocessingOptions,
        job: Job = UNATTENDED,
        *,
        mask: sitk.Image | None = None,
        device: str = "cpu",
        near: sitk.Euler3DTransform | None = None,
    ) -> set[str]:
        """Take these scans instead of those before; the names of the scans that were prepared already.

        A scan is kept where one of that name had the same voxels and grid, and options and mask are the same. ``near``
        is as in ``standardise``, for all scans that are not kept.

        Raises
        ------
        PreprocessingError, Cancelled : from the pipeline; the scans that were ready by then make up the study.
        """
        comparable = options == self.options and _same_mask(mask, self.mask)
        before = {name: scan.identity for name, scan in self.scans.items()} if comparable else {}
        kept = {name for name, scan in scans.items() if before.get(name) == scan.identity}
        self.scans = {name: scans[name] for name in kept}
        self.standardised = {name: self.standardised[name] for name in kept}
        self.options, self.mask = options, mask
        new = [name for name in scans if name not in kept]
        for number, name in enumerate(new):
            part = job.part(number / len(new), (number + 1) / len(new))
            self.standardised[name] = standardise(scans[name].image, options, part, mask=mask, device=device, near=near)
            self.scans[name] = scans[name]
        return kept

    def set_prepared(
        self, scans: Mapping[str, Scan], standardised: Mapping[str, Standardised], options: PreprocessingOptions
    ) -> None:
        """Take scans that were prepared before with ``options``."""
        self.scans, self.standardised = dict(scans), dict(standardised)
        self.options, self.mask = options, None

    def warnings_of(self, scan: str) -> tuple[str, ...]:
        """What reading and preprocessing said about a scan."""
        return (*self.scans[scan].warnings, *self.standardised[scan].warnings)

    def in_plane_mm(self, names: Iterable[str]) -> float:
        """The voxel edge in the plane, of the coarsest of the scans."""
        return max(in_plane_mm(self.scans[name].image) for name in names)

    def as_seen_by(self, encoder: EncoderContract) -> EncoderContract:
        """Upstream's code takes the array order as stored; our own models always see the order of their contract."""
        if self.options.preset == "official" and encoder.generation != "own":
            return dataclasses.replace(encoder, orientation=AS_STORED)
        return encoder


def _same_mask(first: sitk.Image | None, second: sitk.Image | None) -> bool:
    if first is None or second is None or first is second:
        return first is second
    return image_identity(first) == image_identity(second)
