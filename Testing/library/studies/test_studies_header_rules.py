"""The kind of a series from its header: protocols of all vendors, real headers, and an independent classifier."""

from __future__ import annotations

import gzip
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from headers import PROTOCOLS, fresh_rows, header_of, is_named_right, public_rows
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from BrainIACLib.scans.dicom_values import frames_of
from BrainIACLib.sequences import ALL_NAMES, OTHER, STANDARD_NAMES
from BrainIACLib.studies import header_facts, identity
from BrainIACLib.studies.b_values import b_value_of, has_direction
from BrainIACLib.studies.header_facts import HeaderFacts, facts_of
from BrainIACLib.studies.header_rules import class_of
from BrainIACLib.studies.sidecar import facts_beside, facts_in, state_beside
from BrainIACLib.studies.siemens_csa import csa_values

ONE_TIME_POINT = {"EPI_asc"}  # one file of a functional series without the number of its time points


def kind(header: Dataset) -> str:
    return class_of(facts_of(header)[-1]).name


@pytest.mark.parametrize("row", PROTOCOLS, ids=lambda row: f"{row['attributes']['Manufacturer']}-{row['kind']}")
def test_typical_protocols_of_every_vendor_are_named(row):
    assert kind(header_of(row)) == row["kind"]


@pytest.mark.parametrize(
    "row", public_rows(), ids=lambda row: f"{row['source'][-12:]}-{row['series'][:14]}-{row['kind']}"
)
def test_real_headers_are_named(row):
    expected = "T2*" if row["series"] in ONE_TIME_POINT else row["kind"]
    assert kind(header_of(row)) == expected


@pytest.mark.parametrize(("which", "least"), [("first", 100), ("second", 34)])
def test_no_more_of_the_headers_that_came_later_are_missed(which, least, tmp_path):
    """The misses are listed by ``Testing/benchmarks/study.py``: functional series of a few time points, mostly."""
    assert sum(is_named_right(row, tmp_path) for row in fresh_rows(which)) >= least


@pytest.mark.parametrize(("b_values", "expected"), [("0 1000 1000", "DWI-b0"), ("1000", "DWI-trace"), ("0", "")])
def test_b_values_beside_an_image_are_read_without_a_json_file_as_well(b_values, expected, tmp_path):
    image = tmp_path / "dwi.nii.gz"
    assert facts_beside(image) is None
    (tmp_path / "dwi.bval").write_text(b_values, encoding="ascii")
    assert class_of(facts_beside(image)).name == expected


def test_every_change_of_the_files_beside_an_image_changes_their_state(tmp_path):
    image = tmp_path / "dwi.nii.gz"
    states = [state_beside(image)]
    for name, text in (("dwi.bval", "0"), ("dwi.json", "{}"), ("dwi.bval", "0 1000")):
        (tmp_path / name).write_text(text, encoding="ascii")
        states.append(state_beside(image))
    assert states[0] == ""
    assert len(set(states)) == 4
    assert state_beside(tmp_path / "dwi") == ""  # of a folder all files count anyway


def test_no_field_map_functional_or_diffusion_image_of_a_person_fills_a_slot_of_a_scan():
    """What would do harm: an image of another kind under the name of T1, T1CE, T2 or FLAIR. Two small-animal scanners
    (Agilent, Bruker) are left out."""
    for row in fresh_rows("first") + fresh_rows("second"):
        if row["kind"] in ("T1", "T2", "FLAIR") or "sidecar" not in row or "b_values" in row:
            continue
        facts = facts_in(row["sidecar"])
        if not row["sidecar"].get("Manufacturer", "").startswith(("Agilent", "Bruker")) and row["kind"] != "dwi":
            assert class_of(facts).name not in STANDARD_NAMES or facts.phase, row["series"]


def test_every_tag_that_is_asked_for_exists():
    """A misspelled keyword would make every file of a study look damaged."""
    for tag in (*header_facts.TAGS, *identity.TAGS):
        Tag(tag)


def test_a_functional_series_is_known_by_its_repeats_even_where_ge_writes_a_b_value_of_zero():
    header = header_of(PROTOCOLS[0])
    header.ScanningSequence, header.RepetitionTime, header.EchoTime, header.NumberOfTemporalPositions = (
        ["EP", "GR"],
        2000,
        30,
        60,
    )
    header.add_new((0x0043, 0x1039), "IS", [0, 0, 0, 0])
    del header.InversionTime
    assert kind(header) == "perfusion"


