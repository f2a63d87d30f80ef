"""What the worker does for each action of the protocol: one study at a time, kept warm between requests."""

from __future__ import annotations

import dataclasses
import gc
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import SimpleITK as sitk

from BrainIACLib.checkpoints.conversion import inspect_checkpoint
from BrainIACLib.checkpoints.download import download, find_file, forget_download
from BrainIACLib.checkpoints.importing import import_checkpoint
from BrainIACLib.checkpoints.installed import installed_models
from BrainIACLib.checkpoints.official_files import OFFICIAL_FILES, official_file, task_by_name
from BrainIACLib.checkpoints.store import user_folders
from BrainIACLib.contracts import read_contract
from BrainIACLib.errors import BrainIACError, ModelError
from BrainIACLib.predictor import Predictor, versions
from BrainIACLib.preprocessing.pipeline import PreprocessingOptions, Standardised
from BrainIACLib.scans import Scan, list_series, read_scan, write_image, write_transform
from BrainIACLib.worker.device import is_out_of_memory, pick_device
from BrainIACLib.worker.head_requests import HeadRequests
from BrainIACLib.worker.scan_files import content_sha256, on_grid, read_handed_over


@dataclass(frozen=True)
class Study:
    """What was asked to be set. Equal when files of the same content are to be treated the same, wherever they lie."""

    scans: dict[str, str] = field(compare=False)  # name -> path
    originals: dict[str, str] = field(compare=False)  # name -> path of the file that the scan was loaded from
    mask: str | None = field(compare=False)
    series: str | None
    frame: int | None
    hashes: dict[str, str]
    mask_hash: str
    device: str
    bias_field: bool
    brain_extraction: str
    seed: int
    preset: str


