"""DICOM: geometry against what was written and against dcm2niix, missing and doubled slices, frames, other objects."""

import json
import subprocess
import sys
import time
import zipfile

import dcm2niix
import numpy as np
import pydicom
import pydicom.fileset
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid
from scan_phantoms import (
    IDENTITY_WORDS,
    OBLIQUE,
    Phantom,
    matrix_of,
    mr_header,
    phantom,
    refusal,
    same_in_space,
    values_of,
    write_enhanced,
    write_series,
)

from BrainIACLib.scans import dicom_jpeg, dicom_series, list_series, read_scan
from BrainIACLib.scans.dicom_stored import Undecodable
from BrainIACLib.scans.grid import largest_distance
from BrainIACLib.scans.nifti import read_nifti

SHUFFLED = [7, 0, 3, 9, 1, 8, 2, 6, 5, 4]
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@pytest.mark.parametrize("direction", [np.eye(3), OBLIQUE, np.eye(3)[:, [1, 2, 0]], np.diag([-1.0, -1.0, 1.0])])
def test_slices_are_sorted_by_position_not_by_name(tmp_path, direction):
    scan = phantom(direction=direction)
    write_series(tmp_path / "scan" / "deep" / "down", scan, SHUFFLED)
    (tmp_path / "scan" / "readme.txt").write_text("not DICOM")
    found = read_scan(tmp_path / "scan")
    assert largest_distance(matrix_of(found.image), scan.matrix, scan.voxels.shape) < 1e-6
    assert np.array_equal(values_of(found.image), scan.voxels)
    assert (found.format, found.modality, found.name, found.warnings) == ("DICOM", "MR", "scan", ())


def test_enhanced_frames_are_placed_by_their_own_groups(tmp_path):
    """SimpleITK alone takes the frames in their stored order and, here, a spacing of 1 mm."""
    path = write_enhanced(tmp_path / "scan.dcm", phantom(), SHUFFLED)
    assert not same_in_space(sitk.ReadImage(str(path)), phantom())
    found = read_scan(path)
    assert largest_distance(matrix_of(found.image), phantom().matrix, phantom().voxels.shape) < 1e-6
    assert np.array_equal(values_of(found.image), phantom().voxels)
    assert found.warnings == ()


@pytest.mark.parametrize("write", ["classic", "enhanced"])
def test_geometry_is_that_of_dcm2niix(tmp_path, write):
    if write == "classic":
        write_series(tmp_path / "in", phantom(), SHUFFLED)
    else:
        (tmp_path / "in").mkdir()
        write_enhanced(tmp_path / "in" / "scan.dcm", phantom())
    (tmp_path / "out").mkdir()
    command = [dcm2niix.bin, "-b", "n", "-f", "scan", "-o", tmp_path / "out", tmp_path / "in"]
    subprocess.run(command, check=True, capture_output=True)
    found = read_scan(tmp_path / "in").image
    reference = Phantom(values_of(found), matrix_of(found)[:3, :3], matrix_of(found)[:3, 3])
    assert same_in_space(read_nifti(tmp_path / "out" / "scan.nii", None).image, reference)


@pytest.mark.parametrize("syntax", ["native", "rle"])
def test_every_enhanced_frame_has_its_own_rescale(tmp_path, syntax):
    """GDCM uses one for all frames."""
    rescale = [(1.5 + 0.25 * k, 3.0 * k) for k in range(10)]
    path = write_enhanced(tmp_path / "scan.dcm", phantom(), SHUFFLED, rescale)
    if syntax == "rle":
        dataset = pydicom.dcmread(path)
        dataset.compress(pydicom.uid.RLELossless)
        dataset.save_as(path)
    expected = phantom().voxels.astype(float)
    for number, k in enumerate(SHUFFLED):
        expected[:, :, k] = expected[:, :, k] * rescale[number][0] + rescale[number][1]
    np.testing.assert_allclose(values_of(read_scan(path).image), expected, rtol=1e-6)


