"""The bundled volumes and brain age: intact, as their training says, and on one real scan that was not trained on."""

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("scipy", reason="needs the 'training' extra")

from BrainIACLib.checkpoints.installed import InstalledModel, load_model
from BrainIACLib.contracts import read_contract
from BrainIACLib.predictor import Predictor
from BrainIACLib.resources import resource
from BrainIACLib.scans import read_scan
from BrainIACLib.structures import LOOSE, MEASURED, NOT_COMPARED
from BrainIACLib.volumes.measurement import SMALLEST_CERTAINTY, VolumeMeter
from BrainIACLib.volumes.percentiles import read_norms
from Training.starter.age_norms import LEAST_R
from Training.starter.anatomy.contract import anatomy_encoder_contract
from Training.starter.anatomy.real_scans import LABELLED_HELD_OUT, is_trained_on
from Training.starter.anatomy.reference import dlmuse_volumes
from Training.starter.anatomy.views import SEQUENCE_STUDY

VOLUMES, AGE = (resource("Models", name) for name in ("structure-volumes", "structure-volumes-age"))
PERSON = "IXI048-HH-1326"


def test_the_contract_says_how_training_made_its_input():
    shipped = read_contract(VOLUMES).encoder
    assert shipped == anatomy_encoder_contract(shipped.sha256)


def test_the_weights_are_intact_and_small():
    for folder in (VOLUMES, AGE):
        load_model(InstalledModel(folder, read_contract(folder)))  # checks the sha256
    assert sum(path.stat().st_size for path in VOLUMES.iterdir()) < 16e6


def test_no_person_of_the_evaluation_was_trained_on():
    record = json.loads((VOLUMES / "training.json").read_text(encoding="utf-8"))
    seen = {*record["real_scans_with_volumes"], *record["real_scans_with_label_maps"]}
    assert all(is_trained_on(person) for person in seen)
    assert all(person.startswith(SEQUENCE_STUDY) for person in record["real_scans_of_several_sequences"])
    assert not any(person in seen for person in LABELLED_HELD_OUT)


def test_the_percentiles_belong_to_the_network_and_rise_with_its_shares():
    norms = read_norms(VOLUMES, read_contract(VOLUMES).encoder.sha256)
    assert "CC BY-SA" in norms.licence
    rows = (VOLUMES / "percentiles.md").read_text(encoding="utf-8").splitlines()
    given = {row.split("|")[1].strip() for row in rows if "| yes |" in row}
    assert set(norms.curves) == given
    assert norms.ages[1] <= 80  # two persons are older
    rows = (VOLUMES / "evaluation.md").read_text(encoding="utf-8").split("## Against DLMUSE's label maps")[0]
    cells = [line.split("|") for line in rows.splitlines() if line.startswith("| ")]
    followed = {row[1].strip() for row in cells if row[3].strip()[:1] == "0" and float(row[3]) >= LEAST_R}
    assert given <= followed  # r of shares of persons that were not trained on
    small, large = (norms.percentile("ventricles", share, 70.0) for share in (0.01, 0.06))
    assert 0 <= small < 20 < 80 < large <= 100  # 1 and 6 % of the intracranial volume, at 70 years
    young, old = (norms.percentile("ventricles", 0.025, age) for age in (30.0, 75.0))
    assert young > old  # ventricles grow with age


def test_the_head_of_age_reads_the_encoder_that_is_shipped():
    assert read_contract(AGE).encoder.sha256 == read_contract(VOLUMES).encoder.sha256
    evaluation = json.loads((AGE / "evaluation.json").read_text(encoding="utf-8"))
    assert evaluation["passes"]
    assert read_contract(AGE).head.conformal == evaluation["interval"]["half width"]


def test_a_real_scan_that_was_not_trained_on_is_measured_like_dlmuse(shared_data: Path):
    path = shared_data / "scans" / f"{PERSON}_T1w_2mm.nii.gz"
    if not path.is_file():
        pytest.skip(f"needs the scan of {PERSON}, which is not here")
    assert not is_trained_on(PERSON)
    predictor = Predictor("cpu", [resource("Models")])
    standardised = predictor.set_study({"scan": read_scan(path)})["scan"]
    found = VolumeMeter(folders=[resource("Models")]).measure(standardised)
    ml = {volume.structure: volume.ml for volume in found.volumes}
    reference = dlmuse_volumes(shared_data)[PERSON]
    for name, within in (("lateral_ventricles", 0.4), ("thalamus", 0.15), ("cerebellar_cortex", 0.2)):
        assert ml[name] == pytest.approx(reference[name], rel=within)
    assert found.intracranial_ml == pytest.approx(reference["intracranial"], rel=0.12)
    answer = predictor.predict("age", {"T1": "scan"})
    interval = answer.trust.prediction_interval
    assert interval.low < 50.65 < interval.high  # years, as IXI gives it; the head was fitted on this person too
    assert answer.trust.drivers is not None


def test_the_structures_that_are_marked_as_loose_are_those_of_the_evaluation():
    rows = (VOLUMES / "evaluation.md").read_text(encoding="utf-8").split("## Against DLMUSE's label maps")[0]
    names = {structure.name for structure in MEASURED}
    agreement = {
        cells[1].strip().replace(" ", "_"): float(cells[3].strip(" *"))
        for cells in (line.split("|") for line in rows.splitlines() if line.startswith("| "))
        if cells[3].strip(" *")[:1] == "0"
    }
    compared = {name for name in agreement if name in names}
    assert names - compared == set(NOT_COMPARED)
    assert {name for name in compared if agreement[name] < 0.5} == set(LOOSE) - set(NOT_COMPARED)


def test_the_certainty_that_warns_lies_below_that_of_nearly_all_open_t1_scans():
    rows = (VOLUMES / "evaluation.md").read_text(encoding="utf-8").split("## Certainty")[1].splitlines()
    assert f"Below {SMALLEST_CERTAINTY:.2f} the library warns." in rows
    least, low = next((float(cell) for cell in row.split("|")[3:5]) for row in rows if row.startswith("| T1 |"))
    assert least < SMALLEST_CERTAINTY < low


def test_the_card_of_age_says_what_was_measured():
    card = (AGE / "card.md").read_text(encoding="utf-8")
    measured = json.loads((AGE / "evaluation.json").read_text(encoding="utf-8"))
    for name, found in measured["across studies"].items():
        row = next(line for line in card.splitlines() if line.startswith(f"| {name} | {found['persons']}"))
        numbers = [float(number) for number in re.findall(r"-?\d+\.\d+", row.replace("+", ""))]
        keys = ("MAE", "bias", "MAE of the constant", "MAE of their own mean", "r", "slope")
        assert numbers == pytest.approx([found[key] for key in keys], abs=0.051)
    assert f"+-{measured['interval']['half width']} years" in card
    assert f"**{measured['interval']['coverage of other studies']:.0%}**".replace("%", " %") in card
    contract = read_contract(AGE).head
    assert contract.training_range == contract.training_age_range
    assert f"of {contract.training_range[0]:.0f} to {contract.training_range[1]:.0f} years" in card
    assert contract.conformal_measured == measured["interval"]["coverage of other studies"]
