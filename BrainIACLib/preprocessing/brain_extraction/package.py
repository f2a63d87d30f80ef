"""Networks that somebody else's package brings: whether it is there, its version, its folder, and its answer's grid."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import SimpleITK as sitk


@dataclass(frozen=True)
class Package:
    """A package on PyPI; ``extra`` is the project's extra that installs it, ``module`` what Python imports."""

    name: str
    extra: str
    module: str

    def is_installed(self) -> bool:
        """A folder that an uninstall left behind, or one of that name in the working directory, is no package."""
        spec = importlib.util.find_spec(self.module)
        try:
            return spec is not None and spec.origin is not None and bool(self.version())
        except metadata.PackageNotFoundError:
            return False

    def version(self) -> str:
        """Of the package, and so of its weights."""
        return metadata.version(self.name)

    def folder(self) -> Path:
        """Where its files lie."""
        spec = importlib.util.find_spec(self.module)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"No module named '{self.module}'")
        return Path(spec.origin).parent

    @property
    def installation(self) -> str:
        """What a person does to get it."""
        return f'pip install ".[{self.extra}]" in the folder of BrainIAC\'s source, or pip install {self.name}'


def more_likely_than_not(probability: np.ndarray, work: sitk.Image, image: sitk.Image) -> sitk.Image:
    """Where a probability (z, y, x) on the working grid ``work`` exceeds one half, on the grid of ``image``."""
    soft = sitk.GetImageFromArray(np.ascontiguousarray(probability))
    soft.CopyInformation(work)
    return sitk.Resample(soft, image, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32, True) > 0.5