def test_rescale_may_differ_from_slice_to_slice(tmp_path):
    def change(header, k):
        header.RescaleSlope, header.RescaleIntercept = str(1 + 0.5 * k), str(-3 * k)

    write_series(tmp_path / "scan", phantom(), change=change)
    expected = phantom().voxels * (1 + 0.5 * np.arange(10)) - 3.0 * np.arange(10)
    np.testing.assert_allclose(values_of(read_scan(tmp_path / "scan").image), expected, rtol=1e-6)


def test_monochrome1_is_turned_so_that_bright_is_large(tmp_path):
    dark_is_large = Phantom(65535 - phantom().voxels, phantom().axes, phantom().origin)
    write_series(tmp_path / "scan", dark_is_large, PhotometricInterpretation="MONOCHROME1")
    assert same_in_space(read_scan(tmp_path / "scan").image, phantom())


def test_signed_pixels(tmp_path):
    signed = Phantom((phantom().voxels.astype(int) - 500).astype("i2"), phantom().axes, phantom().origin)
    write_series(tmp_path / "scan", signed, PixelRepresentation=1)
    assert same_in_space(read_scan(tmp_path / "scan").image, signed)


def compress(file, compression, folder):
    """RLE by pydicom; JPEG 2000 and lossless JPEG by GDCM, whose pixels are put back under the right header."""
    dataset = pydicom.dcmread(file)
    if compression == "rle":
        dataset.compress(pydicom.uid.RLELossless)
    else:
        writer = sitk.ImageFileWriter()
        writer.SetFileName(str(folder / "packed.dcm"))
        writer.SetUseCompression(True)
        writer.SetCompressor(compression)
        writer.Execute(sitk.GetImageFromArray(dataset.pixel_array[None]))
        packed = pydicom.dcmread(folder / "packed.dcm")
        dataset.PixelData, dataset["PixelData"].VR = packed.PixelData, "OB"
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = packed.file_meta.TransferSyntaxUID
        assert dataset.file_meta.TransferSyntaxUID.is_compressed
    dataset.save_as(file)


