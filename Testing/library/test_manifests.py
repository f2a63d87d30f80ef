"""Manifests are read quickly, and say what a slow plain reading of the same text says."""

from __future__ import annotations

import csv
import gc
import hashlib
import os
import random
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from BrainIACLib.batch.cases import _id, cases_of
from BrainIACLib.errors import ManifestError
from BrainIACLib.manifests import absolute_places, check_rows, read_manifest
from BrainIACLib.manifests.rows import Row, collecting_later
from BrainIACLib.scans.formats import SUFFIXES, suffix_of_name

SCANS = ("a.nii.gz", "./a.nii.gz", "b/../a.nii.gz", "b//c.nii", "b/c.nii", "/d/x.mha", "b/", "b", "O'Brien/é.nrrd", "")
PATIENTS = ("p1", "P1", "sub-p1", "p2", "M\u00fcller", "Mu\u0308ller", "", "'=1")
DATASETS = ("", "A", "B")
SEQUENCES = ("", "T1", "t1w", "T1 Gd", "nonsense")


def plain_problems(folder: Path, cells: list[dict[str, str]]) -> list[tuple[int, str]]:
    """As ``check_rows`` says it, row by row."""
    problems: list[tuple[int, str]] = []
    scans: dict[str, int] = {}
    people: dict[tuple[str, str], tuple[str, int]] = {}
    for line, row in enumerate(cells, 2):
        if not row["scan"]:
            problems.append((line, "scan is empty"))
        else:
            first = scans.setdefault(os.path.abspath(folder / row["scan"]), line)
            if first != line:
                problems.append((line, f"the scan '{row['scan']}' stands in line {first} already"))
        if row["patient"]:
            plain = unicodedata.normalize("NFC", row["patient"]).casefold().removeprefix("sub-")
            spelled, first = people.setdefault((row["dataset"], plain), (row["patient"], line))
            if spelled != row["patient"]:
                problems.append((line, f"the patient '{row['patient']}' is spelled '{spelled}' in line {first}"))
    return problems


@pytest.mark.parametrize("seed", range(20))
def test_every_problem_is_found_with_its_line_as_by_reading_row_by_row(seed, tmp_path):
    rng = random.Random(seed)
    cells = [
        {"scan": rng.choice(SCANS), "patient": rng.choice(PATIENTS), "dataset": rng.choice(DATASETS)} for _ in range(30)
    ]
    rows = [Row(line, os.path.join(tmp_path, row["scan"]), row) for line, row in enumerate(cells, 2)]
    expected = plain_problems(tmp_path, cells)
    assert check_rows(rows) == expected
    assert expected, "else the test shows nothing"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_rows_and_names_are_those_of_a_plain_reading(separator, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [["Scan", "patient", "sequence", "weight", "note "]]
    for number, scan in enumerate([*(name for name in SCANS if name), " spaced.nii ", "c/.hidden/.nii.gz", "x.NII.GZ"]):
        sequence = SEQUENCES[number % len(SEQUENCES)]
        lines.append([scan, f"p{number}", sequence, "1,5" if separator == ";" else "1.5", "'=1+1"])
    lines = [row for row in lines if row[0] not in ("./a.nii.gz", "b/../a.nii.gz", "b//c.nii", "b/")]  # files once each
    with Path("cohort.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=separator).writerows([*lines[:3], [""] * 5, *lines[3:]])
    rows, cases = read_manifest(Path("cohort.csv")), cases_of(Path("cohort.csv"))
    assert [row.line for row in rows] == [2, 3, *range(5, len(lines) + 2)]
    names = {"T1": "T1", "t1w": "T1", "T1 Gd": "T1CE", "nonsense": "nonsense", "": ""}
    for row, case, (scan, patient, sequence, _, _) in zip(rows, cases, lines[1:], strict=True):
        scan = scan.strip()
        assert row.path == Path(scan)
        assert case.path == os.path.abspath(scan)
        facts = {"scan": scan, "patient": patient, "sequence": names[sequence], "weight": "1.5", "note": "=1+1"}
        assert row.facts == case.facts == facts
        end = {"T1": "T1w", "T1CE": "ce-contrast_T1w"}.get(names[sequence], "MRI")
        name = Path(scan).name
        stem = name[: len(name) - len(plain_suffix(name))]
        taken = re.sub(r"[^A-Za-z0-9]", "", stem)[:24] + hashlib.sha256(scan.encode()).hexdigest()[:6]
        assert case.id == f"sub-{patient}/anat/sub-{patient}_acq-{taken}_{end}"


def plain_suffix(name: str) -> str:
    """The longest known one."""
    return max((known for known in SUFFIXES if name.lower().endswith(known)), key=len, default="")


@given(st.text(alphabet="ab./ éN", max_size=12), st.sampled_from(["", *SUFFIXES]))
def test_places_and_names_of_any_text_are_those_of_the_standard_library(text, end):
    scan = text + end
    assert absolute_places([Row(2, scan, {})]) == [os.path.abspath(scan)]
    name = Path(scan).name
    assert suffix_of_name(name) == plain_suffix(name)
    stem = re.sub(r"[^A-Za-z0-9]", "", name[: len(name) - len(plain_suffix(name))])[:24]
    assert f"_acq-{stem}{hashlib.sha256(scan.encode()).hexdigest()[:6]}_" in _id({"scan": scan, "patient": "p"})


def test_python_collects_garbage_again_after_reading_also_where_the_manifest_is_refused(tmp_path):
    (tmp_path / "cohort.csv").write_text("scan\na.nii\na.nii\n")
    with pytest.raises(ManifestError, match=r"line 3: the scan 'a\.nii' stands in line 2 already"):
        cases_of(tmp_path / "cohort.csv")
    assert gc.isenabled()
    gc.disable()
    try:
        with collecting_later():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
