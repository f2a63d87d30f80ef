"""From a table to an installed head: who is a case, who is on which side, what is said of it, what it answers."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from safetensors.numpy import load_file
from small_encoder import SIZE, install_small_encoder

from BrainIACLib.checkpoints.importing import import_folder, unpacked_model
from BrainIACLib.checkpoints.installed import find_model, load_model, verify_model
from BrainIACLib.embeddings.table import table_of
from BrainIACLib.errors import BrainIACError, Cancelled, ModelError
from BrainIACLib.exports.model_folder import export_folder
from BrainIACLib.head_training.cases import make_cases
from BrainIACLib.head_training.cross_validation import cross_validate, fit_on, held_out_outputs
from BrainIACLib.head_training.figures_in_words import chance_in_words, counted, risk_calibration, risk_groups
from BrainIACLib.head_training.folds import stratified_folds
from BrainIACLib.head_training.labels import with_labels
from BrainIACLib.head_training.linear_head import LinearHead
from BrainIACLib.head_training.logistic import probabilities
from BrainIACLib.head_training.permutation import chance_of
from BrainIACLib.head_training.report import report_from_json, report_to_json
from BrainIACLib.head_training.training import train_head
from BrainIACLib.job import Job
from BrainIACLib.predictor import Predictor
from BrainIACLib.preprocessing.options import PreprocessingOptions
from BrainIACLib.scans import read_scan
from BrainIACLib.statistics.survival import kaplan_meier


def cohort(cases: int = 60, signal: float = 3.0, seed: int = 0, size: int = SIZE, **facts):
    """One scan a patient; ``label`` and ``age`` follow one direction of the embedding, ``time`` its opposite."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((cases, size)) @ (0.2 * rng.standard_normal((size, size)))
    hidden = vectors[:, 0] / vectors[:, 0].std()
    label = np.where(signal * hidden + rng.standard_normal(cases) > 0, "ill", "well")
    rows = [
        {
            "scan": f"{i}.nii.gz",
            "patient": f"p{i}",
            "sha256": f"{i:064d}",
            "model": "encoder",
            "encoder_sha256": "a" * 64,
            "preset": "standard",
            "sequence": "T1",
            "label": label[i],
            "age": f"{50 + 10 * hidden[i] + rng.standard_normal():.3f}",
            "time": f"{rng.exponential(12 * np.exp(-signal * hidden[i] / 3)) + 0.1:.3f}",
            "event": str(int(rng.random() < 0.8)),
            **{name: values[i] for name, values in facts.items()},
        }
        for i in range(cases)
    ]
    return table_of(rows, vectors)


def changed(table, **columns):
    return type(table)(
        {**table.columns, **{k: np.array(v, dtype=np.str_) for k, v in columns.items()}}, table.embeddings
    )


