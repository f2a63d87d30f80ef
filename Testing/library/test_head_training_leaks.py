"""``train-head`` finds leaks, labels in disguise, missing codes; and shows trivial answers, covariates and sites."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from test_head_training_cohorts import changed, cohort

from BrainIACLib.embeddings.image_measures import BINS
from BrainIACLib.errors import BrainIACError
from BrainIACLib.head_training.associations import label_against_columns
from BrainIACLib.head_training.baselines import baselines, beside_covariates, design
from BrainIACLib.head_training.cases import make_cases
from BrainIACLib.head_training.cross_validation import cross_validate
from BrainIACLib.head_training.labels import with_labels
from BrainIACLib.head_training.many_two_layer_heads import EPOCHS_LOOKED_AT, outputs_of_many
from BrainIACLib.head_training.patients import near_duplicates, same_name
from BrainIACLib.head_training.permutation import chance_of
from BrainIACLib.head_training.sites import harmonised, site_of, sites_left_out, within_sites
from BrainIACLib.head_training.training import train_head
from BrainIACLib.head_training.two_layer_head import fit_two_layer_head
from BrainIACLib.head_training.words import doubts, sections, unverified
from BrainIACLib.statistics.metrics import auc


@pytest.mark.parametrize(
    "names",
    [("sub-01", "SUB-01", "sub_01 ", "ｓｕｂ-01"), ("7", "007", "7.0", " 7"), ("Müller A", "MÜLLER  a", "müller_a")],
)
def test_spellings_of_one_name_are_one_patient(names):
    assert len({same_name(name) for name in names}) == 1
    assert same_name("sub-01") != same_name("sub-02")
    patients = [f"p{i}" for i in range(30)]
    patients[: len(names)] = names
    cases = make_cases(changed(cohort(30), patient=patients), "age", "regression")
    assert len(set(cases.groups[: len(names)].tolist())) == 1
    assert any("spelled in several ways" in note for note in cases.notes)


def test_patients_who_are_called_missing_are_not_one_person():
    cases = make_cases(changed(cohort(30), patient=["NA", "?", "unknown", *(f"p{i}" for i in range(27))]), "age")
    assert len(set(cases.groups[:3].tolist())) == 3
    assert any("without a patient" in note for note in cases.notes)


def test_scans_of_one_study_are_one_person_also_where_nobody_named_it():
    table = changed(
        cohort(40),
        patient=[""] * 40,
        session=[""] * 40,
        of_study=[f"folder{i // 2}" for i in range(40)],
        sequence=["T1", "FLAIR"] * 20,
        age=[str(30 + i // 2) for i in range(40)],
    )
    cases = make_cases(table, "age", "regression")
    assert [len(scans) for scans in cases.scans] == [2] * 20
    apart = make_cases(changed(table, sequence=["T1"] * 40), "age", "regression")
    assert apart.groups[::2].tolist() == apart.groups[1::2].tolist()


def test_people_of_one_name_in_two_datasets_are_not_joined():
    table = changed(
        cohort(40),
        patient=[f"{i // 2}" for i in range(40)],
        dataset=["A", "B"] * 20,
        sequence=["T1", "FLAIR"] * 20,
        age=[str(30 + i // 2) for i in range(40)],
    )
    assert {len(scans) for scans in make_cases(table, "age", "regression").scans} == {1}


def test_labels_are_joined_whatever_the_spelling_of_the_patient(tmp_path):
    table = changed(cohort(12), patient=[f"sub-{i:02d}" for i in range(12)])
    rows = "".join(f"SUB_{i:02d},{i}\n" for i in range(12))
    (tmp_path / "labels.csv").write_text("patient,score\n" + rows)
    assert with_labels(table, tmp_path / "labels.csv").columns["score"].tolist() == [str(i) for i in range(12)]


@pytest.mark.parametrize("dimensions", [8, 20])
def test_a_copy_under_another_name_is_found_and_different_people_are_not(dimensions):
    """Slow form: the distance in standardized numbers, and the nearest neighbors of everybody else."""
    rng = np.random.default_rng(0)
    false = 0
    for seed in range(20):
        people = np.random.default_rng(seed).standard_normal((60, dimensions)) @ rng.standard_normal((dimensions, 64))
        names = tuple(f"s{i}" for i in range(60))
        false += len(near_duplicates(people, np.arange(60), names))
        copied = np.vstack([people, people[7] + 0.1 * people.std(axis=0) * rng.standard_normal(64)])
        (pair, *_) = near_duplicates(copied, np.arange(61), (*names, "copy"))
        assert (pair.first, pair.second) == ("s7", "copy")
        standardised = (copied - copied.mean(axis=0)) / copied.std(axis=0)
        distance = np.sqrt(((standardised[7] - standardised[60]) ** 2).mean())
        assert pair.distance == pytest.approx(distance, rel=1e-6)
        assert pair.typical > 2 * pair.distance
    assert false <= 20 * 0.5


def test_several_scans_of_a_person_hide_no_copy_and_make_none():
    """Two visits of a neighbor are one neighbor: they must not look like two that lie equally near."""
    rng = np.random.default_rng(0)
    people = np.repeat(rng.standard_normal((40, 64)), 2, axis=0) + 0.02 * rng.standard_normal((80, 64))
    groups, names = np.repeat(np.arange(40), 2), tuple(f"s{i}" for i in range(80))
    assert near_duplicates(people, groups, names) == []
    shuffled = rng.permutation(80)
    groups[10:12] = groups[9]  # s10 and s11 are of the person of s9 ...
    groups[11] = 99  # ... but s11 stands under another name
    (pair,) = near_duplicates(people[shuffled], groups[shuffled], tuple(names[i] for i in shuffled))
    assert {pair.first, pair.second} == {"s10", "s11"}


def test_a_near_copy_is_said_first_and_counts_as_one_patient():
    table = cohort(40, size=30)
    rng = np.random.default_rng(1)
    table.embeddings[1] = table.embeddings[0] + 0.05 * table.embeddings.std(axis=0) * rng.standard_normal(30)
    report = train_head(table, "age", "t", "regression").report
    assert report.patients == 39
    first = sections(report)[0]
    assert first.title == "Before you use it"
    assert first.lines[0].startswith("The same person under two names? 0.nii.gz and 1.nii.gz: their embeddings lie")
    assert any("1 pairs of cases may be one person" in text for text in unverified(report))


@pytest.mark.parametrize("disguise", ["study", "sequence", "acquired", "folder of the scan"])
def test_a_label_in_disguise_is_said_in_the_first_line(disguise):
    """The label is the study, the sequence, the time of the scan, or the folder; the head sees something else."""
    table = cohort(60, signal=1.0)
    ill = table.columns["label"] == "ill"
    ill[0] = ~ill[0]  # nearly
    told = {
        "study": {"study": np.where(ill, "A", "B")},
        "sequence": {"sequence": np.where(ill, "T1", "T2"), "session": [str(i) for i in range(60)]},
        "acquired": {"acquired": [f"20{10 + 8 * bad}-0{1 + i % 9}-11" for i, bad in enumerate(ill)]},
        "folder of the scan": {"scan": [f"{'a' if bad else 'b'}/{i}.nii" for i, bad in enumerate(ill)]},
    }[disguise]
    cases = make_cases(changed(table, age=["1"] * 60, time=["1"] * 60, **told), "label")
    (found,) = [one for one in label_against_columns(cases, 0) if one.strong]
    assert found.column == disguise
    assert found.measure == ("AUC" if disguise == "acquired" else "Cramér's V")
    assert found.figure.low <= found.figure.value <= found.figure.high
    if disguise == "study":
        report = train_head(changed(table, **told), "label", "t").report
        assert any("read off the column 'study' (Cramér's V 0.9" in line for line in doubts(report))
        assert any("learned 'label' and not 'study'" in text for text in unverified(report))  # with every answer


def test_columns_that_say_nothing_of_the_label_are_not_called_strong():
    strong = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        extra = {"site": rng.integers(0, 6, 40).astype(str), "score": rng.standard_normal(40).astype(str)}
        table = changed(cohort(40, seed=seed), label=rng.permutation(["ill", "well"] * 20), **extra)
        strong += sum(one.strong for one in label_against_columns(make_cases(table, "label"), seed))
    assert strong <= 1


def measured(table, seed=0):
    """The age follows the volume of the brain, and the histogram says nothing."""
    rng = np.random.default_rng(seed)
    age = table.columns["age"].astype(float)
    shares = rng.dirichlet(np.ones(BINS), len(table))
    return changed(
        table,
        brain_ml=[f"{1500 - 8 * years + rng.standard_normal():.1f}" for years in age],
        intensity_histogram=[" ".join(f"{share:.5f}" for share in row) for row in shares],
    )


def test_trivial_answers_stand_beside_the_head_and_one_that_is_as_good_is_said_first():
    table = measured(cohort(60, signal=0.5))
    cases = make_cases(table, "age", "regression")
    done = cross_validate(cases, "linear", 0)
    found = {one.name: one for one in baselines(cases, done, None, 0, True)}
    assert set(found) == {
        "always the mean of the others",
        "the volume of the brain",
        "a histogram of intensities",
        "as many random numbers as the embedding has",
    }
    assert found["the volume of the brain"].figure.value < 1.0  # least squares on the volume itself
    assert found["always the mean of the others"].figure.value == pytest.approx(
        np.mean(
            [abs(cases.target.values[i] - cases.target.values[done.fold != done.fold[i]].mean()) for i in range(60)]
        )
    )
    report = train_head(table, "age", "t", "regression").report
    assert not any("Not compared with" in note for note in report.notes)
    without = train_head(cohort(30, size=10), "age", "t", "regression").report
    assert any("Not compared with the volume of the brain and a histogram" in note for note in without.notes)
    assert any("Not shown to be better than the volume of the brain" in line for line in doubts(report))


def test_covariates_are_answered_alone_and_with_the_image():
    """The label is made of the image's direction and of sex: both together are better than either alone."""
    rng = np.random.default_rng(0)
    table = cohort(160, size=10)
    direction = table.embeddings[:, 0] / table.embeddings[:, 0].std()
    sex = rng.integers(0, 2, 160)
    score = 2 * direction + 4 * sex + 0.3 * rng.standard_normal(160)
    table = changed(table, score=score, sex=np.where(sex, "F", "M"), years=rng.uniform(20, 80, 160))
    cases = make_cases(table, "score", "regression")
    notes: list[str] = []
    inputs = design(cases, ("sex", "years"), notes)
    assert inputs.shape == (160, 3)
    image, alone, both = beside_covariates(cases, cross_validate(cases, "linear", 0), inputs, "linear", 0, True)
    assert [one.name for one in (image, alone, both)] == ["the image alone", "the covariates alone", "both"]
    assert both.figure.value < 0.5 < min(image.figure.value, alone.figure.value)
    assert image.gain.low > 0
    assert alone.gain.low > 0
    with pytest.raises(BrainIACError, match="no column 'grade' to use as a covariate"):
        design(cases, ("grade",), notes)


