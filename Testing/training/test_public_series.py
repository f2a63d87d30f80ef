"""The public series: their table, what is derived from them, and their folder."""

from __future__ import annotations

import hashlib
import math

import nibabel as nib
import numpy as np
import pytest

from BrainIACLib.errors import BrainIACError
from BrainIACLib.sequences import ALL_NAMES
from Training.starter.open_scans import open_scans
from Training.starter.public_series import (
    DERIVED,
    LEARNED,
    LISTS,
    diffusion,
    repository_of,
    source_of,
    table,
    trace,
    write_series,
)


@pytest.mark.parametrize(("number", "count"), [("0", 21), ("1", 47), ("2", 34)])
def test_a_list_names_its_files_with_source_commit_and_hash(number, count):
    rows = table(number)
    assert len({row["file"] for row in rows}) == len(rows) == count
    assert all(row["sequence"] in ("", *ALL_NAMES) for row in rows)
    assert all(row["sequence"] or row["note"] for row in rows)
    assert all(row["derived"] in DERIVED and len(row["sha256"]) == 64 for row in rows)
    assert all("@" in row["source"] and ":" in row["source"] and row["licence"] for row in rows)


def test_no_repository_stands_in_two_lists():
    """Else a list that nothing learned from would hold images of a list that something did."""
    repositories = [{repository_of(row) for row in table(number)} for number in LISTS]
    assert set(LISTS) - set(LEARNED) == {"2"}
    assert len(set.union(*repositories)) == sum(map(len, repositories))


def test_trace_and_diffusion_are_those_of_a_plain_loop():
    series = np.random.default_rng(0).uniform(2, 900, (3, 4, 5, 4))
    means, ratios = trace(series), diffusion(series)
    limit = np.percentile(series[..., 0], 60)
    for place in np.ndindex(3, 4, 5):
        first, *others = series[place]
        mean = math.prod(others) ** (1 / 3)
        assert means[place] == pytest.approx(mean)
        expected = min(max(math.log(first / mean), 0), 5) if first > limit else 0
        assert ratios[place] == pytest.approx(expected)


@pytest.fixture
def row(tmp_path):
    """A series of two volumes in a copy of a repository, and its row."""
    source = {"source": "somebody/some_data@0123456789ab:Ref/a.nii", "derived": "first volume"}
    path = source_of(source, tmp_path)
    path.parent.mkdir(parents=True)
    values = np.arange(2 * 3 * 4 * 2, dtype=np.int16).reshape(2, 3, 4, 2)
    nib.save(nib.Nifti1Image(values, np.diag([2.0, 2.0, 3.0, 1.0])), path)
    facts = {"file": "a.nii.gz", "sequence": "DWI-b0", "subject": "somebody", "note": "", "licence": "BSD-2-Clause"}
    return source | facts | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def test_the_folder_holds_what_the_table_derives_and_is_read_as_open_scans(row, tmp_path):
    write_series([row], tmp_path, tmp_path / "out")
    (scan,) = open_scans(tmp_path / "out", ("series",))
    written = nib.load(scan.path)
    assert np.array_equal(written.get_fdata(), np.arange(0, 48, 2).reshape(2, 3, 4))
    assert written.header.get_zooms() == (2, 2, 3)
    assert (scan.sequence, scan.whole_head) == ("DWI-b0", True)


def test_a_file_that_is_missing_or_another_is_named(row, tmp_path):
    path = source_of(row, tmp_path)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(BrainIACError, match="check out that commit"):
        write_series([row], tmp_path, tmp_path / "out")
    path.unlink()
    with pytest.raises(BrainIACError, match="is not there"):
        write_series([row], tmp_path, tmp_path / "out")
    assert not (tmp_path / "out" / "MANIFEST.csv").exists()