@pytest.mark.parametrize("compression", ["rle", "JPEG2000", "JPEG"])
def test_lossless_compressions_are_read_and_cut_ones_refused(tmp_path, compression):
    """A cut frame is not handed on to dcm2niix, which would read on over its end."""
    files = write_series(tmp_path / "scan", phantom())
    for file in files:
        compress(file, compression, tmp_path)
    assert same_in_space(read_scan(tmp_path / "scan").image, phantom())
    dataset = pydicom.dcmread(files[3])
    frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
    dataset.PixelData = pydicom.encaps.encapsulate([frame[: len(frame) * 2 // 3]])
    dataset.save_as(files[3])
    assert "fewer pixels than its header says (the one with instance number 4)" in refusal(tmp_path / "scan")


def test_a_decoder_that_dies_does_not_end_the_process_that_asks(tmp_path, monkeypatch):
    files = write_series(tmp_path / "scan", phantom())
    for file in files:
        compress(file, "JPEG", tmp_path)
    monkeypatch.setattr(dicom_jpeg.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], -11))
    monkeypatch.setitem(sys.modules, "dcm2niix", None)
    assert "pip install dcm2niix" in refusal(tmp_path / "scan")


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("write", ["classic", "enhanced"])
def test_short_pixels_are_refused(tmp_path, kept, write):
    """ITK fills them up with what memory held."""

    def cut(file):
        dataset = pydicom.dcmread(file)
        dataset.PixelData = dataset.PixelData[: int(kept * len(dataset.PixelData)) // 2 * 2]
        dataset.save_as(file)

    if write == "classic":
        cut(write_series(tmp_path / "scan", phantom())[4])
        assert "fewer pixels than its header says" in refusal(tmp_path / "scan")
    else:
        path = write_enhanced(tmp_path / "scan.dcm", phantom())
        cut(path)
        assert "fewer pixels than its header says" in refusal(path)


def test_pixels_beyond_those_of_the_header_are_said(tmp_path):
    path = write_enhanced(tmp_path / "scan.dcm", phantom())
    dataset = pydicom.dcmread(path)
    dataset.PixelData += bytes(500)
    dataset.save_as(path)
    assert "500 bytes of pixels more" in read_scan(path).warnings[0]


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize(
    ("allocated", "stored", "high"), [(8, 8, 7), (16, 12, 11), (16, 12, 15), (16, 16, 15), (32, 32, 31)]
)
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"])
def test_stored_bits_are_those_that_pydicom_reads(tmp_path, signed, allocated, stored, high, syntax):
    scan = phantom()
    limit = 2 ** min(stored - signed, 11)
    values = (scan.voxels.astype(int) % limit) - (limit // 2 if signed else 0)
    for file in write_series(tmp_path / "scan", scan):
        dataset = pydicom.dcmread(file)
        k = dataset.InstanceNumber - 1
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, stored, high
        dataset.PixelRepresentation = signed
        shifted = (values[:, :, k].T & (2**stored - 1)) << (high - stored + 1)
        dataset.PixelData = shifted.astype(f"<u{allocated // 8}").tobytes()
        dataset.file_meta.TransferSyntaxUID = syntax
        pydicom.dcmwrite(file, dataset, implicit_vr=syntax.endswith("8.1.2"), little_endian=True)
    assert np.array_equal(values_of(read_scan(tmp_path / "scan").image), values)


def test_float_pixels_are_read(tmp_path):
    def change(header, k):
        header.FloatPixelData = (phantom().voxels[:, :, k].T / 7).astype("<f4").tobytes()
        header.BitsAllocated = 32
        del header.PixelData

    write_series(tmp_path / "scan", phantom(), change=change)
    np.testing.assert_allclose(values_of(read_scan(tmp_path / "scan").image), phantom().voxels / 7, rtol=1e-6)


@pytest.mark.parametrize("signed", [0, 1])
def test_padding_values_become_the_lowest_value_of_the_image(tmp_path, signed):
    def change(header, k):
        pixels = phantom().voxels[:, :, k].T.astype("i4") + 10
        pixels[:12] = -2000
        header.PixelData = pixels.astype("<i2").tobytes()
        header.PixelRepresentation = signed
        header.PixelPaddingValue = -2000 if signed else 63536

    write_series(tmp_path / "scan", phantom(), change=change)
    found = values_of(read_scan(tmp_path / "scan").image)
    expected = phantom().voxels.astype(float) + 10
    expected[:, :12] = expected[:, 12:].min()
    assert np.array_equal(found, expected)


def test_palette_colors_are_refused(tmp_path):
    write_series(tmp_path / "scan", phantom(), PhotometricInterpretation="PALETTE COLOR")
    assert "palette colors" in refusal(tmp_path / "scan")


# --- What differs without a meaning -----------------------------------------------------------------------------------


def one(keyword, value):
    def change(header, k):
        if k == 7:
            setattr(header, keyword, value)
        elif "EchoTime" not in header:
            header.EchoTime = "22"

    return change


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PixelSpacing", [2.0000001, 1.5]),
        ("PixelSpacing", [2.001, 1.5]),
        ("PixelSpacing", None),
        ("ImageOrientationPatient", None),
        ("EchoTime", "22.001"),
        ("EchoTime", None),
        ("ImageType", ["ORIGINAL", "PRIMARY", "M"]),
        ("ImageType", ["ORIGINAL", "PRIMARY", "M", "NORM", "DIS2D"]),
        ("SliceThickness", None),
    ],
)
def test_one_header_that_differs_by_rounding_or_lacks_a_word_refuses_no_series(tmp_path, keyword, value):
    scan = phantom(size=(40, 36, 20), spacing=(1.5, 2, 2.5))
    write_series(tmp_path / "scan", scan, change=one(keyword, value))
    assert same_in_space(read_scan(tmp_path / "scan").image, scan, tolerance_mm=0.05)


@pytest.mark.parametrize(
    ("keyword", "value", "words"),
    [
        ("PixelSpacing", [2.2, 1.5], "pixel sizes"),
        ("EchoTime", "30", "different contrast"),
        ("ImageType", ["ORIGINAL", "PRIMARY", "P", "ND"], "different contrast"),
        ("ImageType", ["DERIVED", "PRIMARY", "M", "ND", "ADC"], "different contrast"),
        ("Rows", 18, "different matrix"),
    ],
)
def test_one_image_of_another_kind_does(tmp_path, keyword, value, words):
    scan = phantom(size=(40, 36, 20), spacing=(1.5, 2, 2.5))
    write_series(tmp_path / "scan", scan, change=one(keyword, value))
    assert words in refusal(tmp_path / "scan")


@pytest.mark.parametrize("lost", ["a file", "its position", "its header"])
def test_one_missing_slice_of_many_is_filled_in_and_said(tmp_path, lost):
    scan = phantom(size=(40, 36, 60), spacing=(1.5, 2, 1))
    files = write_series(tmp_path / "scan", scan)
    if lost == "a file":
        files[30].unlink()
    elif lost == "its header":
        files[30].write_bytes(files[30].read_bytes()[:400])
    else:
        dataset = pydicom.dcmread(files[30])
        del dataset.ImagePositionPatient
        dataset.save_as(files[30])
    found = read_scan(tmp_path / "scan")
    assert any("lacks 1 of 60 slices (1 after slice 30" in warning for warning in found.warnings)
    expected = scan.voxels.astype(float)
    expected[:, :, 30] = (expected[:, :, 29] + expected[:, :, 31]) / 2
    assert np.array_equal(values_of(found.image), expected)
    assert largest_distance(matrix_of(found.image), scan.matrix, scan.voxels.shape) < 1e-3


def test_two_in_a_row_or_more_than_a_few_are_refused(tmp_path):
    scan = phantom(size=(40, 36, 60), spacing=(1.5, 2, 1))
    for name, lost in (("two", (30, 31)), ("three", (10, 30, 50))):
        write_series(tmp_path / name, scan, [k for k in range(60) if k not in lost])
        assert f"lacks {len(lost)} of 60 slices" in refusal(tmp_path / name)


def test_files_without_a_series_are_read_as_one(tmp_path):
    write_series(tmp_path / "scan", phantom(), change=lambda header, k: delattr(header, "SeriesInstanceUID"))
    found = read_scan(tmp_path / "scan")
    assert same_in_space(found.image, phantom())
    assert "do not say which series" in found.warnings[0]
    assert len(list_series(tmp_path / "scan")) == 1


def test_a_dicomdir_stands_for_the_files_below_it(tmp_path):
    files = write_series(tmp_path / "scan" / "images", phantom())
    directory = pydicom.fileset.FileSet()
    for file in files:
        dataset = pydicom.dcmread(file)
        dataset.StudyDate, dataset.StudyTime, dataset.StudyID, dataset.SeriesNumber = "20200101", "120000", "1", 1
        dataset.save_as(file)
        directory.add(file)
    directory.write(tmp_path / "disk")
    assert same_in_space(read_scan(tmp_path / "disk" / "DICOMDIR").image, phantom())
    assert same_in_space(read_scan(tmp_path / "disk").image, phantom())
    assert len(list_series(tmp_path / "disk" / "DICOMDIR")) == 1


def test_a_dicom_file_may_be_called_img(tmp_path):
    write_series(tmp_path / "scan", phantom(), name="{:03d}.img")
    assert same_in_space(read_scan(tmp_path / "scan" / "003.img").image, phantom())


@pytest.mark.parametrize("count", ["1000000000", "-3"])
def test_frames_that_the_file_cannot_hold_are_refused(tmp_path, count):
    path = write_enhanced(tmp_path / "scan.dcm", phantom())
    dataset = pydicom.dcmread(path)
    dataset.NumberOfFrames = count
    del dataset.PerFrameFunctionalGroupsSequence
    dataset.save_as(path)
    started = time.process_time()
    assert "damaged DICOM file" in refusal(path)
    assert time.process_time() - started < 20  # a loop over so many frames takes minutes


def test_a_grid_of_slices_is_called_so(tmp_path):
    write_series(
        tmp_path / "scan", phantom(), [3], SOPClassUID=SECONDARY_CAPTURE, ImageType=["DERIVED", "SECONDARY", "MOSAIC"]
    )
    assert "grid of slices (a mosaic)" in refusal(tmp_path / "scan")


@pytest.mark.parametrize(
    ("left_out", "words"),
    [([4], "lacks 1 of 10 slices (1 after slice 4,"), ([2, 6, 7], "lacks 3 of 10 slices (1 after slice 2, 2 after")],
)
def test_missing_slices_are_counted_and_placed(tmp_path, left_out, words):
    write_series(tmp_path / "scan", phantom(), [k for k in range(10) if k not in left_out])
    assert words in refusal(tmp_path / "scan")


def test_every_second_slice_missing_gives_a_warning(tmp_path):
    scan = phantom(size=(40, 36, 20), spacing=(1.5, 2.0, 3.0))
    write_series(tmp_path / "scan", scan, list(range(0, 20, 2)))
    assert "Slices of 3 mm lie 6.0 mm apart" in read_scan(tmp_path / "scan").warnings[0]


def test_uneven_slices_are_refused_and_rounded_positions_are_not(tmp_path):
    def shift(millimetres):
        def change(header, k):
            normal = phantom().axes[:, 2] / 5.0
            header.ImagePositionPatient = list(np.array(header.ImagePositionPatient, float) + normal * millimetres(k))

        return change

    write_series(tmp_path / "uneven", phantom(), change=shift(lambda k: 1.5 * (k > 5)))
    assert "uneven distances (5.00 to 6.50 mm)" in refusal(tmp_path / "uneven")
    write_series(tmp_path / "rounded", phantom(), change=shift(lambda k: 0.05 * (-1) ** k))
    found = read_scan(tmp_path / "rounded")
    assert largest_distance(matrix_of(found.image), phantom().matrix, (40, 36, 10)) < 0.1


def test_gantry_tilt_is_refused(tmp_path):
    def change(header, k):
        header.ImagePositionPatient = list(
            np.array(header.ImagePositionPatient, float) + phantom().axes[:, 1] * 0.4 * k
        )

    write_series(tmp_path / "scan", phantom(), change=change)
    assert "sheared axes" in refusal(tmp_path / "scan")


def test_echoes_in_one_series_are_a_choice(tmp_path):
    series = generate_uid()
    late = Phantom(phantom().voxels // 2, phantom().axes, phantom().origin)
    write_series(tmp_path / "scan", late, name="a{}", EchoTime="80", SeriesInstanceUID=series)
    write_series(tmp_path / "scan", phantom(), SHUFFLED, name="b{}", EchoTime="20", SeriesInstanceUID=series)
    message = refusal(tmp_path / "scan")
    assert "choose one, 0 to 1 (echo time 20 ms, 80 ms)" in message
    assert same_in_space(read_scan(tmp_path / "scan", frame=0).image, phantom())
    assert same_in_space(read_scan(tmp_path / "scan", frame=1).image, late)
    (tmp_path / "scan" / "a3").unlink()
    assert same_in_space(read_scan(tmp_path / "scan", frame=0).image, phantom())  # that echo is whole
    assert "lacks 1 of 10 slices" in refusal(tmp_path / "scan", frame=1)
    (tmp_path / "scan" / "a5").unlink()
    assert "has 1 to 2 images at each of its 10 slice positions" in refusal(tmp_path / "scan", frame=0)


def test_time_points_of_an_enhanced_file_are_a_choice(tmp_path):
    def change(group, number):
        content = Dataset()
        content.TemporalPositionIndex = 2 - number // 10
        group.FrameContentSequence = Sequence([content])

    path = write_enhanced(tmp_path / "scan.dcm", phantom(), [*range(10), *SHUFFLED], change=change)
    assert "holds 2 volumes" in refusal(path)
    dataset = pydicom.dcmread(path)
    pixels = np.frombuffer(dataset.PixelData, "u2").reshape(20, 36, 40).copy()
    pixels[:10] += 1
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(path)
    assert np.array_equal(values_of(read_scan(path, frame=0).image), phantom().voxels)
    assert np.array_equal(values_of(read_scan(path, frame=1).image), phantom().voxels + 1)


def test_contrasts_mixed_at_random_are_refused(tmp_path):
    write_series(
        tmp_path / "scan", phantom(), change=lambda header, k: setattr(header, "EchoTime", str(20 + 60 * (k % 2)))
    )
    assert "mixes images of different contrast" in refusal(tmp_path / "scan")


def test_copies_of_files_are_left_out(tmp_path):
    for file in write_series(tmp_path / "scan", phantom()):
        (tmp_path / "scan" / f"copy_{file.name}").write_bytes(file.read_bytes())
    found = read_scan(tmp_path / "scan")
    assert same_in_space(found.image, phantom())
    assert found.warnings == ("10 DICOM files are copies of others and were left out.",)


def test_one_instance_uid_for_all_is_forgiven(tmp_path):
    write_series(tmp_path / "scan", phantom(), SOPInstanceUID=generate_uid())
    assert same_in_space(read_scan(tmp_path / "scan").image, phantom())


def test_several_series_are_listed_and_one_is_chosen(tmp_path):
    other = phantom(size=(48, 40, 12))
    write_series(tmp_path / "scan" / "a", phantom())
    write_series(tmp_path / "scan" / "b", other)
    listed = {series.size: series for series in list_series(tmp_path / "scan")}
    assert set(listed) == {(40, 36, 10), (48, 40, 12)}
    message = refusal(tmp_path / "scan")
    assert "holds 2 series; choose one:" in message
    for series in listed.values():
        assert f"{series.uid}: MR, {series.files} files" in message
    assert "48 x 40 x 12 voxels of 1.50 x 2.00 x 5.00 mm" in message
    assert same_in_space(read_scan(tmp_path / "scan", series_uid=listed[48, 40, 12].uid).image, other)
    assert "holds no series 1.2.3; choose one of these" in refusal(tmp_path / "scan", series_uid="1.2.3")


def test_a_report_beside_the_images_is_no_second_scan(tmp_path):
    write_series(tmp_path / "scan", phantom())
    mr_header(Modality="SR", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11").save_as(tmp_path / "scan" / "report.dcm")
    assert same_in_space(read_scan(tmp_path / "scan").image, phantom())
    assert [series.size for series in list_series(tmp_path / "scan")].count(None) == 1


def test_one_file_stands_for_its_series(tmp_path):
    file = write_series(tmp_path / "scan", phantom(), SHUFFLED)[3]
    write_series(tmp_path / "scan", phantom(size=(48, 40, 12)), name="other{}")
    found = read_scan(file)
    assert same_in_space(found.image, phantom())
    assert found.warnings == ("One file was named; all 10 files of its series in that folder were read.",)
    assert found.name == "0004"


def test_the_hash_is_that_of_the_content(tmp_path):
    files = write_series(tmp_path / "a", phantom())
    (tmp_path / "b").mkdir()
    for number, file in enumerate(files):
        (tmp_path / "b" / f"{99 - number}").write_bytes(file.read_bytes())
    assert read_scan(tmp_path / "a").sha256 == read_scan(tmp_path / "b").sha256
    dataset = pydicom.dcmread(files[0])
    dataset.PixelData = bytes(len(dataset.PixelData))
    dataset.save_as(files[0])
    assert read_scan(tmp_path / "a").sha256 != read_scan(tmp_path / "b").sha256


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"Modality": "CT"}, "modality CT (computed tomography)"),
        ({"Modality": "PT"}, "positron emission tomography"),
        ({"Modality": "ZZ"}, "modality ZZ"),
        ({"SOPClassUID": SECONDARY_CAPTURE}, "a screenshot"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "is a localizer"),
        ({"ImagePositionPatient": None}, "without a position in space"),
        ({"SamplesPerPixel": 3}, "color image"),
    ],
)
def test_other_objects_are_named(tmp_path, tags, words):
    def change(header, _):
        for keyword, value in tags.items():
            setattr(header, keyword, value)

    write_series(tmp_path / "scan", phantom(), change=change)
    assert words in refusal(tmp_path / "scan")


