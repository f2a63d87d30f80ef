"""FreeSurfer's MGH and MGZ, against nibabel, which wrote them."""

import gzip

import nibabel
import numpy as np
import pytest
from scan_phantoms import phantom, refusal, same_in_space, values_of

from BrainIACLib.scans import read_scan


def write(path, voxels, affine=None):
    nibabel.save(nibabel.MGHImage(voxels, phantom().affine if affine is None else affine), path)
    return path


@pytest.mark.parametrize("name", ["orig.mgz", "orig.mgh", "orig.mgh.gz"])
@pytest.mark.parametrize("dtype", ["i2", "i4", "f4"])
def test_written_by_nibabel(tmp_path, name, dtype):
    path = write(tmp_path / name.replace(".mgh.gz", ".mgz"), phantom().voxels.astype(dtype)).rename(tmp_path / name)
    found = read_scan(path)
    assert same_in_space(found.image, phantom())
    assert (found.name, found.format, found.warnings) == ("orig", "MGH", ())


def test_one_frame_of_several(tmp_path):
    voxels = phantom().voxels.astype("i4")
    path = write(tmp_path / "f.mgz", np.stack([voxels, voxels + 1], -1))
    assert "holds 2 volumes" in refusal(path)
    assert np.array_equal(values_of(read_scan(path, frame=1).image), voxels + 1)


def test_short_damaged_and_other_files_are_refused(tmp_path):
    whole = write(tmp_path / "scan.mgz", phantom().voxels.astype("i4")).read_bytes()
    for content in (whole[: len(whole) // 2], whole[:-12] + bytes(12)):
        (tmp_path / "scan.mgz").write_bytes(content)
        assert "truncated or damaged" in refusal(tmp_path / "scan.mgz")
    (tmp_path / "short.mgh").write_bytes(gzip.decompress(whole)[:3000])
    assert "fewer voxels than its header says" in refusal(tmp_path / "short.mgh")
    for content in (b"Dear colleague, " * 50, gzip.compress(b"x"), b"\0" * 400):
        (tmp_path / "text.mgz").write_bytes(content)
        assert "is not an MGH image" in refusal(tmp_path / "text.mgz")