def test_a_head_that_reads_the_site_fails_where_the_site_is_left_out_and_combat_takes_it_away():
    """The embedding holds the site, and the sites differ in how many are ill: patient folds call that knowledge."""
    rng = np.random.default_rng(0)
    site = np.repeat(["A", "B", "C"], 40)
    ill = rng.random(120) < np.repeat([0.15, 0.5, 0.85], 40)
    table = changed(cohort(120, size=12), label=np.where(ill, "ill", "well"), site=site)
    table.embeddings[:] = rng.standard_normal((120, 12)) + np.repeat([-2.0, 0.0, 2.0], 40)[:, None]
    cases = make_cases(table, "label")
    done = cross_validate(cases, "linear", 0)
    sites = site_of(cases, "site")
    found = sites_left_out(cases, sites, "site", "linear", 0, True)
    assert [(one.name, one.cases) for one in found.sites] == [("A", 40), ("B", 40), ("C", 40)]
    assert all(one.figure.low < 0.55 for one in found.sites)  # within a site nothing is known
    assert auc(cases.target.values, done.outputs[:, 0]) > 0.7  # by the site alone
    within = harmonised(cases, sites, None, done, 0, True)
    assert within.figure.low < 0.5 < within.figure.high  # and nothing beyond it
    with pytest.raises(BrainIACError, match="one site only"):
        site_of(make_cases(changed(table, site=["A"] * 120), "label"), "site")


