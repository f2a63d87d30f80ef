"""Set a study once, predict many times: each scan is standardised once and embedded once per encoder.

The flow of segment-anything's predictor. Every number leaves here with its meaning: label or unit, confidence,
warnings, valid range, and the provenance that reproduces it.
"""

from __future__ import annotations

import dataclasses
import platform
import time
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import BrainIACLib
from BrainIACLib.checkpoints.installed import InstalledModel, find_model, load_model
from BrainIACLib.contracts import ModelContract
from BrainIACLib.errors import BrainIACError
from BrainIACLib.preprocessing.intensity import image_on_model_grid, model_input
from BrainIACLib.preprocessing.pipeline import PreprocessingOptions, Standardised, standardise, to_native
from BrainIACLib.scans import Scan

if typing.TYPE_CHECKING:
    import SimpleITK as sitk
    import torch

Progress = Callable[[str, float], None]
RESEARCH_USE_ONLY = "Research use only. Not a medical device; not for diagnosis or treatment decisions."


@dataclass(frozen=True)
class Prediction:
    """One answer with its meaning. ``confidence`` and ``probabilities`` are calibrated (the contract's temperature)."""

    task: str
    scans: Mapping[str, str]  # slot -> name of the scan
    label: str
    confidence: float
    probabilities: Mapping[str, float]
    warnings: tuple[str, ...]
    valid_range: str
    provenance: Mapping[str, object]
    notice: str = RESEARCH_USE_ONLY

    def to_json(self) -> dict:
        """Plain dictionaries, lists, strings and numbers, for ``json.dumps``."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Explanation:
    """Where the model looked: a map on the native grid of the scan, scaled to a maximum of 1, and how it was made."""

    map: "sitk.Image"
    parameters: Mapping[str, object]


class Predictor:
    """Predictions for one study at a time.

    Parameters
    ----------
    device : ``"auto"`` (CUDA, then Apple's MPS, then CPU), or a torch device name.
    models : folder of installed models; the bundled ones by default.
    """

    def __init__(self, device: str = "auto", models: Path | None = None):
        self.device = choose_device(device)
        self._models_folder = models
        self._nets: dict[str, torch.nn.Module] = {}
        self._scans: dict[str, Scan] = {}
        self._standardised: dict[str, Standardised] = {}
        self._embeddings: dict[tuple[str, str], torch.Tensor] = {}
        self._options = PreprocessingOptions()

    def set_study(
        self,
        scans: Mapping[str, Scan],
        options: PreprocessingOptions | None = None,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Mapping[str, Standardised]:
        """Standardise every scan of the study (name -> scan); forgets the study before.

        Raises
        ------
        PreprocessingError, Cancelled : from the pipeline; the predictor is then without a study.
        """
        self._scans, self._standardised, self._embeddings = {}, {}, {}
        self._options = options or PreprocessingOptions()
        standardised = {
            name: standardise(scan.image, self._options, progress, cancelled) for name, scan in scans.items()
        }
        self._scans, self._standardised = dict(scans), standardised
        return standardised

    def predict(self, task: str, scan: str) -> Prediction:
        """The answer of the model for ``task`` on the scan of that name in the study.

        Raises
        ------
        ModelError : no model for the task, or its files are damaged.
        KeyError : the study has no scan of that name.
        """
        import torch

        model = find_model(task, self._models_folder)
        head = model.contract.head
        embedding = self._embedding(model, scan)
        started = time.perf_counter()
        with torch.inference_mode():
            logits = self._net(model).head(embedding)[0].float().cpu()
        probabilities = torch.softmax(logits / (head.temperature or 1.0), dim=0).tolist()
        ranked = sorted(zip(probabilities, head.labels, strict=True), reverse=True)
        confidence, label = ranked[0]
        warnings = list(self._scans[scan].warnings) + list(self._standardised[scan].warnings)
        if head.confidence_gate is not None and confidence < head.confidence_gate:
            warnings.append(
                f"Uncertain: the confidence {confidence:.2f} is below {head.confidence_gate:.2f}; "
                f"the next candidate is {ranked[1][1]} ({ranked[1][0]:.2f})."
            )
        if label == "other":
            warnings.append("This does not look like a T1, T2, FLAIR or contrast-enhanced T1 scan of a brain.")
        return Prediction(
            task=task,
            scans={head.slots[0]: scan},
            label=label,
            confidence=confidence,
            probabilities=dict(zip(head.labels, probabilities, strict=True)),
            warnings=tuple(warnings),
            valid_range=head.valid_range,
            provenance=self._provenance(model, scan, time.perf_counter() - started),
        )

    def explain(
        self,
        task: str,
        scan: str,
        label: str,
        samples: int = 10,
        seed: int = 0,
        progress: Callable[[float], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Explanation:
        """Guided-backpropagation SmoothGrad of the logit of ``label`` on the scan's own grid (U-13, D-11, D-13)."""
        from BrainIACLib.saliency import guided_smoothgrad

        model = find_model(task, self._models_folder)
        index = model.contract.head.labels.index(label)
        standardised = self._standardised[scan]
        saliency = guided_smoothgrad(
            self._net(model),
            model_input(standardised.image, model.contract.encoder).to(self.device),
            target=lambda outputs: outputs[:, index],
            samples=samples,
            seed=seed,
            progress=progress,
            cancelled=cancelled,
        )
        heat = saliency.map.cpu().numpy()
        peak = float(heat.max())
        if not peak > 0:
            raise BrainIACError(f"The saliency of '{label}' is zero everywhere: the model did not react to this scan.")
        on_native = to_native(image_on_model_grid(heat / peak, standardised.image), standardised)
        return Explanation(
            on_native, {**saliency.parameters, "target": f"logit of {label}", "maximum_before_scaling": peak}
        )

    def _embedding(self, model: InstalledModel, scan: str) -> "torch.Tensor":
        import torch

        key = (scan, model.contract.encoder.sha256)
        if key not in self._embeddings:
            tensor = model_input(self._standardised[scan].image, model.contract.encoder)
            with torch.inference_mode():
                self._embeddings[key] = self._net(model).encoder(tensor.to(self.device))
        return self._embeddings[key]

    def _net(self, model: InstalledModel) -> "torch.nn.Module":
        if model.contract.id not in self._nets:
            self._nets[model.contract.id] = load_model(model).to(self.device)
        return self._nets[model.contract.id]

    def _provenance(self, model: InstalledModel, scan: str, seconds: float) -> dict:
        return {
            "model": _model_identity(model.contract),
            "input": {"format": self._scans[scan].format, "sha256": self._scans[scan].sha256},
            "versions": versions(),
            "device": self.device,
            "seed": self._options.seed,
            "preprocessing": [dataclasses.asdict(step) for step in self._standardised[scan].record],
            "head_seconds": seconds,
        }


def choose_device(name: str) -> str:
    """``"auto"`` becomes the fastest device that torch finds; a named one is checked.

    Raises
    ------
    BrainIACError : the named device is not available here.
    """
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(device for device, present in available.items() if present)
    if not available.get(name.split(":")[0], False):
        present = ", ".join(device for device, is_present in available.items() if is_present)
        raise BrainIACError(f"The device '{name}' is not available on this computer; available: {present}.")
    return name


def versions() -> dict[str, str]:
    """Versions of everything that can change a number."""
    packages = {name: metadata.version(name) for name in ("torch", "numpy", "SimpleITK")}
    return {"BrainIACLib": BrainIACLib.__version__, "python": platform.python_version(), **packages}


def _model_identity(contract: ModelContract) -> dict[str, str]:
    return {
        "id": contract.id,
        "version": contract.version,
        "licence": contract.licence,
        "encoder_sha256": contract.encoder.sha256,
        "head_sha256": contract.head.sha256,
    }