def test_a_report_alone_is_named(tmp_path):
    mr_header(Modality="SR").save_as(tmp_path / "report.dcm")
    assert "modality SR (a report)" in refusal(tmp_path / "report.dcm")


def test_three_orthogonal_directions_are_a_localizer(tmp_path):
    series = generate_uid()
    for number, axes in enumerate(([0, 1, 2], [1, 2, 0], [2, 0, 1])):
        scan = phantom(direction=np.eye(3)[:, axes])
        write_series(tmp_path / "scan", scan, name=f"{number}_{{}}", SeriesInstanceUID=series)
    assert "slices in 3 different directions: a localizer" in refusal(tmp_path / "scan")


@pytest.mark.parametrize(("slices", "words"), [([3], "is a single slice"), ([3, 4, 5], "too few voxels")])
def test_few_slices_are_a_localizer(tmp_path, slices, words):
    write_series(tmp_path / "scan", phantom(), slices)
    message = refusal(tmp_path / "scan")
    assert words in message
    assert "localizer" in message


def test_mixed_matrix_sizes_are_refused(tmp_path):
    series = generate_uid()
    write_series(tmp_path / "scan", phantom(), SeriesInstanceUID=series)
    write_series(tmp_path / "scan", phantom(size=(48, 40, 12)), name="other{}", SeriesInstanceUID=series)
    assert "different matrix or pixel sizes" in refusal(tmp_path / "scan")