def test_a_patient_is_never_on_both_sides_and_classes_are_spread():
    patients = [f"p{i // 3}" for i in range(90)]
    table = changed(cohort(90), patient=patients, label=["ill" if i // 3 % 5 == 0 else "well" for i in range(90)])
    cases = make_cases(table, "label")
    fold = stratified_folds(cases.target, cases.groups, 3, np.random.default_rng(0))
    for group in set(cases.groups):
        assert len(set(fold[cases.groups == group])) == 1
    for number in range(3):
        assert np.count_nonzero((fold == number) & (cases.target.values == 0)) == 6


def test_the_same_image_or_embedding_makes_two_patients_one():
    table = cohort(30)
    hashes = table.columns["sha256"].copy()
    hashes[1] = hashes[0]
    table.embeddings[3] = table.embeddings[2]
    labels = table.columns["label"].copy()
    labels[1], labels[3] = labels[0], labels[2]
    cases = make_cases(changed(table, sha256=hashes, label=labels), "label")
    assert cases.groups[0] == cases.groups[1]
    assert cases.groups[2] == cases.groups[3]
    assert sum("count as one patient" in note for note in cases.notes) == 2
    labels[1] = "ill" if labels[0] == "well" else "well"
    with pytest.raises(BrainIACError, match="are the same image with the labels"):
        make_cases(changed(table, sha256=hashes, label=labels), "label")


def test_scans_of_a_session_are_joined_by_the_masked_mean():
    """P-18, U-03: the mean of the scans that are there, in the order of slots of the paper."""
    patients = [f"p{i // 2}" for i in range(40)]
    sequences = ["FLAIR" if i % 2 else "T1CE" for i in range(40)]
    labels = ["ill" if i // 2 % 2 else "well" for i in range(40)]
    table = changed(cohort(40), patient=patients, sequence=sequences, label=labels)
    cases = make_cases(table, "label")
    assert (len(cases), cases.slots, cases.complete) == (20, ("T1CE", "FLAIR"), True)
    assert np.allclose(cases.embeddings[0], table.embeddings[:2].astype(float).mean(axis=0))
    (note,) = cases.notes
    assert note == "The scans of a session were joined (T1CE + FLAIR): 40 scans are 20 cases, 0 of which lack some."
    cases = make_cases(table.rows(np.arange(1, 40)), "label")
    assert "39 scans are 20 cases, 1 of which lack some" in cases.notes[0]
    assert (len(cases), cases.complete) == (20, False)
    assert np.allclose(cases.embeddings[0], table.embeddings[1])
    alone = make_cases(changed(table, label=sequences), "label")  # labels differ within a session: each scan is a case
    assert (len(alone), alone.slots, len(set(alone.groups))) == (40, ("any",), 20)


@pytest.mark.parametrize(
    ("change", "target", "kind", "reason"),
    [
        ({}, "grade", "auto", "no column 'grade'"),
        ({"label": ["ill"] * 30}, "label", "auto", "two classes are needed"),
        ({"label": ["ill"] + ["well"] * 29}, "label", "auto", "class 'ill' has 1 patients"),
        ({"patient": ["p0"] * 15 + ["p1"] * 15}, "label", "auto", "Only 2 patients"),
        ({"age": ["old"] + ["50"] * 29}, "age", "regression", "'old' in the column 'age'"),
        ({}, "age", "classification", "30 different numbers in 30 cases, too many for classes; learn it as"),
        ({"event": ["2"] * 30}, "time", "survival", "1 \\(happened\\) or 0"),
        (
            {"patient": ["a"] * 10 + [f"p{i}" for i in range(20)], "event": ["1"] * 10 + ["0"] * 20},
            "time",
            "survival",
            "patients have an event",
        ),
        (
            {"encoder_sha256": ["a" * 64] * 29 + ["b" * 64]},
            "label",
            "auto",
            "different encoders: 29 rows like '0.nii.gz', 1 rows like '29.nii.gz'",
        ),
        ({"preset": ["standard"] * 29 + ["official"]}, "label", "auto", "different presets"),
        (
            {"preprocessing_sha256": ["c"] + ["d"] * 20 + ["e"] * 9},
            "label",
            "auto",
            "preprocessing .*: 20 rows like '1.nii.gz', 9 rows like '21.nii.gz', 1 rows .*; embed all scans",
        ),
    ],
)
def test_what_cannot_be_learned_is_refused_in_words(change, target, kind, reason):
    with pytest.raises(BrainIACError, match=reason):
        make_cases(changed(cohort(30), **change), target, kind)


@pytest.mark.parametrize("target", ["label", "age"])
def test_too_few_patients_are_said_before_what_their_cells_hold(target):
    with pytest.raises(BrainIACError, match="Only 2 patients have a label; at least 10 are needed"):
        make_cases(cohort(2), target)


def test_scans_that_are_asked_for_but_not_there_are_named():
    with pytest.raises(BrainIACError, match=r"No scan of the table is a T1CE or FLAIR .* names: T1\)"):
        make_cases(cohort(30), "label", slots=("T1CE", "FLAIR"))


def test_times_with_a_column_of_events_are_not_silently_a_measurement():
    assert any("kind 'survival'" in note for note in make_cases(cohort(30), "time", "regression").notes)
    assert not any("survival" in note for note in make_cases(cohort(30), "age", "regression").notes)


@pytest.mark.parametrize("nothing", ["NaN", "NA", "n/a"])
def test_an_absent_label_is_no_class(nothing):
    labels = [nothing] * 5 + ["ill", "well"] * 15
    assert make_cases(changed(cohort(35), label=labels), "label").target.classes == ("ill", "well")


def test_labels_come_from_another_file(tmp_path):
    table = cohort(30)
    rows = "".join(f"p{i},{'a' if i % 2 else 'b'}\n" for i in range(30))
    (tmp_path / "labels.csv").write_text("patient,group\n" + rows)
    assert list(with_labels(table, tmp_path / "labels.csv").columns["group"][:3]) == ["b", "a", "b"]
    (tmp_path / "labels.csv").write_text("scan,patient,group,sha256\n1.nii.gz,,a,x\n")
    joined = with_labels(table, tmp_path / "labels.csv")
    assert list(joined.columns["patient"]) == list(table.columns["patient"])
    assert list(joined.columns["sha256"]) == list(table.columns["sha256"])
    (tmp_path / "labels.csv").write_text("patient,group\n,a\n")
    with pytest.raises(BrainIACError, match=r"Line 2 .* empty 'patient'"):
        with_labels(table, tmp_path / "labels.csv")
    (tmp_path / "labels.csv").write_text("patient,group\np1,a\np1,b\n")
    with pytest.raises(BrainIACError, match="a second time"):
        with_labels(table, tmp_path / "labels.csv")
    (tmp_path / "labels.csv").write_text("patient;group\np1;a, b\np2;b\n")
    assert list(with_labels(table, tmp_path / "labels.csv").columns["group"][1:3]) == ["a, b", "b"]
    (tmp_path / "labels.csv").write_text("person,group\np1,a\n")
    with pytest.raises(BrainIACError, match=r"no column 'scan' or 'patient' .*; its columns are person, group"):
        with_labels(table, tmp_path / "labels.csv")
    with pytest.raises(BrainIACError, match=r"absent.csv' does not exist"):
        with_labels(table, tmp_path / "absent.csv")


def test_nested_cross_validation_is_that_of_scikit_learn():
    """The AUC of an equal, slow pipeline with the same outer folds differs by less than its noise."""
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    cases = make_cases(cohort(100, signal=2.0, size=40), "label")
    ours = cross_validate(cases, "linear", seed=0)
    scores = np.zeros(100)
    penalties = 40 * np.logspace(-3, 3, 7)
    for number in np.unique(ours.fold):
        out = ours.fold == number
        slow = make_pipeline(
            StandardScaler(),
            LogisticRegressionCV(
                Cs=1 / penalties, cv=5, scoring="neg_log_loss", class_weight="balanced", max_iter=2000,
                l1_ratios=(0.0,), use_legacy_attributes=False,
            ),
        )  # fmt: skip
        slow.fit(cases.embeddings[~out], cases.target.values[~out])
        scores[out] = slow.decision_function(cases.embeddings[out])
    reference = roc_auc_score(cases.target.values, scores)
    assert reference > 0.7
    assert roc_auc_score(cases.target.values, ours.outputs[:, 0]) == pytest.approx(reference, abs=0.04)


def test_chance_is_called_chance_and_signal_signal():
    """Under the null the p value is uniform: of 40 cohorts without signal, about 2 lie below 0.05."""
    found = []
    for seed in range(40):
        table = cohort(24, signal=0.0, seed=seed, size=8)
        found.append(chance_of(make_cases(table, "label"), "linear", 4, seed, True, shuffles=60).p)
    assert sum(p < 0.05 for p in found) <= 6
    noise = changed(cohort(24), age=np.zeros(24))
    low = []
    for seed in range(60):  # folds balanced for the true labels alone would put nearly half of these below 0.2
        ages = np.random.default_rng(seed).standard_normal(24).astype(str)
        low.append(
            chance_of(make_cases(changed(noise, age=ages), "age"), "linear", 10, seed, True, shuffles=60).p < 0.2
        )
    assert sum(low) <= 20
    cases = make_cases(cohort(60, signal=5.0, size=20), "label")
    assert chance_of(cases, "linear", 5, 0, True).p < 0.01


def of_four_sequences(signal: float, seed: int, patients: int = 15):
    """Everybody has one scan of each of four sequences, in the same order; the label is the sequence."""
    sequences = ["T1", "T2", "FLAIR", "T1CE"] * patients
    people = [f"p{i // 4}" for i in range(4 * patients)]
    table = changed(cohort(4 * patients, seed=seed, size=8), patient=people, label=sequences)
    table.embeddings[np.arange(4 * patients), np.arange(4 * patients) % 4] += signal
    return table


def test_labels_in_the_same_order_in_every_patient_can_be_told_from_chance():
    """The exchange of whole patients would change nothing here: p would always be 1."""

    def of_sequences(signal: float, seed: int, shuffles: int) -> float:
        cases = make_cases(of_four_sequences(signal, seed), "label")
        return chance_of(cases, "linear", 5, seed, True, shuffles=shuffles).p

    assert of_sequences(3.0, 0, 199) < 0.01
    found = [of_sequences(0.0, seed, 60) for seed in range(40)]
    assert sum(p < 0.05 for p in found) <= 6
    assert sum(p < 0.5 for p in found) >= 10


def test_labels_that_cannot_be_shuffled_give_no_p(store):
    """Of patients with a number of scans of their own, and one label for each, no labels can be exchanged."""
    folder, model_id, sha256 = store
    people = np.repeat(np.arange(12), np.arange(1, 13))
    labels = np.where(people % 2, "ill", "well")
    table = changed(cohort(78), patient=[f"p{i}" for i in people], label=labels)
    table = changed(table, encoder_sha256=[sha256] * 78, model=[model_id] * 78)
    trained = train_head(table, "label", "my-task")
    assert trained.report.permutation.p is None
    meaning = chance_in_words(None)
    assert "cannot be tested" in meaning
    assert "too few patients have equally many cases" in meaning
    place = trained.install(folder, folders=[folder])
    assert "against chance: not tested" in find_model("my-task", [folder]).contract.head.metrics
    assert meaning in (place / "card.md").read_text(encoding="utf-8")
    doubt, *_ = find_model("my-task", [folder]).contract.unverified
    assert doubt.startswith("that it is better than chance: no test was possible, as too few patients")


def test_every_answer_of_a_head_that_is_no_better_than_chance_says_so(store):
    folder, model_id, sha256 = store
    inside = (np.stack(np.meshgrid(*(np.linspace(-1, 1, 40) for _ in range(3)))) ** 2).sum(0) < 0.7
    noise = np.random.default_rng(0).uniform(50, 150, (40, 40, 40))
    image = sitk.GetImageFromArray(np.where(inside, noise, 0).astype(np.float32))
    image.SetSpacing((4, 4, 4))
    sitk.WriteImage(image, str(folder / "a.nii"))
    predictor = Predictor("cpu", [folder])
    predictor.set_study({"a": read_scan(folder / "a.nii")}, PreprocessingOptions(preset="official"))
    for signal in (0.0, 8.0):
        table = changed(cohort(60, signal), encoder_sha256=[sha256] * 60, model=[model_id] * 60)
        trained = train_head(table, "label", "my-task")
        trained.install(folder, folders=[folder], replace=True)
        p = trained.report.permutation.p
        said = "Unverified: that it is better than chance: in its own cross-validation shuffled labels did as well "
        said += f"(p = {p:.2f})."
        assert (p >= 0.05) == (signal == 0)
        assert (said in predictor.predict("my-task", "a").warnings) == (signal == 0)


@pytest.mark.parametrize(
    ("target", "kind", "figure", "least"), [("label", "auto", "AUC", 0.75), ("age", "auto", "R2", 0.3)]
)
def test_a_report_is_plain_json_and_sees_the_signal(target, kind, figure, least):
    head = train_head(cohort(120, size=60), target, "my-task", kind)
    report = json.loads(json.dumps(report_to_json(head.report)))
    assert report_from_json(report) == head.report
    assert report["metrics"][figure]["value"] > least
    assert report["permutation"]["p"] < 0.01
    assert len(report["out_of_fold"]) == len(report["map"]["coordinates"]) == 120
    assert report["conformal"]["measured"] == pytest.approx(0.9, abs=0.06)
    assert report["learning_curve"]["points"][0][0] < report["learning_curve"]["points"][-1][0]
    answers = {row["case"]: row for row in report["out_of_fold"]}
    hardest = answers[report["hardest"][0]["case"]]
    if target == "label":
        assert hardest["truth"] != hardest["answer"]


def test_training_stops_when_asked():
    with pytest.raises(Cancelled):
        train_head(cohort(30, size=20), "label", "my-task", job=Job(cancelled=lambda: True))


@pytest.fixture
def store(tmp_path):
    """A store with one encoder, its id and sha256."""
    contract = install_small_encoder(tmp_path)
    return tmp_path, contract.id, contract.encoder.sha256


def test_the_progress_of_a_training_never_falls():
    fractions, steps = [], []
    train_head(
        cohort(30, size=20),
        "label",
        "my-task",
        job=Job(lambda *told: (steps.append(told[0]), fractions.append(told[1]))),
    )
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0] < fractions[-1] <= 1
    assert list(dict.fromkeys(steps))[-1] == "report"


@pytest.mark.parametrize(
    ("target", "kind", "head", "link"),
    [
        ("label", "auto", "linear", "sigmoid"),
        ("three", "auto", "linear", "softmax"),
        ("age", "regression", "linear", "identity"),
        ("time", "survival", "linear", "cloglog"),
        ("label", "auto", "two-layer", "sigmoid"),
    ],
)
def test_an_installed_head_answers_as_the_trained_one(target, kind, head, link, store):
    folder, model_id, sha256 = store
    three = [("a", "b", "c")[i % 3] for i in range(40)]
    table = changed(cohort(40), encoder_sha256=[sha256] * 40, model=[model_id] * 40, three=three)
    trained = train_head(table, target, "my-task", kind, head=head, shuffles=19)
    place = trained.install(folder, folders=[folder])
    model = find_model("my-task", [folder])
    assert model.folder == place
    assert (model.contract.encoder_model, model.contract.head.link) == (model_id, link)
    assert not (place / "encoder.safetensors").exists()  # referred to, not copied
    verify_model(model)
    net = load_model(model, [folder])
    with torch.inference_mode():
        outputs = net.head(torch.from_numpy(table.embeddings)).numpy()
    assert np.allclose(outputs, trained.fitted.outputs(table.embeddings.astype(float)), atol=2e-3)
    assert "Research use only" in (place / "card.md").read_text(encoding="utf-8")
    if kind == "survival":  # at the end point the mean probability is that of the cohort: Breslow's baseline
        probability = 1 - np.exp(-np.exp(outputs[:, 0]))
        assert 0.2 < probability.mean() < 0.95
        assert np.corrcoef(probability, np.log(table.columns["time"].astype(float)))[0, 1] < -0.3


def test_it_is_said_by_what_coverage_is_counted(store):
    """60 cases of 30 patients: the measured share is one of cases, and card and report say so."""
    folder, model_id, sha256 = store
    table = changed(cohort(60), encoder_sha256=[sha256] * 60, model=[model_id] * 60)
    whole = train_head(table, "age", "my-task", "regression").report
    assert counted(whole) == "counted by case; every patient has one"
    patients = [f"p{i // 2}" for i in range(60)]
    trained = train_head(changed(table, patient=patients), "age", "my-task", "regression")
    assert counted(trained.report).startswith("counted by case, not by patient: 60 cases of 30 patients")
    card = (trained.install(folder, folders=[folder]) / "card.md").read_text(encoding="utf-8")
    assert counted(trained.report) in card


@pytest.mark.parametrize("head", ["linear", "two-layer"])
def test_a_survival_head_answers_with_calibrated_probabilities(head, store):
    """The installed head's output is slope x score + baseline, both from held-out scores; the card says what it is."""
    folder, model_id, sha256 = store
    table = changed(cohort(60), encoder_sha256=[sha256] * 60, model=[model_id] * 60)
    trained = train_head(table, "time", "my-task", "survival", head=head, shuffles=19)
    found = trained.report.risk_calibration
    cases = trained.cases
    raw = fit_on(cases, np.arange(60), head, np.random.default_rng([0, 1]), True).outputs(cases.embeddings)[:, 0]
    expected = found.slope * (raw - raw.mean()) + found.baseline
    assert np.allclose(trained.fitted.outputs(cases.embeddings)[:, 0], expected, atol=1e-6)
    times, events = cases.target.values, cases.target.events
    said = -np.expm1(-np.exp(expected))
    assert said.mean() == pytest.approx(1 - kaplan_meier(times, events).at(12), abs=0.1)
    assert sum(group.cases for group in found.groups) == 60
    place = trained.install(folder, folders=[folder])
    card = (place / "card.md").read_text(encoding="utf-8")
    assert risk_calibration(found, "12 months") in card
    assert risk_groups(trained.report.median_split) in card
    contract = find_model("my-task", [folder]).contract.head
    assert "There is no prediction set" in contract.valid_range
    assert contract.threshold == pytest.approx(np.median(said))  # C-10: of the training cases, nobody left out
    assert contract.threshold_source == "median probability of the training cases"


def test_the_scores_of_all_folds_are_counted_from_one_zero():
    """The log hazard ratios of a two-layer head have a zero of their own in each fold until it is taken off."""
    cases = make_cases(cohort(60), "time", "survival")
    seen = np.arange(60) % 5 != 0
    head = LinearHead(np.ones((1, SIZE)), np.array([7.0]), 1.0)
    answered = held_out_outputs(head, cases, seen, ~seen)
    expected = (cases.embeddings[~seen] - cases.embeddings[seen].mean(axis=0)).sum(axis=1, keepdims=True)
    assert np.allclose(answered, expected)


def test_a_second_head_of_a_task_replaces_the_first_only_if_told(store):
    folder, model_id, sha256 = store
    table = changed(cohort(40), encoder_sha256=[sha256] * 40, model=[model_id] * 40)
    first = train_head(table, "label", "my-task").install(folder, folders=[folder])
    second = train_head(table, "age", "my-task", "regression")
    with pytest.raises(ModelError, match="replace it"):
        second.install(folder, folders=[folder])
    assert second.install(folder, folders=[folder], replace=True).is_dir()
    assert not first.exists()
    with pytest.raises(BrainIACError, match="cannot be the name"):
        train_head(table, "label", "sequence")


def test_a_head_without_its_encoder_says_which_is_missing(store):
    folder, model_id, sha256 = store
    table = changed(cohort(40), encoder_sha256=[sha256] * 40, model=[model_id] * 40)
    trained = train_head(table, "label", "my-task")
    with pytest.raises(ModelError, match=f"'{model_id}', sha256 {sha256[:8]}"):
        trained.install(folder / "other", folders=[folder / "other"])
    place = trained.install(folder / "other", folders=[folder])
    with pytest.raises(ModelError, match="installed nowhere here"):
        load_model(find_model("my-task", [folder / "other"]), [folder / "other"])
    assert place.is_dir()


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_another_site_imports_head_and_encoder_together(form, store, tmp_path):
    folder, model_id, sha256 = store
    table = changed(cohort(40), encoder_sha256=[sha256] * 40, model=[model_id] * 40)
    trained = train_head(table, "label", "my-task")
    trained.install(folder, folders=[folder])
    out = tmp_path / ("out.zip" if form == "zip" else "out")
    export_folder(find_model("my-task", [folder]), out, [folder])
    elsewhere = tmp_path / "elsewhere"
    with unpacked_model(out) if form == "zip" else contextlib.nullcontext(out) as folder:
        imported = import_folder(folder, elsewhere)
    assert imported.new
    net = load_model(find_model("my-task", [elsewhere]), [elsewhere])
    with torch.inference_mode():
        ours = probabilities(net.head(torch.from_numpy(table.embeddings)).numpy().astype(float))
    assert np.allclose(ours, probabilities(trained.fitted.outputs(table.embeddings.astype(float))), atol=1e-4)
    assert "mean" in load_file(imported.model.folder / "ood.safetensors")
