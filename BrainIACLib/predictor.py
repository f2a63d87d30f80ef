"""Set a study once, predict many times: each scan is standardized once and embedded once per encoder.

The flow of segment-anything's predictor. Every number leaves here with its meaning: label or unit, confidence,
warnings, valid range, and the provenance that reproduces it.
"""

from __future__ import annotations

import dataclasses
import time
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from BrainIACLib.answers import (
    SEQUENCE_TASK,
    classification,
    fill_slots,
    measurement,
    missing_slots,
    probabilities_of,
    saliency_target,
)
from BrainIACLib.checkpoints.installed import find_encoder, find_model, installed_models
from BrainIACLib.contracts import ModelContract
from BrainIACLib.device import choose_device
from BrainIACLib.encoded_scans import EncodedScans
from BrainIACLib.errors import BrainIACError, ModelError
from BrainIACLib.job import UNATTENDED, Job
from BrainIACLib.loaded_models import LoadedModels
from BrainIACLib.predictions import Explanation, NetworkSaliency, Prediction, StudyView
from BrainIACLib.prepared_study import PreparedStudy
from BrainIACLib.preprocessing.intensity import image_on_model_grid, model_input
from BrainIACLib.preprocessing.options import PreprocessingOptions
from BrainIACLib.preprocessing.pipeline import to_native
from BrainIACLib.preprocessing.standardised import Standardised
from BrainIACLib.provenance import provenance
from BrainIACLib.scans import Scan
from BrainIACLib.trust.assessment import age_doubt, sequence_doubt, standing_doubt
from BrainIACLib.trust.findings import Doubt, Severity
from BrainIACLib.trusting import trust_in