def test_derived_images_are_read_with_a_warning(tmp_path):
    write_series(tmp_path / "scan", phantom(), ImageType=["DERIVED", "PRIMARY", "ADC"])
    assert "DERIVED" in read_scan(tmp_path / "scan").warnings[0]


def test_a_damaged_header_leaves_a_gap_and_damaged_pixels_are_refused(tmp_path):
    files = write_series(tmp_path / "scan", phantom())
    content = files[4].read_bytes()
    files[4].write_bytes(content[:-1500])
    assert "fewer pixels than its header says (the one with instance number 5)" in refusal(tmp_path / "scan")
    files[4].write_bytes(content[:400])
    assert "lacks 1 of 10 slices" in refusal(tmp_path / "scan")
    assert "damaged DICOM file" in refusal(files[4])


@pytest.mark.parametrize("kept", [192, 328, 420])
@pytest.mark.parametrize("number", [0, 9])
def test_a_first_or_last_file_that_was_cut_before_its_image_is_said(tmp_path, number, kept):
    """Positions cannot tell: the others lie evenly."""
    files = write_series(tmp_path / "scan", phantom())
    files[number].write_bytes(files[number].read_bytes()[:kept])
    assert read_scan(tmp_path / "scan").warnings == ("1 damaged DICOM files were left out.",)


