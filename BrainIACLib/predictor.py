"""Set a study once, predict many times: each scan is standardised once and embedded once per encoder.

The flow of segment-anything's predictor. Every number leaves here with its meaning: label or unit, confidence,
warnings, valid range, and the provenance that reproduces it.
"""

from __future__ import annotations

import dataclasses
import platform
import time
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import SimpleITK as sitk

import BrainIACLib
from BrainIACLib import RESEARCH_USE_ONLY
from BrainIACLib.answers import (
    SEQUENCE_TASK,
    classification,
    fill_slots,
    measurement,
    missing_slots,
    probabilities_of,
    saliency_target,
)
from BrainIACLib.checkpoints.installed import InstalledModel, find_encoder, find_model, installed_models, load_model
from BrainIACLib.contracts import AS_STORED, EncoderContract, ModelContract
from BrainIACLib.errors import BrainIACError, ModelError
from BrainIACLib.job import UNATTENDED, Job
from BrainIACLib.preprocessing.intensity import image_on_model_grid, model_input
from BrainIACLib.preprocessing.options import PreprocessingOptions
from BrainIACLib.preprocessing.pipeline import standardise, to_native
from BrainIACLib.preprocessing.standardised import Standardised
from BrainIACLib.scans import Scan, image_identity
from BrainIACLib.trust.assessment import (
    age_doubt,
    novelty_doubt,
    novelty_found,
    prediction_interval,
    prediction_set,
    sequence_doubt,
    set_doubt,
)
from BrainIACLib.trust.drivers import drivers_found
from BrainIACLib.trust.echo_planar import is_coarse
from BrainIACLib.trust.novelty import Novelty, read_novelty

if typing.TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Prediction:
    """One answer with its meaning.

    A class comes with ``confidence`` and ``probabilities`` (calibrated by the contract's temperature), a measurement
    with ``value`` in ``unit``; ``label`` says either in words. ``trust`` holds what the head's contract allows to say:
    ``prediction_set`` or ``prediction_interval`` with its coverage, ``novelty`` (how unlike the training scans), of a
    head that reads volumes ``drivers`` (what each adds to the answer), and on request ``spread`` and ``stability``,
    each with its ``meaning``.
    """

    task: str
    scans: Mapping[str, str]  # slot -> name of the scan
    label: str
    confidence: float | None
    probabilities: Mapping[str, float]
    warnings: tuple[str, ...]
    valid_range: str
    provenance: Mapping[str, object]
    value: float | None = None
    unit: str | None = None
    trust: Mapping[str, object] = dataclasses.field(default_factory=dict)
    notice: str = RESEARCH_USE_ONLY

    @property
    def headline(self) -> str:
        """The answer in one line."""
        return self.label if self.confidence is None else f"{self.label}, probability {self.confidence:.2f}"

    def to_json(self) -> dict:
        """Plain dictionaries, lists, strings and numbers, for ``json.dumps``."""
        return {**dataclasses.asdict(self), "headline": self.headline}


@dataclass(frozen=True)
class StudyView:
    """The scans of a study as a model takes them, to be changed and asked again."""

    encoder: EncoderContract
    images: Sequence[sitk.Image]  # standardised, one a slot
    unit: str | None  # of the number; None: a probability
    numbers: Callable[[Sequence["torch.Tensor"], str], list[float]]
    """(inputs (B, 1, X, Y, Z), one a slot; label) -> B times the probability of the label, or the value."""


@dataclass(frozen=True)
class NetworkSaliency:
    """``heat``, ``inputs``: (X, Y, Z) on the network's grid; ``heat`` is 0 where nothing of the patient is."""

    heat: np.ndarray
    inputs: np.ndarray
    share_outside: float
    parameters: Mapping[str, object]


@dataclass(frozen=True)
class Explanation:
    """Where the model looked: a map on the native grid of the scan, scaled to a maximum of 1, and how it was made."""

    map: sitk.Image
    parameters: Mapping[str, object]


