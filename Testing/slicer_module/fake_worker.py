"""A worker that answers at once, without computing: what it was asked stands in ``asked``."""

from __future__ import annotations

import collections

import SimpleITK as sitk
from test_results import prediction

from BrainIACLib.errors import BrainIACError, PreprocessingError
from BrainIACLib.worker.requests import CompareImages, Explain, MeasureVolumes, Predict, PrepareStudy, Request, Steps

VOLUMES = {
    "intracranial_ml": 1500.0,
    "volumes": [
        {"structure": "thalamus", "title": "thalamus", "ml": 14.2, "left_ml": 7.0, "right_ml": 7.2,
         "share_of_intracranial": 0.00947},
        {"structure": "hippocampus", "title": "hippocampus", "ml": 7.6, "left_ml": 3.7, "right_ml": 3.9,
         "share_of_intracranial": 0.00507},
        {"structure": "third_ventricle", "title": "third ventricle", "ml": 1.0, "left_ml": None, "right_ml": None,
         "share_of_intracranial": 0.00067},
    ],
    "loose": ["hippocampus"],
    "warnings": ["The scan in the place of T1 looks like T2."],
}  # fmt: skip
STEPS = [{"name": "registration", "seconds": 1.0, "quality": {}, "warnings": []}]


class FakeWorker:
    """In the place of ``WorkerProcess``.

    Parameters
    ----------
    folder : the private folder.
    bad : names of nodes' files, or parts of them, that cannot be prepared; filled by the test.
    labels : task -> the fields of its answer.
    """

    def __init__(self, folder):
        self.folder, self.running, self.busy, self.cancels = folder, True, False, 0
        self.log = collections.deque()
        self.asked, self.stops = [], 0
        self.bad = {}  # hash of a scan -> why it cannot be prepared
        self.answers = {}  # task -> changed fields of the prediction
        self.failing = {}  # task -> why it has no answer
        self.maps = iter(range(1000))
        self.same = True  # what a volume shows, and its files

    def start(self):
        """It runs."""

    def stop(self):
        """It runs on, and that it was to end is counted."""
        self.stops += 1

    def cancel(self, byForce=True):
        """As a worker whose answer was under way already: the answer still comes."""
        self.cancels += 1

    def request(self, request, done, failed, progress):
        """Answer at once, after the request went over the wire and back."""
        request = Request.from_json(**request.to_json())
        self.asked.append(request)
        progress("brain extraction", 0.5)
        try:
            value = self.answer(request)
        except BrainIACError as error:
            failed(error)
        else:
            done(value)

    def answer(self, request):
        """The value of a request."""
        if isinstance(request, PrepareStudy):
            for name, path in request.scans.items():
                if name in self.bad:
                    raise PreprocessingError(f"'{path}': {self.bad[name]}")
            return {"reused": False, "scans": {name: {"warnings": [], "record": STEPS} for name in request.scans}}
        if isinstance(request, Predict):
            if request.task in self.failing:
                raise BrainIACError(self.failing[request.task])
            answer = prediction(task=request.task, scans=dict(request.scans), **self.answers.get(request.task, {}))
            studies = [one for one in self.asked if isinstance(one, PrepareStudy)]
            steps = [{"name": "preparation", "options": str(study.options), "scan": ""} for study in studies[-1:]]
            how = {"preprocessing": steps, "head_seconds": 0.01 * len(self.asked)}
            return {**answer, "provenance": {**answer["provenance"], **how}}
        if isinstance(request, Steps):
            paths = {name: str(self.folder / f"{name}.mha") for name in ("image", "mask", "native_mask")}
            for path in paths.values():
                sitk.WriteImage(self.scan(request), path)
            sitk.WriteTransform(sitk.Euler3DTransform(), str(self.folder / "to.tfm"))
            return {**paths, "transform": str(self.folder / "to.tfm")}
        if isinstance(request, CompareImages):
            return {"same": self.same}
        if isinstance(request, MeasureVolumes):
            path = self.folder / f"labels_{next(self.maps)}.mha"
            sitk.WriteImage(sitk.Cast(self.scan(request) > 50, sitk.sitkUInt8) * 17, str(path))
            return {**VOLUMES, "labels": str(path)}
        if isinstance(request, Explain):
            image = sitk.Cast(self.scan(request), sitk.sitkFloat32)
            path = self.folder / f"map_{next(self.maps)}.mha"
            sitk.WriteImage(sitk.RescaleIntensity(image, 0, 1), str(path))
            return {"map": str(path), "parameters": {"samples": request.samples}, "note": ""}
        return {}

    def scan(self, request):
        """The image that was handed over under the name in a request."""
        found = next(path for one in reversed(self.asked) if isinstance(one, PrepareStudy)
                     for name, path in one.scans.items() if name == request.scan)  # fmt: skip
        return sitk.ReadImage(str(found))

    def kinds(self):
        """The names of the requests so far."""
        return [type(request).__name__ for request in self.asked]