def test_old_files_without_preamble_are_read(tmp_path):
    for file in write_series(tmp_path / "scan", phantom()):
        content = file.read_bytes()
        dataset = pydicom.dcmread(file)
        start = 132 + 12 + dataset.file_meta.FileMetaInformationGroupLength
        implicit = pydicom.filebase.DicomBytesIO()
        implicit.is_little_endian, implicit.is_implicit_VR = True, True
        del dataset.file_meta
        pydicom.filewriter.write_dataset(implicit, Dataset(dataset))
        assert len(content) > start
        file.write_bytes(implicit.getvalue())
    assert same_in_space(read_scan(tmp_path / "scan").image, phantom())


@pytest.fixture
def itk_fails(monkeypatch):
    def fail(_):
        raise Undecodable("unsupported")

    monkeypatch.setattr(dicom_series, "read_pixels", fail)


@pytest.mark.usefixtures("itk_fails")
def test_dcm2niix_reads_what_itk_cannot(tmp_path):
    write_series(tmp_path / "scan", phantom(), SHUFFLED)
    found = read_scan(tmp_path / "scan")
    assert same_in_space(found.image, phantom())
    assert (found.format, found.modality, found.warnings) == ("DICOM", "MR", ("Read by dcm2niix.",))


def test_mosaics_go_to_dcm2niix(tmp_path):
    write_series(tmp_path / "scan", phantom(), ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])
    found = read_scan(tmp_path / "scan")
    assert same_in_space(found.image, phantom())
    assert found.warnings == ("Read by dcm2niix.",)