if typing.TYPE_CHECKING:
    import torch

    from BrainIACLib.volumes.measurement import Measurement, VolumeMeter


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
        self.study = PreparedStudy()
        self._models = LoadedModels(self.device, models)
        self._encoded = self._nothing_encoded()
        self._meter: VolumeMeter | None = None

    def set_study(
        self,
        scans: Mapping[str, Scan],
        options: PreprocessingOptions | None = None,
        job: Job = UNATTENDED,
        *,
        mask: sitk.Image | None = None,
        near: sitk.Euler3DTransform | None = None,
    ) -> Mapping[str, Standardised]:
        """Standardize every scan of the study (name -> scan); forgets the study before.

        A scan of the study before, under the same name, with the same image and options, is not prepared again.

        Parameters
        ----------
        job : told the step and the fraction of the whole study that is done.
        mask : the brain of every scan of the study; it is taken instead of extracting the brain.
        near : the transform of a scan in the frame of reference of those that are new (``standardise``).

        Raises
        ------
        PreprocessingError, Cancelled : from the pipeline; the scans that were ready by then make up the study.
        """
        known, self._encoded = self._encoded, self._nothing_encoded()
        kept = self.study.set(scans, options or PreprocessingOptions(), job, mask=mask, device=self.device, near=near)
        self._encoded = known.only(kept)
        return {name: self.study.standardised[name] for name in scans}

    def set_prepared(
        self, scans: Mapping[str, Scan], standardised: Mapping[str, Standardised], options: PreprocessingOptions
    ) -> None:
        """Set a study whose scans were prepared before with ``options``; forgets the study before."""
        self.study.set_prepared(scans, standardised, options)
        self._encoded = self._nothing_encoded()

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
        head = model.head
        slots = fill_slots(head, scans)
        doubts = [Doubt(warning) for name in slots.values() for warning in self.study.warnings_of(name)]
        doubts += [Doubt(text) for text in missing_slots(head, slots, accept_missing)]
        if model.contract.run is not None and model.contract.run.preset != self.study.options.preset:
            text = (
                f"The head was trained with the preset '{model.contract.run.preset}', this scan was prepared with "
                f"'{self.study.options.preset}': the answer may mean nothing."
            )
            doubts.append(Doubt(text, Severity.grave))
        present = [self._encoded.embedding(model, name) for name in slots.values()]
        embedding = torch.stack(present).mean(dim=0)
        started = time.perf_counter()
        with torch.inference_mode():
            logits = self._models.net(model).head(embedding)[0].float().cpu()
        if not logits.isfinite().all():
            raise ModelError(f"The model '{model.contract.id}' gives no number for this scan; no result is given.")
        answer = (
            measurement(head, logits)
            if head.link == "identity"
            else classification(head, logits, self.study.in_plane_mm(slots.values()))
        )
        doubts += [*answer.doubts, *(Doubt(f"Unverified: {text}.") for text in model.contract.unverified)]
        trust, found = trust_in(answer, embedding[0].float().cpu().numpy(), model, self._models)
        doubts += [*found, *age_doubt(head, age_years), *self._sequence_doubts(task, slots)]
        standing = standing_doubt(head)
        doubts += standing  # last: what this scan gives reason to doubt comes first
        grave = dict.fromkeys(doubt.text for doubt in doubts if doubt.severity is Severity.grave)
        return Prediction(
            task=task,
            scans=slots,
            label=answer.label,
            confidence=answer.confidence,
            probabilities=answer.probabilities,
            warnings=tuple(dict.fromkeys(doubt.text for doubt in doubts)),
            valid_range=head.valid_range,
            provenance=provenance(model.contract, self.study, slots, self.device, time.perf_counter() - started),
            value=answer.value,
            unit=answer.unit,
            trust=dataclasses.replace(trust, grave=tuple(grave), standing=tuple(doubt.text for doubt in standing)),
        )

    def volumes(self, scan: str, age_years: float | None = None) -> Measurement:
        """Volumes of brain structures and their label map (``VolumeMeter.measure``).

        The pass of the network is the one that a head on its embedding needs too: it is made once for both.

        Raises
        ------
        ModelError : the network is missing or damaged.
        PreprocessingError : it finds no brain.
        """
        from BrainIACLib.volumes.measurement import MODEL, VolumeMeter

        model = find_encoder(self.models_folder, MODEL)
        if self._meter is None:
            self._meter = VolumeMeter(self.device, self.models_folder, self._models.net(model).encoder)
        return self._meter.measure(self.study.standardised[scan], age_years, self._encoded.shares(model, scan)[0].cpu())

    def embed(self, scan: str, model_id: str | None = None) -> tuple[list[float], ModelContract]:
        """The embedding of a scan by the bundled encoder or the one of the model with that id, and its contract."""
        model = find_encoder(self.models_folder, model_id)
        return self._encoded.embedding(model, scan)[0].float().cpu().tolist(), model.contract

    def encoder_input(self, scan: str, model_id: str | None = None) -> "torch.Tensor":
        """(1, 1, X, Y, Z) float32 in main memory: what the encoder of ``embed`` sees of a scan of the study."""
        encoder = find_encoder(self.models_folder, model_id).contract.encoder
        return model_input(self.study.standardised[scan].image, self.study.as_seen_by(encoder))

    def embed_inputs(self, inputs: Sequence["torch.Tensor"], model_id: str | None = None) -> np.ndarray:
        """(scans, embedding_size) float32, of ``encoder_input`` of scans of any study, together on the device."""
        import torch

        net = self._models.net(find_encoder(self.models_folder, model_id))
        with torch.inference_mode():
            return net.encoder(torch.cat(list(inputs)).to(self.device)).float().cpu().numpy()

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
        head, encoder = model.head, self.study.as_seen_by(model.contract.encoder)
        slots = scans if scans is not None else scan
        found = self.saliency(task, slots, scan, label, samples, seed, job, model_id=model_id)
        peak = float(found.heat.max())
        if not peak > 0:
            raise BrainIACError(f"The saliency of '{label}' is zero everywhere: the model did not react to this scan.")
        standardised = self.study.standardised[scan]
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
        head, encoder = model.head, self.study.as_seen_by(model.contract.encoder)
        slots = fill_slots(head, scans)
        whole = randomised_copy(self._models.net(model), seed) if randomised else self._models.net(model)
        net: torch.nn.Module = whole
        others = [self._encoded.embedding(model, name) for name in slots.values() if name != scan]
        if others:
            net = OneOfSeveral(whole, torch.stack(others).sum(dim=0), len(others) + 1)
        inputs = model_input(self.study.standardised[scan].image, encoder)
        saliency = guided_smoothgrad(
            net,
            inputs.to(self.device),
            target=saliency_target(head, label),
            samples=samples,
            seed=seed,
            guided=encoder.guidable,
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
        head, net = model.head, self._models.net(model)
        slots = fill_slots(head, scans)
        voxel_mm = self.study.in_plane_mm(slots.values())

        def numbers(inputs: Sequence[torch.Tensor], label: str) -> list[float]:
            with torch.inference_mode():
                embeddings = torch.stack([net.encoder(tensor.to(self.device)) for tensor in inputs]).mean(dim=0)
                outputs = net.head(embeddings).float().cpu()
            if head.link == "identity":
                return (outputs[:, 0] * (1.0 if head.conversion is None else head.conversion)).tolist()
            return [probabilities_of(head, row, voxel_mm)[label] for row in outputs]

        unit = (head.display_unit or head.unit) if head.link == "identity" else None
        images = [self.study.standardised[name].image for name in slots.values()]
        return StudyView(self.study.as_seen_by(model.contract.encoder), images, unit, numbers)

    def _nothing_encoded(self) -> EncodedScans:
        return EncodedScans(self.study, self._models, self.device)

    def _sequence_doubts(self, task: str, slots: Mapping[str, str]) -> list[Doubt]:
        """Whether the bundled sequence model, if there is one, takes each scan for what its slot says."""
        models = [model for model in installed_models(self.models_folder) if model.task == SEQUENCE_TASK]
        model = next((model for model in models if model.bundled), None)
        if model is None or task == SEQUENCE_TASK:
            return []
        doubts: list[Doubt] = []
        for slot, name in slots.items():
            try:
                answer = self.predict(SEQUENCE_TASK, name, model_id=model.contract.id)
            except ModelError as error:  # the check must not cost the answer
                return [Doubt(f"The sequence of the scans could not be checked: {error}")]
            doubts += sequence_doubt(slot, answer.label, answer.confidence or 0.0, model.head.confidence_gate)
        return doubts
