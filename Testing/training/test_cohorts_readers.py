"""Readers of public cohorts on fake trees that are laid out and named as the owners do it (P-24, P-29, P-34, P-37)."""

import re
from pathlib import Path

import pytest

pytest.importorskip("pandera", reason="needs the 'training' extra")

from BrainIACLib.errors import ManifestError
from Training.cohorts import abcd, brats2023, ixi, plain, tcga_gbm, ucsf_pdgm, upenn_gbm
from Training.cohorts.__main__ import READERS, main
from Training.cohorts.reading import Found, write_manifest
from Training.data.manifest import read_manifest
from Training.data.splits import persons, refuse_overlaps


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def by_scan(table) -> dict:
    return {Path(row["scan"]).name: row for row in table.to_dict("records")}


def test_brats_official_split_has_219_hold_out_patients(tmp_path):
    """C-04, test idea 10: 5,880 rows; 219 x 4 validation scans are the hold-out."""
    for number in range(1470):
        kind = "Validation" if number >= 1251 else "Training"
        case = f"BraTS-GLI-{number:05d}-000"
        names = [
            f"ASNR-MICCAI-BraTS2023-GLI-Challenge-{kind}Data/{case}/{case}-{s}.nii.gz"
            for s in ("t1n", "t1c", "t2w", "t2f")
        ]
        touch(tmp_path, *names, *([names[0].replace("t1n", "seg")] if kind == "Training" else []))
    found = brats2023.read(tmp_path)
    assert len(found.rows) == 5880
    held_out = [row for row in found.rows if row["role"] == "test"]
    assert len(held_out) == 876
    assert len({row["patient"] for row in held_out}) == 219
    assert {row["sequence"] for row in held_out} == {"T1", "T2", "FLAIR", "T1CE"}
    assert all(row["role"] == "" for row in brats2023.read(tmp_path, official_split=False).rows)


def test_brats_time_points_are_sessions_of_one_patient(tmp_path):
    touch(tmp_path, "BraTS-GLI-00009-000/BraTS-GLI-00009-000-t1n.nii.gz")
    touch(tmp_path, "BraTS-GLI-00009-001/BraTS-GLI-00009-001-t1c.nii.gz")
    found = brats2023.read(tmp_path)
    assert [(row["patient"], row["session"], row["sequence"]) for row in found.rows] == [
        ("BraTS-GLI-00009", "000", "T1"),
        ("BraTS-GLI-00009", "001", "T1CE"),
    ]
    assert "no hold-out" in found.remarks[0]


UCSF_TABLE = """ID,Sex,Age at MRI,WHO CNS Grade,IDH,1-dead 0-alive,OS,BraTS21 ID
UCSF-PDGM-004,M,66,4,wildtype,1,1303,BraTS2021_00097
UCSF-PDGM-005,F,41,3,IDH1 p.R132H,0,900,
UCSF-PDGM-0433_FU007d,M,60,4,mutated (NOS),1,100,
UCSF-PDGM-007,F,50,2,unknown,,,
"""


def test_ucsf_idh_polarity_follow_ups_and_overlap_with_brats(tmp_path):
    """C-06: wild type is 0. Early versions call a follow-up a patient (315 is 433). C-09: BraTS has the same person."""
    (tmp_path / "UCSF-PDGM-metadata_v5.csv").write_text(UCSF_TABLE)
    for exam in ("UCSF-PDGM-0004", "UCSF-PDGM-0005", "UCSF-PDGM-0315", "UCSF-PDGM-0007", "UCSF-PDGM-0999"):
        kinds = ("T1", "T1_bias", "T1c", "T2", "FLAIR", "FLAIR_bias", "tumor_segmentation")
        touch(tmp_path, *(f"UCSF-PDGM-v5/{exam}_nifti/{exam}_{kind}.nii.gz" for kind in kinds))
    found = ucsf_pdgm.read(tmp_path)
    table = write_manifest(found, tmp_path / "out" / "manifest.csv")
    scans = by_scan(table)
    assert len(table) == 20  # neither _bias nor segmentations
    wild, mutant, follow_up = (scans[f"UCSF-PDGM-{n}_T1c.nii.gz"] for n in ("0004", "0005", "0315"))
    assert (wild["idh"], mutant["idh"], follow_up["idh"]) == (0, 1, 1)
    assert wild["sequence"] == "T1CE"
    assert wild["survival_months"] == pytest.approx(1303 / 30.4375)
    assert (wild["event"], mutant["event"]) == (1, 0)
    assert (follow_up["patient"], follow_up["session"]) == ("UCSF-PDGM-0433", "FU007d")
    assert wild["same_person_as"] == "BraTS2021_00097"
    assert scans["UCSF-PDGM-0007_T1.nii.gz"]["idh"] != scans["UCSF-PDGM-0007_T1.nii.gz"]["idh"]  # NaN
    assert any(text.startswith("1 exams without a row") for text in found.remarks)