class Service:
    """Answers requests; not thread-safe, the worker asks one thing at a time.

    Parameters
    ----------
    folder : where maps and images for the client are written.
    models : folders of installed models; the bundled and the imported ones if None.
    """

    def __init__(self, folder: Path, models: Sequence[Path] | None = None):
        self._folder = folder
        self._models = models
        self._predictor: Predictor | None = None
        self._study: Study | None = None
        self._device_asked_for: str | None = None
        self._scans: dict[str, Scan] = {}
        self._standardised: dict[str, Standardised] = {}
        self._grids: dict[str, sitk.Image] = {}  # the scans as the client knows them
        self._note = ""  # why the device is what it is
        self._files = itertools.count(1)
        self._actions = {
            "status": self._status,
            "series": self._series,
            "load": self._load,
            "study": self._set_study,
            "predict": self._predict,
            "explain": self._explain,
            "examine": self._examine,
            "save": self._save,
            "steps": self._steps,
            "inspect": self._inspect,
            "import": self._import,
            "download": self._download,
            "forget": self._forget,
            **HeadRequests(models, self._on_device).actions,
        }

    def answer(self, action: str, arguments: dict, progress: Callable, cancelled: Callable[[], bool]) -> dict:
        """The value for one request (see ``protocol``).

        Raises
        ------
        BrainIACError : unknown action, wrong arguments, or a failure that a person can act on.
        """
        act = self._actions.get(action)
        if act is None:
            raise BrainIACError(f"Unknown action '{action}'; known: {', '.join(self._actions)}.")
        return act(progress, cancelled, **arguments)

    def _status(self, progress, cancelled, device: str = "auto") -> dict:
        found = pick_device(device)
        models = [dataclasses.asdict(model.contract) for model in installed_models(self._models)]
        return {"device": found.name, "reason": found.reason, "versions": versions(), "models": models}

    def _series(self, progress, cancelled, folder: str) -> dict:
        found = list_series(folder)
        return {
            "series": [
                {"uid": one.uid, "volume": one.size is not None, "text": str(one).removeprefix(f"{one.uid}: ")}
                for one in found
            ]
        }

    def _load(self, progress, cancelled, folder: str, series: str) -> dict:
        scan = read_scan(folder, series_uid=series)
        path = self._new_file("scan.mha")
        write_image(scan.image, path)
        return {"scan": str(path), "name": scan.name, "warnings": list(scan.warnings)}

    def _set_study(
        self,
        progress,
        cancelled,
        scans: dict[str, str],
        device: str = "auto",
        bias_field: bool = True,
        brain_extraction: str = "auto",
        mask: str | None = None,
        seed: int = 0,
        originals: dict[str, str] | None = None,
        series: str | None = None,
        frame: int | None = None,
        preset: str = "standard",
    ) -> dict:
        study = Study(
            scans=scans,
            originals=originals or {},
            mask=mask,
            series=series,
            frame=frame,
            hashes={name: content_sha256(Path(path)) for name, path in scans.items()},
            mask_hash=content_sha256(Path(mask)) if mask else "",
            device=device,
            bias_field=bias_field,
            brain_extraction=brain_extraction,
            seed=seed,
            preset=preset,
        )
        reused = study == self._study
        if not reused:
            if self._predictor is None or self._device_asked_for != device:
                self._forget(progress, cancelled)
                found = pick_device(device)
                self._note, self._device_asked_for, first = found.reason, device, found.name
            else:  # its models, and the scans that did not change, are of use again
                first = self._predictor.device
            self._on_device(first, lambda name: self._standardise(study, name, progress, cancelled))
        return {
            "reused": reused,
            "scans": {
                name: {"warnings": list(done.warnings), "record": [dataclasses.asdict(step) for step in done.record]}
                for name, done in self._standardised.items()
            },
        }

    def _predict(
        self, progress, cancelled, task: str, scans: dict, model: str | None = None, accept_missing: bool = False
    ) -> dict:
        def predict(predictor: Predictor):
            return predictor.predict(task, scans, model_id=model, accept_missing=accept_missing)

        return {**self._with_study(predict, progress, cancelled).to_json(), "note": self._note}

    def _explain(
        self,
        progress,
        cancelled,
        task: str,
        scans: dict,
        scan: str,
        label: str,
        model: str | None = None,
        samples: int = 10,
        seed: int = 0,
    ) -> dict:
        def report(fraction: float) -> None:
            progress("saliency", fraction)

        def explain(predictor: Predictor):
            return predictor.explain(task, scan, label, samples, seed, report, cancelled, scans=scans, model_id=model)

        explanation = self._with_study(explain, progress, cancelled)
        path = self._new_file("saliency.mha")
        write_image(on_grid(explanation.map, self._grids[scan]), path)
        return {"map": str(path), "parameters": dict(explanation.parameters), "note": self._note}

    def _examine(
        self,
        progress,
        cancelled,
        task: str,
        scans: dict,
        scan: str,
        label: str,
        model: str | None = None,
        seed: int = 0,
    ) -> dict:
        from BrainIACLib.examination import examine, sanity_check

        def first_part(step: str, fraction: float) -> None:
            progress(step, 0.8 * fraction)

        def both(predictor: Predictor) -> dict:
            found = examine(predictor, task, scans, label, model_id=model, progress=first_part, cancelled=cancelled)
            progress("sanity check of the map", 0.8)
            return found | {
                "sanity_check": sanity_check(predictor, task, scans, scan, label, model_id=model, seed=seed)
            }

        return {"trust": self._with_study(both, progress, cancelled)}

    def _save(
        self,
        progress,
        cancelled,
        folder: str,
        task: str,
        scans: dict,
        scan: str,
        model: str | None = None,
        accept_missing: bool = False,
        samples: int = 10,
        seed: int = 0,
        age_years: float | None = None,
        trust: bool = False,
        sanity: bool = False,
    ) -> dict:
        from BrainIACLib.examination import examine, sanity_check
        from BrainIACLib.reports.result_files import write_results

        mapped_from, mapped_to = (0.5 if trust else 0.0), 0.95  # of the whole, so that the fraction never falls

        def report_examined(step: str, fraction: float) -> None:
            progress(step, mapped_from * fraction)

        def report_map(fraction: float) -> None:
            progress("saliency", mapped_from + (mapped_to - mapped_from) * fraction)

        def answer_and_map(predictor: Predictor):
            prediction = predictor.predict(
                task, scans, model_id=model, accept_missing=accept_missing, age_years=age_years
            )
            label, found = prediction.label, dict(prediction.trust)
            if trust:
                found |= examine(
                    predictor, task, scans, label, model_id=model, progress=report_examined, cancelled=cancelled
                )
            if sanity:
                found["sanity_check"] = sanity_check(predictor, task, scans, scan, label, model_id=model, seed=seed)
            return dataclasses.replace(prediction, trust=found), predictor.explain(
                task, scan, label, samples, seed, report_map, cancelled, scans=scans, model_id=model
            )

        prediction, explanation = self._with_study(answer_and_map, progress, cancelled)
        progress("writing", mapped_to)
        result = write_results(self._scans[scan], self._standardised[scan], prediction, explanation, Path(folder))
        return {"result": str(result), "prediction": prediction.to_json(), "note": self._note}

    def _steps(self, progress, cancelled, scan: str) -> dict:
        done = self._with_study(lambda predictor: self._standardised[scan], progress, cancelled)
        images = {"image": done.image, "mask": done.mask, "native_mask": on_grid(done.native_mask, self._grids[scan])}
        paths = {name: self._new_file(f"{name}.mha") for name in images}
        for name, image in images.items():
            write_image(image, paths[name])
        paths["transform"] = self._new_file("native_to_template.tfm")
        write_transform(done.transform, paths["transform"])
        return {name: str(path) for name, path in paths.items()}

    def _inspect(self, progress, cancelled, file: str) -> dict:
        path = Path(file)
        found = inspect_checkpoint(path)
        return {
            "title": found.title,
            "licences": {task: _licence(path, found.generation, task) for task in found.tasks},
            "suggestion": task_by_name(path.name, found.tasks),
        }

    def _import(self, progress, cancelled, file: str, task: str) -> dict:
        imported = import_checkpoint(Path(file), task, user_folders()[0])
        return {"id": imported.model.contract.id, "new": imported.new}

    def _download(self, progress, cancelled, id: str) -> dict:
        official = next((file for file in OFFICIAL_FILES if file.id == id and file.hub), None)
        if official is None:
            raise ModelError(f"'{id}' cannot be downloaded from here.")
        progress("asking the host", 0.0)
        remote, store = find_file(official.hub, official.names), user_folders()[0]
        progress(f"downloading {remote.size / 1e6:.0f} MB from {remote.host}", 0.0)
        path = download(remote, store)
        try:
            imported = import_checkpoint(path, official.task, store)
        finally:
            forget_download(remote, store)
        return {"id": imported.model.contract.id, "new": imported.new}

    def _forget(self, progress, cancelled) -> dict:
        self._predictor, self._study, self._note, self._device_asked_for = None, None, "", None
        self._scans, self._standardised, self._grids = {}, {}, {}
        gc.collect()
        return {}

    def _standardise(self, study: Study, device: str, progress, cancelled) -> None:
        self._study = None  # until the new one is ready
        if self._predictor is None or self._predictor.device != device:
            self._predictor = Predictor(device, self._models)
        options = PreprocessingOptions(
            bias_field=study.bias_field,
            brain_extraction=study.brain_extraction,
            mask=read_scan(study.mask).image if study.mask else None,
            seed=study.seed,
            device=device,
        )
        read = {
            name: read_handed_over(path, study.originals.get(name), study.series, study.frame)
            for name, path in study.scans.items()
        }
        scans = {name: scan for name, (scan, _) in read.items()}
        standardised = self._predictor.set_study(scans, options, progress, cancelled, study.preset)
        self._scans, self._standardised, self._study = scans, dict(standardised), study
        self._grids = {name: grid for name, (_, grid) in read.items()}

    def _with_study(self, act: Callable[[Predictor], object], progress, cancelled):
        if self._study is None:
            raise BrainIACError("No study is set; classify or predict again.")

        study = self._study

        def on(device: str):
            if device != self._predictor.device:
                self._standardise(study, device, progress, cancelled)
            return act(self._predictor)

        return self._on_device(self._predictor.device, on)

    def _on_device(self, device: str, act: Callable[[str], object]):
        """``act`` on the device, or on the CPU with a note if the device has too little memory."""
        try:
            return act(device)
        except Exception as error:
            if device == "cpu" or not is_out_of_memory(error):
                raise
        gc.collect()
        self._note = f"the memory of the device '{device}' was too small, computed on the CPU instead"
        return act("cpu")

    def _new_file(self, name: str) -> Path:
        return self._folder / f"{next(self._files)}_{name}"


def _licence(path: Path, generation: str, task: str) -> str:
    if generation == "own":
        return read_contract(path.parent).licence
    return official_file(generation, task).licence