@pytest.mark.parametrize(
    ("group", "element", "vr", "value", "b_value"),
    [
        (0x0019, 0x100C, "IS", "1000", 1000),
        (0x0019, 0x100C, "UN", b"700 ", 700),
        (0x0043, 0x1039, "IS", [1000001000, 8, 0, 0], 1000),
        (0x0043, 0x1039, "UN", b"800\\8\\0\\0", 800),
        (0x2001, 0x1003, "FL", 1500.0, 1500),
        (0x2001, 0x1003, "UN", struct.pack("<f", 2000.0), 2000),
        (0x0065, 0x1009, "FD", 929.75, 929.75),
        (0x0065, 0x1009, "UN", struct.pack("<d", 50.5), 50.5),
    ],
)
def test_private_b_values_of_four_vendors_are_read_also_where_an_archive_made_them_bytes(
    group, element, vr, value, b_value
):
    header = Dataset()
    header.add_new((group, element), vr, value)
    assert b_value_of([header]) == pytest.approx(b_value)


CSA_FILES = ["csa2_b0.bin", "csa2_b1000.bin", "csa2_zero_len.bin.gz", "csa_str_valid.bin", "csa_str_1001n_items.bin"]


@pytest.mark.parametrize("name", CSA_FILES)
def test_siemens_private_headers_are_read_as_nibabel_reads_them(name):
    """Real headers of nibabel's tests: the b-value, the direction, and every other text."""
    csareader = pytest.importorskip("nibabel.nicom.csareader", reason="needs nibabel")
    file = Path(csareader.__file__).parent / "tests" / "data" / name
    if not file.is_file():
        pytest.skip("this nibabel comes without the headers of its tests")
    data = gzip.decompress(file.read_bytes()) if name.endswith(".gz") else file.read_bytes()
    try:
        expected = {tag: one["items"] for tag, one in csareader.read(data)["tags"].items()}
    except csareader.CSAReadError:
        assert csa_values(data, {"B_value"}) == {}
        return
    found = csa_values(data, set(expected))
    for tag, items in expected.items():
        kept = [item for item in items if item not in ("", None)]
        assert [str(item).strip() for item in kept] == pytest.approx(list(found.get(tag, ()))) or [
            float(item) for item in kept
        ] == [float(text) for text in found[tag]]