UPENN_TABLE = """ID,Gender,Age_at_scan_years,Survival_from_surgery_days_UPDATED,Survival_Status,Survival_Censor,IDH1
UPENN-GBM-00001_11,F,51.75,365,Deceased,1,Wildtype
UPENN-GBM-00001_21,F,52.5,365,Deceased,1,Wildtype
UPENN-GBM-00002_11,M,38.7,Not Available,Not Available,Not Available,NOS/NEC
UPENN-GBM-00003_11,M,60.1,700,Alive,0,Mutated
"""


def test_upenn_follow_ups_belong_to_their_patient(tmp_path):
    """C-08: 671 scans are of 630 patients. What is "Not Available" stays unknown."""
    clinical = tmp_path / "UPENN-GBM_clinical_info_v2.1.csv"
    clinical.write_text(UPENN_TABLE)
    for exam in ("00001_11", "00001_21", "00002_11", "00003_11"):
        stem = f"NIfTI-files/images_structural/UPENN-GBM-{exam}/UPENN-GBM-{exam}"
        touch(tmp_path, *(f"{stem}_{kind}.nii.gz" for kind in ("T1", "T1GD", "T2", "FLAIR")))
        touch(tmp_path, f"NIfTI-files/images_structural_unstripped/UPENN-GBM-{exam}_T1_unstripped.nii.gz")
    found = upenn_gbm.read(tmp_path)
    table = write_manifest(found, tmp_path / "manifest.csv")
    assert len(table) == 16
    assert table.groupby("patient")["session"].nunique().to_dict() == {
        "UPENN-GBM-00001": 2,
        "UPENN-GBM-00002": 1,
        "UPENN-GBM-00003": 1,
    }
    scans = by_scan(table)
    assert scans["UPENN-GBM-00003_11_T1GD.nii.gz"]["event"] == 0
    assert scans["UPENN-GBM-00003_11_T1GD.nii.gz"]["idh"] == 1
    unknown = table[table["patient"] == "UPENN-GBM-00002"]
    assert unknown[["survival_months", "event", "idh"]].isna().all(axis=None)
    assert "1 exams without a known survival" in found.remarks


@pytest.mark.parametrize("new_names", [False, True])
def test_tcga_reads_old_and_new_gdc_tables(tmp_path, new_names):
    old = ["case_submitter_id", "vital_status", "days_to_death", "days_to_last_follow_up", "age_at_index"]
    new = ["cases.submitter_id", "demographic.vital_status", "demographic.days_to_death"]
    new += ["diagnoses.days_to_last_follow_up", "demographic.age_at_index"]
    rows = ["TCGA-02-0003\tDead\t144\t'--\t50", "TCGA-02-0003\tDead\t144\t'--\t50"]  # one row a treatment
    rows += ["TCGA-02-0006\tAlive\t'--\t558\t56", "TCGA-02-0009\tNot Reported\t'--\t'--\t61"]
    (tmp_path / "clinical.tsv").write_text("\n".join(["\t".join(new if new_names else old), *rows]) + "\n")
    for patient, date in (
        ("TCGA-02-0003", "1997.06.08"),
        ("TCGA-02-0006", "1996.08.23"),
        ("TCGA-02-0009", "1997.06.14"),
    ):
        stem = f"Pre-operative_TCGA_GBM_NIfTI_and_Segmentations/{patient}/{patient}_{date}"
        touch(tmp_path, *(f"{stem}_{kind}.nii.gz" for kind in ("t1", "t1Gd", "t2", "flair", "GlistrBoost")))
    found = tcga_gbm.read(tmp_path)
    table = write_manifest(found, tmp_path / "manifest.csv")
    assert len(table) == 12
    first = table.groupby("patient").first()
    assert first.loc["TCGA-02-0003", "survival_months"] == pytest.approx(144 / 30.4375)
    assert first["event"].to_dict()["TCGA-02-0006"] == 0
    assert "1 patients without a known survival" in found.remarks


TCIA_NAMES = """Data Collection (as on TCIA+additional),Site ID,PatientID on TCIA Radiology Portal,BraTS2021 ID
UPENN-GBM,1,UPENN-GBM-00003_11,BraTS2021_00041
TCGA-GBM,4,TCGA-02-0003,BraTS2021_00500
TCGA-GBM,4,TCGA-02-0003,BraTS2021_00501
TCGA-GBM,4,TCGA-02-0006,00169
UPENN-GBM_Additional,1,new-not-previously-in-TCIA,BraTS2021_00042
"""
BRATS_NAMES = """BraTS2023,BraTS2021,BraTS2020,Cohort Name (if publicly available)
BraTS-GLI-00007-000,BraTS2021_00041,,
BraTS-GLI-00009-000,BraTS2021_00009,,TCGA-GBM
BraTS-GLI-00009-001,BraTS2021_00501,,TCGA-GBM
BraTS-GLI-00097-000,,,
"""