def test_harmonisation_shows_a_signal_that_the_sites_cover():
    """The scale and offset of each site hide what all sites know; ComBat gives it back."""
    rng = np.random.default_rng(0)
    site = np.tile(["A", "B", "C"], 40)
    age = rng.uniform(20, 80, 120)
    table = changed(cohort(120, size=6), age=age, site=site)
    signal = (age - 50)[:, None] / 20 + 0.3 * rng.standard_normal((120, 6))
    offset, scale = np.array([-8.0, 0.0, 8.0])[:, None], np.array([0.3, 1.0, 3.0])[:, None]
    place = np.array([0, 1, 2] * 40)
    table.embeddings[:] = signal * scale[place] + offset[place] * rng.standard_normal(6)
    cases = make_cases(table, "age", "regression")
    done = cross_validate(cases, "linear", 0)
    found = harmonised(cases, site_of(cases, "site"), None, done, 0, True)
    assert found.gain.high < 0  # the head as it is does worse
    assert found.figure.value < 4


def test_within_sites_is_the_mean_of_the_sites_figures():
    site = np.array(["A"] * 25 + ["B"] * 15)
    cases = make_cases(cohort(40), "label")
    outputs = np.random.default_rng(0).standard_normal((40, 1))
    each = [roc_auc_score(cases.target.values[site == name], outputs[site == name, 0]) for name in "AB"]
    assert within_sites(cases, outputs, site, np.arange(40)) == pytest.approx(np.average(each, weights=[25, 15]))