class Predictor:
    """Predictions for one study at a time.

    Parameters
    ----------
    device : ``"auto"`` (CUDA, then Apple's MPS, then CPU), or a torch device name.
    models : folder or folders of installed models; the bundled and the user's by default.
    """

    def __init__(self, device: str = "auto", models: Path | Sequence[Path] | None = None):
        self.device = choose_device(device)
        self.models_folder = models
        self._nets: dict[tuple[str, str, str], torch.nn.Module] = {}
        self._encoders: dict[tuple[str, str], torch.nn.Module] = {}  # by sha256 and kind of embedding
        self._scans: dict[str, Scan] = {}
        self._standardised: dict[str, Standardised] = {}
        self._embeddings: dict[tuple[str, str], torch.Tensor] = {}
        self._options = PreprocessingOptions()
        self._mask: sitk.Image | None = None
        self._novelties: dict[str, Novelty] = {}

    @property
    def scans(self) -> Mapping[str, Scan]:
        """The scans of the study, by name."""
        return self._scans

    @property
    def standardised(self) -> Mapping[str, Standardised]:
        """The scans of the study as they were prepared, by name."""
        return self._standardised

    @property
    def options(self) -> PreprocessingOptions:
        """How the study was prepared."""
        return self._options

    @property
    def mask(self) -> sitk.Image | None:
        """The brain that was given with the study."""
        return self._mask

    def set_study(
        self,
        scans: Mapping[str, Scan],
        options: PreprocessingOptions | None = None,
        job: Job = UNATTENDED,
        *,
        mask: sitk.Image | None = None,
    ) -> Mapping[str, Standardised]:
        """Standardise every scan of the study (name -> scan); forgets the study before.

        A scan of the study before, under the same name, with the same image and options, is not prepared again.

        Parameters
        ----------
        job : told the step and the fraction of the whole study that is done.
        mask : the brain of every scan of the study; it is taken instead of extracting the brain.

        Raises
        ------
        PreprocessingError, Cancelled : from the pipeline; the scans that were ready by then make up the study.
        """
        options = options or PreprocessingOptions()
        comparable = options == self._options and _same_mask(mask, self._mask)
        before = {name: scan.identity for name, scan in self._scans.items()} if comparable else {}
        kept = {name for name, scan in scans.items() if before.get(name) == scan.identity}
        self._scans = {name: scans[name] for name in kept}
        self._standardised = {name: self._standardised[name] for name in kept}
        self._embeddings = {key: embedding for key, embedding in self._embeddings.items() if key[0] in kept}
        self._options, self._mask = options, mask
        new = [name for name in scans if name not in kept]
        for number, name in enumerate(new):
            part = job.part(number / len(new), (number + 1) / len(new))
            self._standardised[name] = standardise(scans[name].image, options, part, mask=mask, device=self.device)
            self._scans[name] = scans[name]
        return {name: self._standardised[name] for name in scans}

    def set_prepared(
        self, scans: Mapping[str, Scan], standardised: Mapping[str, Standardised], options: PreprocessingOptions
    ) -> None:
        """Set a study whose scans were prepared before with ``options``; forgets the study before."""
        self._scans, self._standardised, self._embeddings = dict(scans), dict(standardised), {}
        self._options, self._mask = options, None

    def predict(
        self,
        task: str,
        scans: str | Mapping[str, str],
        *,
        model_id: str | None = None,
        accept_missing: bool = False,
        age_years: float | None = None,
    ) -> Prediction:
        """The answer of the model for ``task``.

        Parameters
        ----------
        scans : the name of one scan of the study, for a model that takes one; else slot -> name.
        model_id : which model, where several are installed for the task.
        accept_missing : average the scans that are there although the model was made for more (U-03, P-18).
        age_years : of the person, if known, to be compared with the ages that the model was trained on.

        Raises
        ------
        ModelError : no model for the task, its files are damaged, a scan is missing, or the result is implausible.
        KeyError : the study has no scan of that name.
        """
        import torch

        model = find_model(task, self.models_folder, model_id)
        head = model.contract.head
        if head is None:
            raise ModelError(f"The model '{model.contract.id}' has no head: it embeds scans and answers no question.")
        slots = fill_slots(head, scans)
        warnings = [warning for name in slots.values() for warning in self.warnings_of(name)]
        warnings += missing_slots(head, slots, accept_missing)
        if model.contract.run is not None and model.contract.run.preset != self._options.preset:
            warnings.append(
                f"The head was trained with the preset '{model.contract.run.preset}', this scan was prepared with "
                f"'{self._options.preset}': the answer may mean nothing."
            )
        embedding = torch.stack([self._embedding(model, name) for name in slots.values()]).mean(dim=0)  # present scans
        started = time.perf_counter()
        with torch.inference_mode():
            logits = self._net(model).head(embedding)[0].float().cpu()
        if not logits.isfinite().all():
            raise ModelError(f"The model '{model.contract.id}' gives no number for this scan; no result is given.")
        answer = (
            measurement(head, logits)
            if head.link == "identity"
            else classification(head, logits, self._any_coarse(slots))
        )
        warnings += [*answer.pop("warnings"), *(f"Unverified: {text}." for text in model.contract.unverified)]
        trust, doubts = self._trust(model, embedding[0].float().cpu().numpy(), answer)
        warnings += [*doubts, *age_doubt(head, age_years), *self._sequence_doubts(task, slots)]
        return Prediction(
            task=task,
            scans=slots,
            warnings=tuple(dict.fromkeys(warnings)),
            valid_range=head.valid_range,
            trust=trust,
            provenance=self._provenance(model, slots, time.perf_counter() - started),
            **answer,
        )

    def embed(self, scan: str, model_id: str | None = None) -> tuple[list[float], ModelContract]:
        """The embedding of a scan by the bundled encoder or the one of the model with that id, and its contract."""
        model = find_encoder(self.models_folder, model_id)
        return self._embedding(model, scan)[0].float().cpu().tolist(), model.contract

    def explain(
        self,
        task: str,
        scan: str,
        label: str,
        samples: int = 10,
        seed: int = 0,
        job: Job = UNATTENDED,
        *,
        scans: Mapping[str, str] | None = None,
        model_id: str | None = None,
    ) -> Explanation:
        """SmoothGrad of the task's own output on the scan's own grid (U-13, D-11, D-13).

        The map is 0 outside the brain (with extraction off: outside the head), where preprocessing left nothing of the
        patient to look at; the share of the map that lay there is recorded as ``share_outside``.

        Guided backpropagation for networks of ReLUs; plain SmoothGrad, under that name, for others (ViT, section 2.3).

        Parameters
        ----------
        scan : which scan of the study to explain.
        label : the ``label`` of the prediction: its logit is explained, of a measurement the output itself.
        scans : slot -> name as in ``predict``, where the model takes several; the other embeddings stay constant.
        """
        model = find_model(task, self.models_folder, model_id)
        head, encoder = model.contract.head, self._encoder_contract(model)
        slots = scans if scans is not None else scan
        found = self.saliency(task, slots, scan, label, samples, seed, job, model_id=model_id)
        peak = float(found.heat.max())
        if not peak > 0:
            raise BrainIACError(f"The saliency of '{label}' is zero everywhere: the model did not react to this scan.")
        standardised = self._standardised[scan]
        native = to_native(
            image_on_model_grid(found.heat / peak, standardised.image, encoder.orientation), standardised
        )
        top = float(sitk.GetArrayViewFromImage(native).max())  # below 1: the scan's voxels lie between the model's
        target = f"output in {head.unit}" if head.link == "identity" else f"logit of {label}"
        facts = {"target": target, "maximum_before_scaling": peak * top, "share_outside": round(found.share_outside, 4)}
        return Explanation(native / top if top > 0 else native, {**found.parameters, **facts})

    def saliency(
        self,
        task: str,
        scans: str | Mapping[str, str],
        scan: str,
        label: str,
        samples: int = 10,
        seed: int = 0,
        job: Job = UNATTENDED,
        *,
        model_id: str | None = None,
        randomised: bool = False,
    ) -> NetworkSaliency:
        """The map of ``explain`` on the network's own grid. ``randomised``: of a copy with shuffled weights (2.3.8)."""
        import torch

        from BrainIACLib.models.heads import OneOfSeveral
        from BrainIACLib.saliency import guided_smoothgrad, randomised_copy

        model = find_model(task, self.models_folder, model_id)
        head, encoder = model.contract.head, self._encoder_contract(model)
        slots = fill_slots(head, scans)
        net = randomised_copy(self._net(model), seed) if randomised else self._net(model)
        others = [self._embedding(model, name) for name in slots.values() if name != scan]
        if others:
            net = OneOfSeveral(net, torch.stack(others).sum(dim=0), len(others) + 1)
        inputs = model_input(self._standardised[scan].image, encoder)
        saliency = guided_smoothgrad(
            net,
            inputs.to(self.device),
            target=saliency_target(head, label),
            samples=samples,
            seed=seed,
            guided=encoder.architecture != "vit_b",  # whose head may hold a ReLU, but not its encoder
            job=job,
        )
        everywhere, seen = saliency.map.cpu().numpy(), inputs[0, 0].numpy()
        heat = np.where(seen != 0, everywhere, 0)
        outside = 1 - float(heat.sum() / max(everywhere.sum(), np.finfo(np.float32).tiny))
        return NetworkSaliency(heat, seen, outside, saliency.parameters)

    def view(self, task: str, scans: str | Mapping[str, str], model_id: str | None = None) -> StudyView:
        """The study as the model for ``task`` takes it; raises as ``predict``."""
        import torch

        model = find_model(task, self.models_folder, model_id)
        head, net = model.contract.head, self._net(model)
        slots = fill_slots(head, scans)
        coarse = self._any_coarse(slots)

        def numbers(inputs: Sequence[torch.Tensor], label: str) -> list[float]:
            with torch.inference_mode():
                embeddings = torch.stack([net.encoder(tensor.to(self.device)) for tensor in inputs]).mean(dim=0)
                outputs = net.head(embeddings).float().cpu()
            if head.link == "identity":
                return (outputs[:, 0] * (1.0 if head.conversion is None else head.conversion)).tolist()
            return [probabilities_of(head, row, coarse)[label] for row in outputs]

        unit = (head.display_unit or head.unit) if head.link == "identity" else None
        images = [self._standardised[name].image for name in slots.values()]
        return StudyView(self._encoder_contract(model), images, unit, numbers)

    def warnings_of(self, scan: str) -> tuple[str, ...]:
        """What reading and preprocessing said about a scan of the study."""
        return (*self._scans[scan].warnings, *self._standardised[scan].warnings)

    def _any_coarse(self, slots: Mapping[str, str]) -> bool:
        return any(is_coarse(self._scans[name].image) for name in slots.values())

    def _trust(self, model: InstalledModel, embedding: np.ndarray, answer: dict) -> tuple[dict, list[str]]:
        """What the contract allows to say of an answer, and the doubts that follow."""
        head = model.contract.head
        classes = prediction_set(head, answer["label"], answer["probabilities"])
        trust = {"prediction_set": classes, "prediction_interval": prediction_interval(head, answer.get("value"))}
        doubts = set_doubt(classes)
        if head.ood_stats is not None:
            if head.ood_sha256 not in self._novelties:
                self._novelties[head.ood_sha256] = read_novelty(
                    model.folder / head.ood_stats, head.ood_sha256, len(embedding)
                )
            trust["novelty"] = novelty_found(self._novelties[head.ood_sha256], embedding)
            doubts += novelty_doubt(trust["novelty"])
            if model.contract.encoder.embedding == "volumes" and head.link == "identity" and head.head_type == "linear":
                weights = self._net(model).head.fc.weight[0].float().cpu().numpy() * (head.conversion or 1.0)
                usual = self._novelties[head.ood_sha256].mean
                trust["drivers"] = drivers_found(weights, embedding, usual, answer["unit"])
        return {name: found for name, found in trust.items() if found is not None}, doubts

    def _sequence_doubts(self, task: str, slots: Mapping[str, str]) -> list[str]:
        """Whether the bundled sequence model, if there is one, takes each scan for what its slot says."""
        models = [model for model in installed_models(self.models_folder) if model.task == SEQUENCE_TASK]
        model = next((model for model in models if model.bundled), None)
        if model is None or task == SEQUENCE_TASK:
            return []
        doubts = []
        for slot, name in slots.items():
            try:
                answer = self.predict(SEQUENCE_TASK, name, model_id=model.contract.id)
            except ModelError as error:  # the check must not cost the answer
                return [f"The sequence of the scans could not be checked: {error}"]
            doubts += sequence_doubt(slot, answer.label, answer.confidence, model.contract.head.confidence_gate)
        return doubts

    def _encoder_contract(self, model: InstalledModel) -> EncoderContract:
        """Upstream's code takes the array order as stored; our own models always see the order of their contract."""
        contract = model.contract.encoder
        if self._options.preset == "official" and contract.generation != "own":
            return dataclasses.replace(contract, orientation=AS_STORED)
        return contract

    def _embedding(self, model: InstalledModel, scan: str) -> "torch.Tensor":
        import torch

        key = (scan, model.contract.encoder.sha256)
        if key not in self._embeddings:
            tensor = model_input(self._standardised[scan].image, self._encoder_contract(model))
            with torch.inference_mode():
                self._embeddings[key] = self._net(model).encoder(tensor.to(self.device))
        return self._embeddings[key]

    def _net(self, model: InstalledModel) -> "torch.nn.Module":
        """Loaded once; models whose encoders are the same file share one net of it."""
        contract, head = model.contract.encoder, model.contract.head
        key = (contract.sha256, contract.embedding, head.sha256 if head else "")  # two models may claim one id
        if key not in self._nets:
            same = (contract.sha256, contract.embedding)
            net = load_model(model, self.models_folder, self._encoders.get(same)).to(self.device)
            self._encoders[same], self._nets[key] = net.encoder, net
        return self._nets[key]

    def _provenance(self, model: InstalledModel, slots: Mapping[str, str], seconds: float) -> dict:
        steps = [
            {"scan": name, **dataclasses.asdict(step)}
            for name in slots.values()
            for step in self._standardised[name].record
        ]
        encoder = self._encoder_contract(model)
        return {
            "model": _model_identity(model.contract),
            "inputs": {
                slot: {
                    "format": self._scans[name].format,
                    "sha256": self._scans[name].sha256,
                    "model_voxel_mm": _model_voxel(self._standardised[name].image, encoder),
                }
                for slot, name in slots.items()
            },
            "versions": versions(),
            "device": self.device,
            "seed": self._options.seed,
            "preset": self._options.preset,
            "orientation": encoder.orientation,
            "preprocessing": steps,
            "head_seconds": seconds,
        }


def _same_mask(first: sitk.Image | None, second: sitk.Image | None) -> bool:
    if first is None or second is None or first is second:
        return first is second
    return image_identity(first) == image_identity(second)


def _model_voxel(image: sitk.Image, contract: EncoderContract) -> list[float]:
    """The size in mm of the voxels that the network sees (U-11)."""
    return image_on_model_grid(np.zeros(contract.input_size), image, contract.orientation).GetSpacing()


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