@pytest.fixture
def four_cohorts(tmp_path) -> Path:
    """One patient of each collection who is also in BraTS under another name, and TCIA's table of names."""
    cases = ("00007-000", "00009-000", "00009-001", "00097-000")
    touch(tmp_path, *(f"brats/BraTS-GLI-{case}/BraTS-GLI-{case}-t1n.nii.gz" for case in cases))
    touch(tmp_path, "upenn/UPENN-GBM-00003_11_T1.nii.gz", "tcga/TCGA-02-0003_1997.06.08_t1.nii.gz")
    touch(tmp_path, "ucsf/UCSF-PDGM-0004_T1.nii.gz")
    (tmp_path / "upenn" / "UPENN-GBM_clinical_info_v2.1.csv").write_text(UPENN_TABLE)
    (tmp_path / "ucsf" / "UCSF-PDGM-metadata_v5.csv").write_text(UCSF_TABLE)
    head = "case_submitter_id\tvital_status\tdays_to_death\tdays_to_last_follow_up\tage_at_index\n"
    (tmp_path / "tcga" / "clinical.tsv").write_text(head + "TCGA-02-0003\tDead\t144\t'--\t50\n")
    (tmp_path / "names.csv").write_text(TCIA_NAMES)
    return tmp_path


def people(root: Path, brats_names: Path | None, tcia_names: Path | None) -> tuple[dict[str, str], tuple[str, ...]]:
    """(patient -> person, all remarks) of the four manifests read as one table."""
    found = [
        brats2023.read(root / "brats", names=brats_names, official_split=False),
        upenn_gbm.read(root / "upenn", names=tcia_names),
        tcga_gbm.read(root / "tcga", names=tcia_names),
        ucsf_pdgm.read(root / "ucsf"),
    ]
    table = write_manifest(Found([row for one in found for row in one.rows], ()), root / "all.csv")
    return dict(zip(table["patient"], persons(table), strict=True)), sum((one.remarks for one in found), ())


def test_crosswalks_name_the_same_person_in_two_cohorts(four_cohorts):
    """C-09: UPENN and TCGA by TCIA's table, of which a patient may have two rows; BraTS 2023 by its own table."""
    (four_cohorts / "brats" / "BraTS2023_2017_GLI_Mapping.csv").write_text(BRATS_NAMES)
    person, remarks = people(four_cohorts, None, four_cohorts / "names.csv")
    assert person["UPENN-GBM-00003"] == person["BraTS-GLI-00007"]
    assert person["TCGA-02-0003"] == person["BraTS-GLI-00009"]  # by its second time point
    assert person["UCSF-PDGM-0004"] != person["BraTS-GLI-00097"]  # the table knows that the number is another's
    assert len(set(person.values())) == 4
    assert not any("crosswalk" in text or "same number" in text for text in remarks)


def test_without_crosswalks_what_is_assumed_or_unknown_is_said(four_cohorts):
    person, remarks = people(four_cohorts, None, None)
    assert person["UCSF-PDGM-0004"] == person["BraTS-GLI-00097"]
    assert person["UPENN-GBM-00003"] != person["BraTS-GLI-00007"]
    assert sum("no crosswalk" in text for text in remarks) == 2
    assert any(text.startswith("3 patients were taken for those with the same number") for text in remarks)
    table = read_manifest(four_cohorts / "all.csv")
    with pytest.raises(ManifestError, match="leaks"):
        refuse_overlaps(table.assign(role=["test" if "BraTS" in name else "train" for name in table["dataset"]]), "all")


def test_command_takes_a_crosswalk_where_there_is_one(four_cohorts, capsys):
    out = str(four_cohorts / "upenn.csv")
    common = ["--folder", str(four_cohorts / "upenn"), "--out", out, "--crosswalk"]
    assert main(["upenn_gbm", *common, str(four_cohorts / "names.csv")]) == 0
    assert read_manifest(out)["same_person_as"].tolist() == ["BraTS2021_00041"]
    assert main(["upenn_gbm", *common, str(four_cohorts / "tcga" / "clinical.tsv")]) == 1
    assert "has no column 'PatientID on TCIA Radiology Portal'" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["ixi", *common, str(four_cohorts / "names.csv")])
    assert "there is no crosswalk for ixi" in capsys.readouterr().err