def csa_header(b_value: str, second: bool) -> bytes:
    """A private header of two tags in either of its two formats."""
    tags = [(b"NumberOfImagesInMosaic", [b"0"]), (b"B_value", [b_value.encode()])]
    data = (b"SV10\x04\x03\x02\x01" if second else b"") + struct.pack("<II", len(tags), 77)
    for name, texts in tags:
        data += struct.pack("<64si4siii", name, 1, b"IS", 6, len(texts), 77)
        for text in texts:
            text += b"\0"
            length = len(text) if second else len(text) + 1  # CSA1 adds the number of items of the first tag
            data += struct.pack("<4i", length, len(text), 77, length) + text.ljust((len(text) + 3) // 4 * 4, b"\0")
    return data


@pytest.mark.parametrize("second", [True, False])
@pytest.mark.parametrize("element", [0x1010, 0x1110])
def test_a_b_value_that_only_siemens_private_header_tells_names_the_diffusion(second, element):
    header = header_of(next(row for row in PROTOCOLS if row["kind"] == "DWI-b0"))
    del header.DiffusionBValue
    header.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    header.add_new((0x0029, element), "OB", csa_header("1000", second))
    assert kind(header) == "DWI-trace"
    assert b_value_of([header]) == 1000


@given(st.binary(max_size=300), st.integers(0, 300))
def test_no_damage_breaks_the_reader_of_the_private_header(noise, place):
    whole = csa_header("1000", True)
    for data in (noise, whole[:place], whole[:place] + noise, b"SV10" + noise):
        assert csa_values(data, {"B_value"}).get("B_value", ()) in ((), ("1000",)) or noise


def test_the_standard_b_value_wins_over_a_private_one_and_nonsense_is_none():
    header = Dataset()
    header.add_new((0x0019, 0x100C), "IS", "1000")
    header.DiffusionBValue = 500.0
    assert b_value_of([header]) == 500
    header.DiffusionBValue = -1.0
    assert b_value_of([header]) is None


@given(st.binary(max_size=40))
def test_no_private_bytes_break_the_reader(value):
    header = Dataset()
    for group, element in ((0x0019, 0x100C), (0x0043, 0x1039), (0x2001, 0x1003), (0x0065, 0x1009), (0x0019, 0x100E)):
        header.add_new((group, element), "UN", value)
    b_value = b_value_of([header])
    assert b_value is None or 0 <= b_value <= 50_000
    assert has_direction([header]) in (True, False)


@pytest.mark.parametrize("keyword", ["SequenceName", "PulseSequenceName"])
def test_the_magnitude_of_a_field_map_of_siemens_is_no_t1_whatever_it_is_called(keyword):
    header = header_of(PROTOCOLS[2])  # a gradient echo with the times of a T1
    assert kind(header) == "T1"
    setattr(header, keyword, "*fm2d2")
    assert kind(header) == OTHER


@pytest.mark.parametrize(
    ("name", "echo_time", "expected"),
    [("*epfid2d1_64", 30, "T2*"), ("", 30, "T2*"), ("*ep_b0", 80, "DWI-b0"), ("*epse2d1_64", 40, "DWI-b0")],
)
def test_the_name_or_the_echo_time_tells_the_two_echo_planar_sequences_of_siemens_apart(name, echo_time, expected):
    header = Dataset()
    header.Modality, header.ScanningSequence, header.RepetitionTime = "MR", "EP", 2000
    header.EchoTime, header.SequenceName = echo_time, name
    assert kind(header) == expected


def test_an_enhanced_header_says_the_same_as_a_classic_one():
    header, timing, echo, pulse, shared = Dataset(), Dataset(), Dataset(), Dataset(), Dataset()
    header.Modality, header.NumberOfFrames = "MR", 2
    header.EchoPulseSequence, header.InversionRecovery, header.MRAcquisitionType = "GRADIENT", "YES", "3D"
    timing.RepetitionTime, timing.FlipAngle = 2300.0, 9.0
    echo.EffectiveEchoTime = 2.98
    pulse.InversionTimes = 900.0
    shared.MRTimingAndRelatedParametersSequence, shared.MREchoSequence = Sequence([timing]), Sequence([echo])
    shared.MRModifierSequence = Sequence([pulse])
    header.SharedFunctionalGroupsSequence = Sequence([shared])
    assert [class_of(facts).name for facts in facts_of(header)] == ["T1", "T1"]
    assert len(frames_of(header)) == 2


def test_diffusion_frames_of_one_enhanced_file_are_told_apart():
    header = Dataset()
    header.Modality, header.EchoPulseSequence, header.EchoPlanarPulseSequence = "MR", "SPIN", "YES"
    header.ImageType = ["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"]
    groups = []
    for b_value in (0.0, 1000.0):
        diffusion, group = Dataset(), Dataset()
        diffusion.DiffusionBValue, diffusion.DiffusionDirectionality = b_value, "DIRECTIONAL" if b_value else "NONE"
        group.MRDiffusionSequence = Sequence([diffusion])
        groups.append(group)
    header.PerFrameFunctionalGroupsSequence = Sequence(groups)
    assert [class_of(facts).name for facts in facts_of(header)] == ["DWI-b0", "DWI-trace"]


def test_contrast_agent_of_words_alone_is_marked_as_such_and_before_contrast_wins():
    header = header_of(PROTOCOLS[0])
    header.SeriesDescription = "t1_mprage_sag_post_GD"
    found = class_of(facts_of(header)[0])
    assert (found.name, found.by_words) == ("T1CE", True)
    header.SeriesDescription = "T1 pre contrast"
    assert kind(header) == "T1"
    header.SeriesDescription, header.ContrastBolusAgent = "Price, Gladys: T1", "NONE"
    assert kind(header) == "T1"  # "pri", "gd" and "ce" inside words are no words


def test_a_description_is_never_kept():
    header = header_of(PROTOCOLS[0])
    header.SeriesDescription = "Doe Jane 19700101 T1 post"
    facts = facts_of(header)[0]
    assert "Doe" not in repr(facts)
    assert "19700101" not in repr(facts)


@given(
    st.builds(
        HeaderFacts,
        modality=st.sampled_from(["MR", "CT", "", "OT"]),
        image_type=st.lists(st.sampled_from(["ORIGINAL", "DERIVED", "PRIMARY", "M", "P", "ADC", "FA", "SWI"])).map(
            tuple
        ),
        repetition_time=st.none() | st.floats(0.1, 20_000),
        echo_time=st.none() | st.floats(0.1, 500),
        inversion_time=st.none() | st.floats(1, 4000),
        flip_angle=st.none() | st.floats(1, 180),
        scanning_sequence=st.frozensets(st.sampled_from(["SE", "GR", "IR", "EP", "RM"])),
        b_value=st.none() | st.floats(0, 5000),
        temporal_positions=st.integers(1, 300),
    )
)
def test_any_header_gets_a_known_name_or_none_with_a_reason(facts):
    found = class_of(facts)
    assert found.name in (*ALL_NAMES, OTHER, "")
    assert found.reason


# What dcm-classifier calls the kinds that it knows; it has no class for PD, angiography and contrast agent.
ORACLE = {
    "t1w": "T1",
    "t2w": "T2",
    "flair": "FLAIR",
    "adc": "ADC",
    "tracew": "DWI-trace",
    "dwig": "DWI-trace",
    "b0": "DWI-b0",
    "gret2star": "T2*",
    "fa": "other",
    "eadc": "other",
    "perfusion": "perfusion",
}
SHARED_KINDS = {"T1", "T2", "FLAIR", "ADC", "DWI-trace", "DWI-b0", "T2*"}


def test_an_independent_classifier_agrees_on_the_kinds_that_both_know(tmp_path):
    """dcm-classifier (Apache-2.0), a random forest on clinical headers of three vendors; its misses are counted."""
    pytest.importorskip(
        "dcm_classifier", reason="the oracle dcm-classifier is not installed (pip install dcm-classifier)"
    )
    rows = [row for row in PROTOCOLS if row["kind"] in SHARED_KINDS]
    agree = Counter()
    for number, row in enumerate(rows):
        agree[row["kind"], oracle_kind(header_of(row), tmp_path / str(number)) == kind(header_of(row))] += 1
    total = sum(agree.values())
    right = sum(count for (_, same), count in agree.items() if same)
    assert right >= 0.85 * total, dict(agree)
    for name in ("T1", "T2", "FLAIR"):
        assert agree[name, True] >= agree[name, False], (name, dict(agree))


def oracle_kind(header: Dataset, folder) -> str:
    """What dcm-classifier says of a series of two slices with this header."""
    from dcm_classifier.image_type_inference import ImageTypeClassifierBase
    from dcm_classifier.study_processing import ProcessOneDicomStudyToVolumesMappingBase

    folder.mkdir()
    series, study = generate_uid(), generate_uid()
    for number in range(2):
        file = Dataset()
        file.update(header)
        file.file_meta = FileMetaDataset()
        file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = MRImageStorage
        file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        file.StudyInstanceUID, file.SeriesInstanceUID, file.SeriesNumber = study, series, 1
        file.InstanceNumber = number + 1
        file.FrameOfReferenceUID, file.PatientID, file.PatientName = study, "P", "P"
        file.ImagePositionPatient, file.ImageOrientationPatient = [0, 0, 5.0 * number], [1, 0, 0, 0, 1, 0]
        file.PixelSpacing, file.SliceThickness, file.AcquisitionTime = [1, 1], 5, "100000"
        file.Rows = file.Columns = 16
        file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
        file.BitsAllocated = file.BitsStored = 16
        file.HighBit, file.PixelRepresentation = 15, 0
        file.PixelData = np.arange(256, dtype=np.uint16).tobytes()
        for keyword, value in {"PixelBandwidth": 200, "ImagingFrequency": 123.2, "NumberOfAverages": 1, "SAR": 0.1,
                               "EchoTrainLength": 1, "dBdt": 0}.items():  # fmt: skip
            if keyword not in file:
                setattr(file, keyword, value)
        file.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    found = ProcessOneDicomStudyToVolumesMappingBase(folder, inferer=ImageTypeClassifierBase())
    found.run_inference()
    (only,) = found.series_dictionary.values()
    return ORACLE.get(str(only.get_series_modality()).replace("LOW_PROBABILITY_", ""), "unknown")