@pytest.mark.usefixtures("itk_fails")
def test_without_dcm2niix_it_is_said_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "dcm2niix", None)
    write_series(tmp_path / "scan", phantom())
    assert "pip install dcm2niix" in refusal(tmp_path / "scan")


def test_no_identity_leaves_the_reader(tmp_path, capfd):
    write_series(tmp_path / "scan", phantom())
    found = read_scan(tmp_path / "scan")
    told = json.dumps([found.name, found.format, found.modality, found.sha256, *found.warnings])
    told += repr(list_series(tmp_path / "scan")) + "".join(capfd.readouterr())
    told += "".join(found.image.GetMetaData(key) for key in found.image.GetMetaDataKeys())
    assert not any(word in told for word in IDENTITY_WORDS)


def unzipped(archive, folder):
    with zipfile.ZipFile(archive) as members:
        members.extractall(folder)
    return folder


def test_a_real_series_lies_where_dcm2niix_puts_it(shared_data, tmp_path):
    archive = shared_data / "dicom" / "sag_anon_T1_3y.zip"
    found = read_scan(archive)
    assert (found.image.GetSize(), found.format, found.modality, found.warnings) == ((256, 256, 192), "DICOM", "MR", ())
    assert found.image.GetSpacing() == pytest.approx((0.859375, 0.859375, 0.9), abs=1e-6)
    command = [dcm2niix.bin, "-b", "n", "-f", "scan", "-o", tmp_path, unzipped(archive, tmp_path / "in")]
    subprocess.run(command, check=True, capture_output=True)
    every_fourth = Phantom(
        values_of(found.image)[::4, ::4, ::4], matrix_of(found.image)[:3, :3] * 4, np.array(found.image.GetOrigin())
    )
    assert same_in_space(read_nifti(tmp_path / "scan.nii", None).image, every_fourth)


def test_a_real_series_with_rounded_positions_lies_where_its_headers_say(shared_data, tmp_path):
    """GE rounds to 0.1 mm and says SpacingBetweenSlices 2: slices of 5 mm with gaps of 2 mm lie 7 mm apart."""
    archive = shared_data / "dicom" / "papaya_PD_28y.zip"
    found = read_scan(archive)
    assert (found.image.GetSize(), found.warnings) == ((256, 256, 20), ())
    assert found.image.GetSpacing() == pytest.approx((0.859375, 0.859375, 7.0), abs=1e-3)
    headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in unzipped(archive, tmp_path).iterdir()]
    written = sorted((list(map(float, header.ImagePositionPatient)) for header in headers), key=lambda place: place[2])
    placed = [found.image.TransformIndexToPhysicalPoint((0, 0, k)) for k in range(20)]
    assert np.abs(np.subtract(written, placed)).max() < 0.11