def test_ixi_leaves_contradicting_ages_out(tmp_path):
    (tmp_path / "IXI.csv").write_text(
        'IXI_ID,"SEX_ID (1=m, 2=f)",AGE\n1,1,35.80\n2,2,35.8\n12,1,38.78\n12,1,40.1\n13,1,\n'
    )
    names = ("IXI002-Guys-0828-T1", "IXI012-HH-1211-T1", "IXI013-HH-1212-T2", "IXI013-HH-1212-PD", "IXI500-IOP-1000-T1")
    touch(tmp_path, *(f"IXI-T1/{name}.nii.gz" for name in names))
    found = ixi.read(tmp_path)
    table = write_manifest(found, tmp_path / "manifest.csv")
    assert table["patient"].tolist() == ["IXI002", "IXI012", "IXI013", "IXI500"]
    assert table["age_years"].notna().tolist() == [True, False, False, False]
    assert len(found.remarks) == 2


@pytest.mark.parametrize("release", [4, 5])
def test_abcd_ages_are_months_in_the_table_and_years_in_the_manifest(tmp_path, release):
    """U-16. Release 4 has a second line of descriptions."""
    lines = ["src_subject_id,eventname,interview_age", "NDAR_INV003RTV85,baseline_year_1_arm_1,131"]
    lines += ["NDAR_INV003RTV85,2_year_follow_up_y_arm_1,156"]
    if release == 4:
        lines.insert(1, "Subject ID,The event name,Age in months")
        (tmp_path / "abcd_lt01.txt").write_text("\n".join(lines).replace(",", "\t") + "\n")
    else:
        (tmp_path / "abcd_y_lt.csv").write_text("\n".join(lines) + "\n")
    subject = "sub-NDARINV003RTV85"
    for session, run in (("baselineYear1Arm1", "run-01_"), ("2YearFollowUpYArm1", "")):
        touch(tmp_path, f"{subject}/ses-{session}/anat/{subject}_ses-{session}_{run}T1w.nii.gz")
    table = write_manifest(abcd.read(tmp_path), tmp_path / "manifest.csv")
    assert sorted(table["age_years"]) == pytest.approx([131 / 12, 13.0])
    assert set(table["patient"]) == {"NDARINV003RTV85"}


def test_plain_takes_the_released_forms_but_no_unexplained_label(tmp_path):
    """U-17: ids keep their leading zeros; several scans are joined by "-"."""
    touch(tmp_path, "images/00001_t2f.nii.gz", "images/00001_t1c.nii.gz")
    (tmp_path / "v1.csv").write_text("pat_id,scandate,label\n00001,t2f-t1c,1\n")
    found = plain.read(tmp_path / "images", tmp_path / "v1.csv")
    assert [(row["patient"], row["sequence"]) for row in found.rows] == [("00001", "FLAIR"), ("00001", "T1CE")]
    assert "1 labels were not taken over" in found.remarks[0]
    manifest = write_manifest(found, tmp_path / "manifest.csv")
    again = write_manifest(plain.read(tmp_path, tmp_path / "manifest.csv"), tmp_path / "again.csv")
    assert again["scan"].tolist() == manifest["scan"].tolist()


def test_what_is_missing_is_said_in_one_sentence(tmp_path):
    with pytest.raises(ManifestError, match="There is no folder"):
        brats2023.read(tmp_path / "nowhere")
    with pytest.raises(ManifestError, match="holds no scan of BraTS 2023"):
        brats2023.read(tmp_path)
    with pytest.raises(ManifestError, match="--clinical"):
        ixi.read(tmp_path)
    (tmp_path / "IXI.csv").write_text("IXI,years\n1,2\n")
    with pytest.raises(ManifestError, match="has no column 'IXI_ID'"):
        ixi.read(tmp_path)


def test_command_writes_a_manifest_or_nothing(tmp_path, capsys):
    touch(tmp_path, "data/BraTS-GLI-00009-000/BraTS-GLI-00009-000-t1n.nii.gz")
    out = tmp_path / "manifest.csv"
    assert main(["brats2023", "--folder", str(tmp_path / "data"), "--out", str(out)]) == 0
    assert "1 scans of 1 patients" in capsys.readouterr().out
    assert main(["ixi", "--folder", str(tmp_path / "data"), "--out", str(tmp_path / "no.csv")]) == 1
    assert not (tmp_path / "no.csv").exists()


def test_every_cohort_has_its_page():
    """One page each: access, license, what it is for."""
    folder = Path(plain.__file__).parent
    for name in (*READERS, "synthetic", "open"):
        text = (folder / f"{name}.md").read_text(encoding="utf-8")
        for part in ("## What it is for", "## Access", "## License"):
            assert part in text, f"{name}.md lacks '{part}'"
        assert not re.search(r"/(work|tmp|home)/", text)