def test_nobody_of_a_left_out_site_is_learned_from_at_another():
    """A person scanned at two sites is kept out of the fit for either."""
    table = changed(cohort(60, size=8), patient=[f"p{i % 30}" for i in range(60)], site=["A"] * 30 + ["B"] * 30)
    found = sites_left_out(make_cases(table, "label"), np.array(["A"] * 30 + ["B"] * 30), "site", "linear", 0, True)
    assert (found.figure, found.untold) == (None, 60)


def test_repeated_scans_of_a_person_are_compared():
    patients = [f"p{i // 2}" for i in range(60)]
    table = changed(cohort(60, size=10), patient=patients, session=[str(i % 2) for i in range(60)])
    table.embeddings[1::2] = table.embeddings[::2] + 0.1
    ages = np.repeat(table.columns["age"][::2], 2)
    found = train_head(changed(table, age=ages), "age", "t", "regression").report.repeatability
    assert (found.people, found.cases) == (30, 60)
    assert found.icc.value > 0.9
    assert train_head(cohort(30, size=10), "age", "t", "regression").report.repeatability is None


def test_one_number_in_two_forms_is_one_class_and_so_are_two_cases_of_a_word():
    forms = ["1", "1.0", "01", "0", "0.0", "0"] * 5
    assert make_cases(changed(cohort(30), label=forms), "label").target.classes == ("0", "1")
    words = make_cases(changed(cohort(30), label=["Ill", "ill", "well "] * 10), "label")
    assert len(words.target.classes) == 2
    assert any("One class of 'label': 'Ill' = 'ill'" in note for note in words.notes)


@pytest.mark.parametrize("code", ["?", "-", "NA", "unknown"])
def test_words_for_nothing_are_left_out_and_named_with_their_number(code):
    labels = [code, code, *(["ill", "well"] * 14)]
    cases = make_cases(changed(cohort(30), label=labels), "label")
    assert (len(cases), cases.target.classes) == (28, ("ill", "well"))
    assert any(f"'{code}' 2 times" in note for note in cases.notes)


