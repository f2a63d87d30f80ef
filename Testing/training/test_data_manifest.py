"""The manifest, splits by patient, overlaps and the inventory (P-01, P-02, C-04, C-08, C-09), and BIDS folders."""

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("pandera", reason="needs the 'training' extra")

from hypothesis import given, settings
from hypothesis import strategies as st

from BrainIACLib.errors import ManifestError
from Training.data.bids import manifest_of_bids
from Training.data.inventory import as_markdown, inventory
from Training.data.manifest import check_manifest, read_manifest
from Training.data.splits import overlaps, persons, refuse_overlaps, repeated_images, split_by_patient

HEADER = "scan,patient,dataset,sequence,age_years,role,idh,survival_months,event,site\n"


def written(folder, *lines):
    path = folder / "scans.csv"
    path.write_text(HEADER + "\n".join(lines) + "\n")
    (folder / "a.nii").touch()
    (folder / "b.nii").touch()
    return path


def test_a_good_manifest_keeps_ids_and_further_columns(tmp_path):
    path = written(tmp_path, "a.nii,0012,IXI,T1,3.5,test,1,12,0,007", "b.nii,0013,IXI,,,,,,,")
    table = read_manifest(path)
    assert table["patient"].tolist() == ["0012", "0013"]  # leading zeros stay
    assert table["site"].tolist() == ["007", ""]
    assert table["scan"].tolist() == [str(tmp_path / "a.nii"), str(tmp_path / "b.nii")]
    assert table.loc[0, "survival_months"] == 12
    assert np.isnan(table.loc[1, "age_years"])
    assert table["session"].tolist() == ["", ""]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["a.nii,p,d,T9,,,,,,"], "line 2: sequence is 'T9'"),
        (["a.nii,p,d,T1,,,,,,", "b.nii,,d,T1,,,,,,"], "line 3: patient is empty"),
        (["a.nii,p,d,T1,130,,,,,"], "line 2: age_years is '130.0', but must lie between 0 and 120"),
        (["a.nii,p,d,T1,old,,,,,"], "line 2: age_years is 'old', which is no number"),
        (["a.nii,p,d,T1,,boss,,,,"], "role is 'boss'"),
        (["a.nii,p,d,T1,,,2,,,"], "idh is '2.0', but must be 0 or 1"),
        (["a.nii,p,d,T1,,,,-3,1,"], "survival_months is '-3.0'"),
        (["a.nii,p,d,T1,,,,3,,"], "survival_months and event belong together"),
        (["a.nii,p,d,T1,,,,,,", "a.nii,q,d,T1,,,,,,"], "line 3: the scan 'a.nii' stands in line 2 already"),
        (["a.nii,p,d,T1,,train,,,,", "b.nii,p,d,T1,,test,,,,"], "one patient must not be in two roles"),
        (["c.nii,p,d,T1,,,,,,"], "c.nii' does not exist"),
        ([], "no rows"),
    ],
)
def test_a_bad_row_is_named(tmp_path, lines, told):
    with pytest.raises(ManifestError) as error:
        read_manifest(written(tmp_path, *lines))
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_unreadable_tables_are_refused(tmp_path):
    with pytest.raises(ManifestError, match="does not exist"):
        read_manifest(tmp_path / "none.csv")
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00scan")
    with pytest.raises(ManifestError, match="no text in UTF-8"):
        read_manifest(tmp_path / "x.csv")
    (tmp_path / "y.csv").write_text("scan,dataset\na,b\n")
    with pytest.raises(ManifestError, match="no column 'patient'"):
        read_manifest(tmp_path / "y.csv")


def cohort(patients, scans=2, **columns):
    rows = [
        {"scan": f"{p}-{s}", "patient": f"p{p}", "dataset": "d", "role": ""}
        for p in range(patients)
        for s in range(scans)
    ]
    return pd.DataFrame(rows).assign(**columns)


