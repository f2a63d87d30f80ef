"""One study: prepare its scans, answer about them, explain and examine the answer, save everything as files."""

from __future__ import annotations

import dataclasses
from typing import Any

from BrainIACLib.job import Job
from BrainIACLib.predictions import Explanation, Prediction
from BrainIACLib.predictor import Predictor
from BrainIACLib.scans import write_image, write_transform
from BrainIACLib.trust.findings import Trust
from BrainIACLib.worker.answering import answer
from BrainIACLib.worker.requests import Examine, Explain, Predict, PrepareStudy, Save, Steps
from BrainIACLib.worker.scan_files import on_grid
from BrainIACLib.worker.session import Session


@answer.register
def prepare(request: PrepareStudy, session: Session, job: Job) -> dict[str, Any]:
    """Warnings and record of each scan."""
    standardised, reused = session.prepare(request, job)
    return {
        "reused": reused,
        "scans": {
            name: {"warnings": list(done.warnings), "record": [dataclasses.asdict(step) for step in done.record]}
            for name, done in standardised.items()
        },
    }


@answer.register
def predict(request: Predict, session: Session, job: Job) -> dict[str, Any]:
    """The answer of one model."""
    scan = next(iter(request.scans.values()), "")
    prediction = session.with_study(lambda predictor: _prediction(predictor, request, scan, job), job)
    return {**prediction.to_json(), "note": session.note}


@answer.register
def explain(request: Explain, session: Session, job: Job) -> dict[str, Any]:
    """The saliency map on the grid of the scan that the client handed over."""
    explanation = session.with_study(lambda predictor: _explanation(predictor, request, request.label, job), job)
    path = session.new_file("saliency.mha")
    write_image(on_grid(explanation.map, session.grid(request.scan)), path)
    return {"map": str(path), "parameters": dict(explanation.parameters), "note": session.note}


@answer.register
def examine(request: Examine, session: Session, job: Job) -> dict[str, Any]:
    """Spread, stability and the sanity check of the map."""
    from BrainIACLib.examination import examine, sanity_check

    def both(predictor: Predictor) -> Trust:
        spread, stability = examine(
            predictor, request.task, request.scans, request.label, model_id=request.model, job=job.part(0.0, 0.8)
        )
        job.report("sanity check of the map", 0.8)
        checked = sanity_check(predictor, **_of_map(request, request.label))
        return Trust(spread=spread, stability=stability, sanity_check=checked)

    return {"trust": session.with_study(both, job).to_json()}


@answer.register
def save(request: Save, session: Session, job: Job) -> dict[str, Any]:
    """The answer with everything that it came with, as files."""
    from BrainIACLib.reports.result_files import write_results

    mapped_from, mapped_to = (0.5 if request.trust else 0.0), 0.95  # of the whole, so that the fraction never falls

    def answer_and_map(predictor: Predictor) -> tuple[Predictor, Prediction, Explanation]:
        prediction = _prediction(predictor, request, request.scan, job.part(0.0, mapped_from))
        return (
            predictor,
            prediction,
            _explanation(predictor, request, prediction.label, job.part(mapped_from, mapped_to)),
        )

    predictor, prediction, explanation = session.with_study(answer_and_map, job)
    job.report("writing", mapped_to)
    scan, standardised = predictor.study.scans[request.scan], predictor.study.standardised[request.scan]
    result = write_results(scan, standardised, prediction, explanation, request.folder)
    return {"result": str(result), "prediction": prediction.to_json(), "note": session.note}


@answer.register
def steps(request: Steps, session: Session, job: Job) -> dict[str, Any]:
    """What the model saw of a scan, as files."""
    done = session.with_study(lambda predictor: predictor.study.standardised[request.scan], job)
    native_mask = on_grid(done.native_mask, session.grid(request.scan))
    paths = {}
    for name, image in {"image": done.image, "mask": done.mask, "native_mask": native_mask}.items():
        paths[name] = session.new_file(f"{name}.mha")
        write_image(image, paths[name])
    paths["transform"] = session.new_file("native_to_template.tfm")
    write_transform(done.transform, paths["transform"])
    return {name: str(path) for name, path in paths.items()}


def _prediction(predictor: Predictor, request: Predict | Save, scan: str, job: Job) -> Prediction:
    """The answer, with the doubts that were asked for."""
    from BrainIACLib.examination import examine, sanity_check

    prediction = predictor.predict(
        request.task,
        request.scans,
        model_id=request.model,
        accept_missing=request.accept_missing,
        age_years=request.age_years,
    )
    found = prediction.trust
    if request.trust:
        spread, stability = examine(
            predictor, request.task, request.scans, prediction.label, model_id=request.model, job=job
        )
        found = dataclasses.replace(found, spread=spread, stability=stability)
    if request.sanity:
        checked = sanity_check(
            predictor,
            request.task,
            request.scans,
            scan,
            prediction.label,
            model_id=request.model,
            seed=request.seed,
        )
        found = dataclasses.replace(found, sanity_check=checked)
    return dataclasses.replace(prediction, trust=found)


def _explanation(predictor: Predictor, request: Explain | Save, label: str, job: Job) -> Explanation:
    return predictor.explain(**_of_map(request, label), samples=request.samples, job=job)


def _of_map(request: Explain | Examine | Save, label: str) -> dict[str, Any]:
    return {
        "task": request.task,
        "scans": request.scans,
        "scan": request.scan,
        "label": label,
        "model_id": request.model,
        "seed": request.seed,
    }