@pytest.mark.parametrize(("code", "kind"), [("-999", "regression"), ("999", "regression"), ("-9", "classification")])
def test_numbers_that_look_like_missing_codes_are_asked_about(code, kind):
    plain = [str(40 + i) for i in range(25)] if kind == "regression" else ["0", "1"] * 12 + ["1"]
    table = changed(cohort(30), label=[code] * 5 + plain)
    with pytest.raises(BrainIACError, match=f"holds {code} in 5 of 30 cells.*name {code} among the labels") as raised:
        make_cases(table, "label", kind)
    assert raised.value.command.startswith(f"--missing={code};")
    assert len(make_cases(table, "label", kind, missing=(code,))) == 25
    assert len(make_cases(table, "label", kind, missing=())) == 30


def test_ordinary_negative_numbers_are_not_asked_about():
    scores = np.random.default_rng(0).standard_normal(30) * 5
    scores[3] = -1
    assert len(make_cases(changed(cohort(30), label=scores), "label", "regression")) == 30


def test_the_bad_cell_is_named():
    ages = [str(20 + i) for i in range(30)]
    ages[4] = "4O"
    with pytest.raises(BrainIACError, match=r"holds numbers but for 1 of 30 cells: '4O' \(case 4\.nii\.gz\)"):
        make_cases(changed(cohort(30), age=ages), "age")
    events = ["1"] * 29 + ["2"]
    with pytest.raises(BrainIACError, match=r"an event is '2' \(case 29\.nii\.gz\)"):
        make_cases(changed(cohort(30), event=events), "time", "survival")


def test_a_rare_class_can_be_left_out():
    table = changed(cohort(31), label=["ill", "well"] * 15 + ["odd"])
    with pytest.raises(BrainIACError, match=r"class 'odd' has 1 patients.*leave the class out"):
        make_cases(table, "label")
    cases = make_cases(table, "label", leave_out=("Odd",))
    assert (len(cases), cases.target.classes) == (30, ("ill", "well"))
    with pytest.raises(BrainIACError, match="No case has 'none'"):
        make_cases(table, "label", leave_out=("none",))


def test_the_test_of_chance_is_of_the_head_that_is_installed():
    """A label that no straight line tells: the two-layer head is better than chance, the linear one is not."""
    rng = np.random.default_rng(0)
    table, points = cohort(150, size=32), rng.standard_normal((150, 2))
    table.embeddings[:] = points @ rng.standard_normal((2, 32)) + 0.05 * rng.standard_normal((150, 32))
    label = np.where(np.prod(points, axis=1) > 0, "same", "other")
    cases = make_cases(changed(table, label=label), "label")
    assert chance_of(cases, "linear", 5, 0, True).p > 0.05
    assert chance_of(cases, "two-layer", 5, 0, True).p < 0.05


@pytest.mark.parametrize(("target", "kind"), [("label", "auto"), ("age", "regression"), ("time", "survival")])
def test_heads_trained_side_by_side_are_those_trained_alone(target, kind):
    """The slow form fits one net; initial weights and dropout differ, the answers hardly."""
    cases = make_cases(cohort(80, size=16), target, kind)
    out = np.arange(80) % 4 == 0
    many = outputs_of_many(cases.embeddings, [cases.target, cases.target.rows(np.arange(80)[::-1])], out, True, 0)
    assert many.shape == (len(EPOCHS_LOOKED_AT), 2, 20, 1)
    alone = fit_two_layer_head(
        cases.embeddings[~out], cases.target.rows(~out), cases.groups[~out], np.random.default_rng(0), penalty=100
    ).outputs(cases.embeddings[out])
    assert np.corrcoef(many[-1, 0, :, 0], alone[:, 0])[0, 1] > 0.6
    assert np.corrcoef(many[-1, 1, :, 0], alone[:, 0])[0, 1] < 0.5


def test_scans_that_a_person_rejected_are_left_out(tmp_path):
    """decisions.csv of a batch's quality page; what nobody decided on stays."""
    rows = "".join(f"{i}.nii.gz,p{i},{'reject' if i < 4 else 'accept'}\n" for i in range(8))
    (tmp_path / "decisions.csv").write_text("scan,patient,decision\n" + rows)
    cases = make_cases(with_labels(cohort(30), tmp_path / "decisions.csv"), "label")
    assert cases.names == tuple(f"{i}.nii.gz" for i in range(4, 30))
    assert any("4 scans were rejected by a person" in note for note in cases.notes)