@settings(max_examples=25)
@given(patients=st.integers(3, 40), seed=st.integers(0, 5))
def test_all_scans_of_a_patient_get_one_role(patients, seed):
    """C-08: 671 scans of 630 patients must not be split by row."""
    table = cohort(patients, scans=3)
    shares = {"train": 0.7, "validation": 0.1, "test": 0.2}
    roles = split_by_patient(table, shares, seed)
    assert roles.groupby(table["patient"]).nunique().eq(1).all()
    counts = roles[::3].value_counts()
    for role, share in shares.items():
        assert abs(counts.get(role, 0) - share * patients) <= 1.5
    assert split_by_patient(table, shares, seed).equals(roles)


def test_classes_are_spread_evenly_over_the_roles():
    table = cohort(100, scans=1)
    table["idh"] = [int(n % 5 == 0) for n in range(100)]
    roles = split_by_patient(table, {"train": 0.5, "test": 0.5}, 1, stratify="idh")
    assert table["idh"][roles == "train"].sum() == 10


def test_a_person_under_two_names_is_one_person():
    """C-09: BraTS holds UPENN and UCSF cases under other ids."""
    table = cohort(4, scans=1, same_person_as=["", "p0", "", "p1"])
    names = persons(table)
    assert names[0] == names[1] == names[3] != names[2]
    table["role"] = ["pretrain", "", "test", "test"]
    (found,) = overlaps(table)
    assert (found.kind, found.first, found.second) == ("patient", 0, 3)


def test_the_same_image_under_two_names_is_found():
    """C-09, test idea 12 of the protocol."""
    table = cohort(3, scans=1, image_sha256=["a", "b", "a"], role=["pretrain", "pretrain", "test"])
    with pytest.raises(ManifestError, match="the same image is in the role pretrain and in the role test"):
        refuse_overlaps(table, "scans.csv")
    assert repeated_images(table) == [(0, 2)]
    refuse_overlaps(table.assign(role="test"), "scans.csv")


def test_the_inventory_counts_from_the_table():
    """P-01, C-04: sums are computed, never constants."""
    rows = {"dataset": ["a", "a", "b"], "patient": ["1", "1", "2"], "sequence": ["T1", "T2", "T1"]}
    table = pd.DataFrame({**rows, "role": "", "age_years": [20.0, 20.0, np.nan]})
    counted = inventory(table)
    assert counted["scans"].tolist() == [1, 1, 1, 3]
    assert counted.iloc[-1]["patients"] == 2
    assert counted.iloc[-1]["mean_age"] == "20.0"
    assert as_markdown(counted).count("\n") == 5


def test_a_bids_folder_becomes_a_manifest(tmp_path):
    for name in (
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_ce-gadolinium_T1w.nii.gz",
        "sub-02/ses-a/anat/sub-02_ses-a_acq-3d_FLAIR.nii.gz",
        "sub-02/ses-a/anat/sub-02_ses-a_T2w.nii",
        "sub-02/ses-a/anat/sub-02_ses-a_T1w.json",
        "sub-02/ses-a/func/sub-02_ses-a_bold.nii.gz",
    ):
        (tmp_path / "ds1" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "ds1" / name).touch()
    (tmp_path / "ds1/participants.tsv").write_text("participant_id\tage\tsex\nsub-01\t34.5\tF\nsub-02\t89+\tn/a\n")
    table = manifest_of_bids(tmp_path / "ds1", role="test").set_index("sequence")
    assert sorted(table.index) == ["FLAIR", "T1", "T1CE", "T2"]
    assert table.loc["T1CE", "patient"] == "ds1_sub-01"
    assert table.loc["T1", "age_years"] == 34.5
    assert np.isnan(table.loc["FLAIR", "age_years"])
    assert table.loc["FLAIR", "session"] == "ses-a"
    assert table.loc["FLAIR", "role"] == "test"
    with pytest.raises(ManifestError, match="is it a BIDS folder"):
        manifest_of_bids(tmp_path)
    pd.testing.assert_frame_equal(
        check_manifest(table.reset_index(), "again")[table.columns], table.reset_index(drop=True)
    )
