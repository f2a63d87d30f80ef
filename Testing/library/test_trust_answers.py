"""What the predictor says beyond the answer: sets, intervals, novelty, doubts, and the examination on request."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from small_encoder import install_small_encoder

from BrainIACLib.checkpoints.installed import find_model
from BrainIACLib.contracts import StandingDoubt
from BrainIACLib.embeddings.table import table_of
from BrainIACLib.examination import examine, sanity_check
from BrainIACLib.head_training.report import Answered
from BrainIACLib.head_training.training import train_head
from BrainIACLib.head_training.words import answer_in_words
from BrainIACLib.job import Job
from BrainIACLib.predictions import Prediction
from BrainIACLib.predictor import Predictor
from BrainIACLib.preprocessing.options import PreprocessingOptions
from BrainIACLib.resources import resource
from BrainIACLib.scans import Scan
from BrainIACLib.studies.agreement import ImageClass, Judgement
from BrainIACLib.studies.analysis import _row
from BrainIACLib.studies.naming import NamedSeries
from BrainIACLib.studies.series import FoundSeries
from BrainIACLib.trust import words
from BrainIACLib.trust.assessment import age_doubt, prediction_interval, sequence_doubt
from BrainIACLib.trust.findings import Severity, Trust, weightiest

ALMOST_A_GATE = (0.89996, 0.8995, 0.9 - 9e-9)


@pytest.mark.parametrize("value", ALMOST_A_GATE)
def test_no_place_shows_a_probability_that_looks_as_high_as_a_gate_of_0_90(value):
    answer = Prediction("sequence", {"any": "a"}, "T1", value, {"T1": value, "T2": 1 - value}, (), "adults", {})
    case = Answered("a", ("a",), 0, truth="T2", answer="T1", probabilities={"T1": value, "T2": 1 - value})
    series = NamedSeries(FoundSeries("1", None, None, None, None), Judgement("T1", ""), ImageClass("T1", value, False))
    row = _row(series, {}, identity=False)
    assert row.image_confidence == value  # a number in a document is the number
    shown = (
        words.probability(value),
        answer.headline,
        answer_in_words(case, None),
        words.probability(row.image_confidence),
    )
    for text in shown:
        assert "0.89" in text, shown
        assert "0.90" not in text


def test_a_probability_that_is_no_number_is_shown_as_it_is():
    assert [words.probability(value) for value in (float("nan"), float("inf"))] == ["nan", "inf"]


def brain(seed: int, contrast: float = 20.0) -> sitk.Image:
    generator = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (36, 44, 40)), indexing="ij"))
    values = np.where((grid**2).sum(0) < 0.7, 100 + contrast * generator.standard_normal((36, 44, 40)), 0)
    image = sitk.GetImageFromArray(values.astype(np.float32))
    image.SetSpacing((4, 4, 4))
    return image


def scan(name: str, image: sitk.Image, folder) -> Scan:
    return Scan(image, name, folder / f"{name}.nii.gz", "NIfTI", "MR", name, ())


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    """Heads "kind" (noise strong or weak) and "strength" (a number) on an encoder with random weights."""
    folder = tmp_path_factory.mktemp("store")
    install_small_encoder(folder)
    predictor = Predictor("cpu", [folder])
    contrasts = [5.0 if i % 2 else 40.0 for i in range(24)]
    predictor.set_study(
        {f"s{i}": scan(f"s{i}", brain(i, c), folder) for i, c in enumerate(contrasts)},
        PreprocessingOptions(preset="official"),
    )
    rows, vectors = [], []
    for i, contrast in enumerate(contrasts):
        vector, contract = predictor.embed(f"s{i}")
        vectors.append(vector)
        facts = {
            "model": contract.id,
            "encoder_sha256": contract.encoder.sha256,
            "preset": "official",
            "sequence": "T1",
        }
        rows.append(
            {**facts, "scan": f"s{i}", "patient": f"p{i}", "sha256": f"{i}", "age_years": str(20 + i)}
            | {"kind": "weak" if contrast < 20 else "strong", "strength": f"{contrast + 0.1 * i:.1f}"}
        )
    table = table_of(rows, vectors)
    for task in ("kind", "strength"):
        train_head(table, task, task, "auto", coverage=0.8).install(folder, folders=[folder])
    predictor.set_study(
        {"new": scan("new", brain(99, 40.0), folder), "odd": scan("odd", 1000 - brain(7, 300.0), folder)},
        PreprocessingOptions(preset="official"),
    )
    return predictor


def test_a_class_comes_with_its_set_and_its_distance(predictor):
    prediction = predictor.predict("kind", "new")
    assert prediction.label == "strong"
    found = prediction.trust.prediction_set
    assert found.coverage.asked == 0.8
    assert prediction.label in found.classes
    meaning = prediction.to_json()["trust"]["prediction_set"]["meaning"]
    assert meaning.startswith("is meant to hold the truth in 80%")
    assert "of held-out cases of the training's kind (user's own cohort)" in meaning
    assert prediction.trust.novelty.score < predictor.predict("kind", "odd").trust.novelty.score
    assert any("Unlike the training scans" in warning for warning in predictor.predict("kind", "odd").warnings)
    json.dumps(prediction.to_json())
    for name in ("new", "odd"):
        answer = predictor.predict("kind", name)
        far = answer.trust.novelty.score > answer.trust.novelty.warn_above
        assert (weightiest(answer.warnings, answer.trust.to_json())[0] is Severity.grave) == far


def test_another_preset_than_that_of_the_training_warns(predictor, monkeypatch):
    assert not any("preset" in warning for warning in predictor.predict("kind", "new").warnings)
    monkeypatch.setattr(predictor.study, "options", PreprocessingOptions())
    assert any("trained with the preset 'official'" in text for text in predictor.predict("kind", "new").trust.grave)


def test_what_the_makers_doubt_is_said_with_every_answer_and_never_first(predictor, monkeypatch):
    model = find_model("kind", predictor.models_folder)
    doubted = dataclasses.replace(model.contract.head, standing_doubt=StandingDoubt("It errs.", "doubt"))
    changed = dataclasses.replace(model, contract=dataclasses.replace(model.contract, head=doubted))
    monkeypatch.setattr("BrainIACLib.predictor.find_model", lambda *_: changed)
    answer = predictor.predict("kind", "odd")
    assert len(answer.warnings) > 1
    assert answer.warnings[-1] == "It errs."
    assert "It errs." not in answer.trust.grave
    assert answer.trust.to_json()["standing"] == ["It errs."]
    assert weightiest(["It errs."], {}) == (Severity.doubt, "It errs.")


def test_a_damaged_sequence_model_costs_no_answer(predictor, monkeypatch, tmp_path):
    shutil.copytree(resource("Models", "sequence-starter"), tmp_path / "sequence-starter")
    (tmp_path / "sequence-starter" / "encoder.safetensors").write_bytes(b"damaged")
    monkeypatch.setattr(predictor, "models_folder", [*predictor.models_folder, tmp_path])
    monkeypatch.setattr("BrainIACLib.checkpoints.installed.is_bundled", lambda folder: folder.parent == tmp_path)
    prediction = predictor.predict("kind", "new")
    assert prediction.label == "strong"
    assert any("could not be checked" in warning for warning in prediction.warnings)


def test_a_number_comes_with_its_interval(predictor):
    prediction = predictor.predict("strength", "new")
    interval = prediction.trust.prediction_interval
    quantile = find_model("strength", predictor.models_folder).contract.head.conformal
    assert (interval.low, interval.high) == pytest.approx((prediction.value - quantile, prediction.value + quantile))
    assert interval.unit == "units of strength"


def test_an_interval_ends_where_no_case_can_be():
    head = dataclasses.replace(find_model("age").contract.head, conformal=15.0, plausible_range=(0.0, 120.0))
    assert (prediction_interval(head, 9.0).low, prediction_interval(head, 9.0).high) == (0.0, 24.0)
    assert (prediction_interval(head, 110.0).low, prediction_interval(head, 110.0).high) == (95.0, 120.0)
    assert prediction_interval(dataclasses.replace(head, plausible_range=None), 9.0).low == -6.0


def test_an_age_outside_the_training_warns(predictor):
    too_old = predictor.predict("kind", "new", age_years=70)
    assert any("70 years old" in warning for warning in too_old.trust.grave)
    assert set(too_old.trust.grave) < set(too_old.warnings)
    assert not any("years old" in warning for warning in predictor.predict("kind", "new", age_years=30).warnings)
    head = find_model("kind", predictor.models_folder).contract.head
    assert head.training_age_range == (20.0, 43.0)
    assert age_doubt(head, None) == []


@pytest.mark.parametrize(
    ("slot", "sequence", "confidence", "said"),
    [
        ("T1", "FLAIR", 0.97, "looks like FLAIR"),
        ("T1", "FLAIR", 0.6, None),
        ("T1", "T1", 0.99, None),
        ("any", "T2", 0.99, None),
        ("any", "other", 0.99, "does not look like a T1"),
        ("T2", "CT", 0.99, "looks like computed tomography"),
        ("any", "not a head", 0.99, "does not look like a scan of a head"),
        ("any", "perfusion", 0.6, None),
    ],
)
def test_a_wrong_sequence_is_said(slot, sequence, confidence, said):
    doubts = sequence_doubt(slot, sequence, confidence, 0.9)
    assert (said in doubts[0].text) if said else doubts == []


def test_an_examination_starts_from_the_answer_itself(predictor):
    """Every curve meets the prediction at its level of no change, and changes somewhere."""
    for task in ("kind", "strength"):
        prediction = predictor.predict(task, "new")
        steps = []
        spread, stability = examine(
            predictor, task, "new", prediction.label, job=Job(lambda step, part, to=steps: to.append(part))
        )
        number = prediction.confidence if task == "kind" else prediction.value
        assert spread.numbers[0] == pytest.approx(number, rel=1e-3, abs=1e-4)
        assert len(spread.numbers) == len(spread.variants) == 8
        changes = [spread.standard_deviation]
        curves = {one.perturbation: one for one in stability}
        for name, level in (("contrast", 1.0), ("gibbs", 0.0), ("bias field", 0.0)):
            curve = dict(curves[name].curve)
            assert curve[level] == pytest.approx(number, rel=1e-3, abs=1e-4)
            changes.append(curves[name].largest_change)
        assert all(change > 0 for change in changes) or task == "kind"  # a probability of 1 may stay 1
        assert steps[-1] == pytest.approx(1)
        document = Trust(spread=spread, stability=stability).to_json()
        assert document["stability"]["gibbs"]["meaning"].startswith("Under changes of Gibbs ringing the")
        assert document["spread"]["standard_deviation"] == pytest.approx(np.std(spread.numbers))
        json.dumps(document)


def test_the_sanity_check_compares_with_shuffled_weights(predictor):
    found = sanity_check(predictor, "kind", "new", "new", "strong", samples=2)
    assert -1 <= found.rank_correlation < 0.999
    assert "weights are shuffled" in words.sanity_check(found)
    true, again = (predictor.saliency("kind", "new", "new", "strong", 2, 0).heat for _ in range(2))
    assert np.array_equal(true, again)


def test_a_map_without_ranks_proves_nothing(predictor, monkeypatch):
    """A constant map has no correlation: it must not be reported as one that changed as it should."""
    ours = predictor.saliency("kind", "new", "new", "strong", 1, 0)
    constant = dataclasses.replace(ours, heat=np.zeros_like(ours.heat))
    monkeypatch.setattr(type(predictor), "saliency", lambda self, *a, randomised, **k: constant if randomised else ours)
    found = sanity_check(predictor, "kind", "new", "new", "strong")
    assert found.rank_correlation is None
    assert "cannot be told" in words.sanity_check(found)


def test_saliency_of_a_retrained_head_is_on_the_scans_own_grid(predictor):
    explanation = predictor.explain("kind", "new", "strong", samples=1)
    assert explanation.map.GetSize() == (40, 44, 36)
    assert explanation.parameters["target"] == "logit of strong"
