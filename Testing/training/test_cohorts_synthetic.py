"""The cohorts that are here: simulated patients follow their rules, the open scans are split by person (C-08)."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("pandera", reason="needs the 'training' extra")

from BrainIACLib.errors import ManifestError
from Training.cohorts.open_data import write_open_manifest
from Training.cohorts.simulated_patients import (
    MUTANT_SHARE,
    OTHER_SCANNER,
    USUAL_SCANNER,
    draw_patient,
    survival_of,
    widen_ventricles,
)
from Training.cohorts.synthetic import ROLES, SyntheticCohort, _maps_of, draw_cohort, usable_label_maps
from Training.data.manifest import read_manifest
from Training.synthesis.label_maps import label_map_files, label_map_name
from Training.synthesis.sequences import SEQUENCES
from Training.synthesis.template_grid import template_grid
from Training.synthesis.tissue_parameters import CLASS

SIZE = (32, 38, 30)


def test_patients_are_reproducible_and_skull_stripped(label_map):
    first, again, other = (draw_patient(0, index, [label_map], template_grid(SIZE)) for index in (5, 5, 6))
    assert torch.equal(first.volumes, again.volumes)
    assert (first.age_years, first.idh, first.survival_months) == (again.age_years, again.idh, again.survival_months)
    assert not torch.equal(first.volumes, other.volumes)
    assert first.volumes.shape == (len(SEQUENCES), *SIZE)
    assert first.volumes.min() == 0
    assert first.volumes.max() == 1
    assert 0.5 < float((first.volumes == 0).float().mean()) < 0.95
    assert first.tumour.shape == SIZE
    assert first.tumour.any()


def test_ventricles_widen_with_age_and_nothing_else_becomes_csf(head):
    """The simulated age is in the image: a monotone rule, without effect at its beginning."""
    volumes = []
    for ageing in (0.0, 0.4, 0.8, 1.0):
        anatomy = dataclasses.replace(head, tissue=head.tissue.clone())
        widen_ventricles(anatomy, ageing)
        changed = anatomy.tissue != head.tissue
        assert (anatomy.tissue[changed] == CLASS["ventricular_csf"]).all()
        assert not (changed & (head.tissue == CLASS["cortex"])).any()
        volumes.append(int((anatomy.tissue == CLASS["ventricular_csf"]).sum()))
    assert volumes == sorted(volumes)
    assert volumes[-1] > 1.5 * volumes[0]
    assert volumes[1] > volumes[0]


def test_simulated_survival_follows_its_rules():
    """Large, enhancing tumors and age shorten it; about a third is censored."""
    rng = np.random.default_rng(0)

    def died_within_a_year(radius: float, kind: str, age: float) -> float:
        drawn = [survival_of(rng, radius, kind, age) for _ in range(2000)]
        return float(np.mean([months <= 12 and event for months, event in drawn]))

    assert died_within_a_year(25, "ring", 60) > died_within_a_year(12, "ring", 60) + 0.1
    assert died_within_a_year(18, "ring", 60) > died_within_a_year(18, "non-enhancing", 60) + 0.1
    assert died_within_a_year(18, "ring", 75) > died_within_a_year(18, "ring", 30) + 0.1
    kinds = rng.choice(list(MUTANT_SHARE), 2000)
    radii, ages = np.exp(rng.uniform(np.log(8), np.log(28), 2000)), rng.uniform(20, 80, 2000)
    events = [survival_of(rng, *person)[1] for person in zip(radii, kinds, ages, strict=True)]
    assert 0.5 < np.mean(events) < 0.85


def test_training_hold_out_and_external_set_have_head_shapes_of_their_own():
    cohort = SyntheticCohort(4, 4, 2, training_maps=3, test_maps=2, size=SIZE, external=2, external_maps=2)
    maps = [Path(f"map{number}") for number in range(cohort.maps)]
    of_role = {role: set(_maps_of(role, cohort, maps)) for role in ROLES}
    assert of_role["pretrain"] == of_role["train"] == set(maps[:3])
    assert of_role["test"] == set(maps[3:5])
    assert of_role["external"] == set(maps[5:])
    alone = SyntheticCohort(1, 1, 1, training_maps=1, test_maps=0, size=SIZE)
    assert _maps_of("test", alone, maps[:1]) == maps[:1]


def test_the_other_scanner_is_noisier_and_shows_the_same_patient(label_map):
    """The external set differs in how it looks, not in what is true."""
    grid = template_grid(SIZE)
    usual, other = (draw_patient(0, 3, [label_map], grid, scanner) for scanner in (USUAL_SCANNER, OTHER_SCANNER))
    assert (usual.age_years, usual.idh, usual.kind) == (other.age_years, other.idh, other.kind)
    assert torch.equal(usual.tumour, other.tumour)
    assert not torch.equal(usual.volumes, other.volumes)
    assert OTHER_SCANNER.noise[0] > USUAL_SCANNER.noise[0]


def test_without_label_maps_one_sentence_says_what_is_missing(tmp_path):
    cohort = SyntheticCohort(pretrain=1, train=1, test=1, training_maps=1, test_maps=1, size=SIZE)
    says = r"needs 2 of SynthSeg's training label maps .*github\.com/BBillot/SynthSeg.* folder with --labelmaps"
    with pytest.raises(ManifestError, match=says):
        draw_cohort(cohort, tmp_path, tmp_path / "cache", tmp_path / "prepared")
    assert not (tmp_path / "cache").exists()


def test_label_maps_are_known_by_synthseg_s_own_names(tmp_path):
    """A head that lies there under both names is one: twice, it could be trained on and tested on."""
    for name in ("training_seg_02", "training_seg_01", "synthseg_training_seg_02", "subject03_seg"):
        (tmp_path / f"{name}.nii.gz").touch()
    names = [label_map_name(path) for path in label_map_files(tmp_path)]
    assert names == ["synthseg_training_seg_01", "synthseg_training_seg_02"]
    assert len(usable_label_maps(tmp_path, 2)) == 2
    with pytest.raises(ManifestError, match="The own pretraining needs 3 "):
        usable_label_maps(tmp_path, 3, "The own pretraining")


def test_open_manifest_is_by_person_with_ages_in_years(shared_data, tmp_path):
    table = read_manifest(write_open_manifest(shared_data, tmp_path / "open.csv"))
    assert not table["scan"].str.contains("/bad/").any()
    assert set(table["sequence"]) == set(SEQUENCES)
    of_age_folder = table[table["dataset"] == "ds002748"]
    assert len(of_age_folder) == of_age_folder["patient"].nunique() == 60
    assert of_age_folder["age_years"].between(19, 55).all()
    assert not table["scan"].str.contains("ds002748_sub-63_T1w").any() or (
        table["scan"].str.contains("sub-63").sum() == 1
    )  # the same scan lies in two folders
    assert table["age_years"].dropna().max() < 90
    with pytest.raises(ManifestError, match="--data"):
        write_open_manifest(tmp_path, tmp_path / "none.csv")
