"""A cohort is one reader, one line and its page: what docs/add/cohort.md says."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("pandera", reason="needs the 'training' extra")

from Training.cohorts.__main__ import READERS, main
from Training.cohorts.reading import Found, clinical_table, files_matching, number, one_row_each, remark
from Training.data.manifest import read_manifest

NAME = re.compile(r"(MY\d{3})_T1\.nii\.gz")


def read(folder, clinical=None):
    table = clinical_table(clinical, folder, ("participants.csv",), ("id", "age"))
    facts_of, contradicting = one_row_each(table, "id")
    rows = []
    for path, match in files_matching(folder, NAME, "my cohort"):
        facts = facts_of.get(match[1])
        labels = {} if facts is None else {"age_years": number(facts["age"])}
        rows.append({"scan": path, "patient": match[1], "dataset": "MY", "sequence": "T1", **labels})
    return Found(rows, remark(contradicting, "participants with contradicting rows (kept without labels)"))


def test_a_further_cohort_is_one_reader_and_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(READERS, "mine", read)
    for scan in ("MY001_T1", "MY002_T1", "MY003_T1", "MY001_T2"):
        (tmp_path / f"{scan}.nii.gz").touch()
    (tmp_path / "participants.csv").write_text("id,age\nMY001,61.5\nMY002,44\nMY002,45\n")
    out = tmp_path / "manifest.csv"
    assert main(["mine", "--folder", str(tmp_path), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "3 scans of 3 patients" in said
    assert "1 participants with contradicting rows" in said
    table = read_manifest(out).set_index("patient")
    assert table.loc["MY001", "age_years"] == 61.5
    assert table["age_years"].notna().sum() == 1
    with pytest.raises(SystemExit):  # its reader takes no crosswalk
        main(["mine", "--folder", str(tmp_path), "--out", str(out), "--crosswalk", str(out)])
