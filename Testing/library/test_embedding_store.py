"""Embeddings are computed once, go on after a stop, and are never stale; tables come back as they were written."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from small_encoder import install_small_encoder

from BrainIACLib.checkpoints.installed import find_encoder
from BrainIACLib.cli import main
from BrainIACLib.embeddings.cohort import cases_of_files, read_cohort
from BrainIACLib.embeddings.files import read_table, write_table
from BrainIACLib.embeddings.image_measures import BINS, MEASURES, measured_numbers, measures_of
from BrainIACLib.embeddings.key import preprocessing_sha256
from BrainIACLib.embeddings.store import embed_cohort
from BrainIACLib.embeddings.table import FACTS, table_of
from BrainIACLib.errors import BrainIACError, Cancelled
from BrainIACLib.job import Job
from BrainIACLib.manifests import read_rows
from BrainIACLib.predictor import Predictor
from BrainIACLib.preprocessing.options import PreprocessingOptions
from BrainIACLib.preprocessing.standardised import Standardised
from BrainIACLib.scans import image_identity, read_scan
from BrainIACLib.worker.requests import CaseFile, EmbedCases
from BrainIACLib.worker.service import Service

OFFICIAL = PreprocessingOptions(preset="official")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    install_small_encoder(folder)
    return folder


@pytest.fixture
def manifest(tmp_path):
    """Four scans of three patients; the last two are the same image."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, 40) for _ in range(3)), indexing="ij"))
    for name, seed in (("a", 0), ("b", 1), ("c", 2), ("d", 2)):
        noise = np.random.default_rng(seed).standard_normal((40, 40, 40))
        image = sitk.GetImageFromArray(np.where((grid**2).sum(0) < 0.7, 100 + 20 * noise, 0).astype(np.float32))
        image.SetSpacing((4, 4, 4))
        sitk.WriteImage(image, str(tmp_path / f"{name}.nii"))
    path = tmp_path / "cases.csv"
    path.write_text("scan,patient,sequence,label\na.nii,p1,T1,x\nb.nii,p1,T2,x\nc.nii,p2,T1,y\nd.nii,p3,T1,y\n")
    return path


def counted(monkeypatch):
    """Every scan that is really embedded."""
    done = []
    embed = Predictor.embed_inputs

    def counting(self, inputs, model_id):
        done.extend(inputs)
        return embed(self, inputs, model_id)

    monkeypatch.setattr(Predictor, "embed_inputs", counting)
    return done


def run(manifest, store, out, **options):
    options = {"options": OFFICIAL, **options}
    return embed_cohort(read_cohort(manifest), out, Predictor("cpu", [store]), **options)


def test_each_image_is_embedded_once_and_the_table_says_what_it_is_of(manifest, store, tmp_path, monkeypatch):
    done, out = counted(monkeypatch), tmp_path / "t.npz"
    first = run(manifest, store, out)
    assert (len(done), first.computed, first.reused) == (3, 3, 1)
    table = read_table(out)
    assert np.array_equal(table.embeddings, first.table.embeddings)
    assert list(table.columns["label"]) == ["x", "x", "y", "y"]
    assert set(table.columns["encoder_sha256"]) == {find_encoder([store]).contract.encoder.sha256}
    assert np.array_equal(table.embeddings[2], table.embeddings[3])
    assert np.abs(table.embeddings[0] - table.embeddings[1]).max() > 0
    again = run(manifest, store, out)
    assert (len(done), again.computed, again.reused) == (3, 0, 4)
    assert again.table.sha256 == first.table.sha256


def test_a_changed_image_or_preprocessing_is_embedded_anew(manifest, store, tmp_path, monkeypatch):
    out = tmp_path / "t.csv"
    before = run(manifest, store, out).table
    (tmp_path / "a.nii").write_bytes((tmp_path / "b.nii").read_bytes())
    done = counted(monkeypatch)
    after = run(manifest, store, out)
    assert (len(done), after.computed) == (0, 0)  # the image is b's, which is known
    assert np.array_equal(after.table.embeddings[0], before.embeddings[1])
    assert run(manifest, store, out, options=dataclasses.replace(OFFICIAL, seed=1)).computed == 3 - 1
    contract = find_encoder([store]).contract.encoder
    keys = {
        preprocessing_sha256(PreprocessingOptions(), contract),
        preprocessing_sha256(OFFICIAL, contract),
        preprocessing_sha256(PreprocessingOptions(bias_field=False), contract),
        preprocessing_sha256(PreprocessingOptions(), contract, sitk.Image(4, 4, 4, sitk.sitkUInt8)),
        preprocessing_sha256(PreprocessingOptions(), contract, sitk.Image(4, 4, 5, sitk.sitkUInt8)),
        preprocessing_sha256(PreprocessingOptions(), dataclasses.replace(contract, resize_mode="trilinear")),
    }
    assert len(keys) == 6


def detached(folder, name, kind, seed):
    """A scan whose header is the same for every ``seed``: the voxels lie in another file."""
    folder.mkdir(exist_ok=True)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, 40) for _ in range(3)), indexing="ij"))
    noise = np.random.default_rng(seed).standard_normal((40, 40, 40))
    image = sitk.GetImageFromArray(np.where((grid**2).sum(0) < 0.7, 100 + 20 * noise, 0).astype(np.float32))
    image.SetSpacing((4, 4, 4))
    sitk.WriteImage(image, str(folder / f"{name}{kind}"), useCompression=False)
    return folder / f"{name}{kind}"


@pytest.mark.parametrize("kind", [".hdr", ".mhd", ".nhdr"])
def test_two_scans_with_equal_headers_are_two_scans(kind, store, tmp_path):
    paths = [detached(tmp_path / person, "scan", kind, seed) for seed, person in enumerate(("one", "two"))]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    scans = [read_scan(path) for path in paths]
    assert scans[0].identity != scans[1].identity == read_scan(paths[1]).identity
    (tmp_path / "cases.csv").write_text("scan,patient\n" + "".join(f"{path},{path.parent.name}\n" for path in paths))
    found = run(tmp_path / "cases.csv", store, tmp_path / "t.npz")
    assert (found.computed, found.reused) == (2, 0)
    assert np.abs(found.table.embeddings[0] - found.table.embeddings[1]).max() > 0
    both = Predictor("cpu", [store])
    for scan, vector in zip(scans, found.table.embeddings, strict=True):
        both.set_study({"scan": scan}, OFFICIAL)
        assert np.array_equal(np.float32(both.embed("scan")[0]), vector)


def test_a_scan_has_one_identity_in_every_format_and_another_one_where_a_voxel_or_the_grid_differs(tmp_path):
    paths = [detached(tmp_path, "scan", kind, 0) for kind in (".mhd", ".nhdr", ".mha", ".nrrd")]
    assert len({read_scan(path).identity for path in paths}) == 1
    image = sitk.ReadImage(str(paths[0]))
    changes = {image_identity(image)}
    for change in (
        lambda image: image.SetPixel(0, 0, 0, 1.0),
        lambda image: image.SetOrigin((0, 0, 1e-9)),
        lambda image: image.SetSpacing((4, 4, 4.0000001)),
        lambda image: image.SetDirection((0, 1, 0, 1, 0, 0, 0, 0, -1)),
    ):
        other = sitk.Image(image)
        change(other)
        changes.add(image_identity(other))
    changes.add(image_identity(sitk.Cast(image, sitk.sitkFloat64)))
    assert len(changes) == 6


def test_a_second_run_on_the_same_table_is_refused_while_the_first_one_lasts(manifest, store, tmp_path):
    out, told = tmp_path / "t.npz", []

    def second(case, failure):
        with pytest.raises(BrainIACError, match=r"^Another process is embedding into '.*t.npz'; wait for it"):
            run(manifest, store, out)
        told.append(case.path.name)

    run(manifest, store, out, done=second)
    assert told == ["a.nii", "b.nii", "c.nii", "d.nii"]
    assert len(read_table(out)) == 4
    assert run(manifest, store, out).reused == 4


def test_one_bad_scan_does_not_end_the_cohort_whatever_goes_wrong_with_it(manifest, store, tmp_path):
    manifest.write_text("scan,patient\na.nii,p1\nmissing.nii,p2\nb.nii,p3\nc.nii,p4\n")

    def read(path):
        if path.name == "b.nii":
            raise RuntimeError("a reader's surprise\nwith details")
        if path.name == "c.nii":
            raise MemoryError
        return read_scan(path)

    for _ in range(2):  # also on restart
        found = run(manifest, store, tmp_path / "t.npz", read=read)
        assert list(found.table.columns["scan"]) == ["a.nii"]
        assert "does not exist" in found.failures["missing.nii"]
        assert "RuntimeError: a reader's surprise)" in found.failures["b.nii"]
        assert "more memory than is free" in found.failures["c.nii"]


@pytest.mark.skipif(sys.platform == "win32", reason="names of any bytes are those of POSIX systems")
def test_a_name_that_is_no_utf8_is_embedded_and_written(manifest, store, tmp_path):
    strange = Path(os.fsdecode(bytes(tmp_path) + b"/sc\xffn.nii"))
    strange.write_bytes((tmp_path / "a.nii").read_bytes())
    for name in ("t.csv", "t.parquet"):
        found = embed_cohort(cases_of_files([strange]), tmp_path / name, Predictor("cpu", [store]), options=OFFICIAL)
        assert found.failures == {}
        assert list(read_table(tmp_path / name).columns["scan"]) == [f"{tmp_path}/sc\\udcffn.nii"]


def test_a_table_that_a_spreadsheet_program_saved_again_is_read(manifest, store, tmp_path):
    table = run(manifest, store, tmp_path / "t.csv").table
    lines = list(csv.reader((tmp_path / "t.csv").read_text().splitlines()))
    for separator, encoding in ((";", "utf-8-sig"), ("\t", "utf-16")):
        text = io.StringIO()
        writer = csv.writer(text, delimiter=separator)
        for line in lines:
            writer.writerow([cell.replace(".", ",") if separator == ";" and is_number(cell) else cell for cell in line])
        (tmp_path / "saved.csv").write_bytes(text.getvalue().encode(encoding))
        assert np.array_equal(read_table(tmp_path / "saved.csv").embeddings, table.embeddings)


def is_number(cell):
    try:
        return "." in cell and bool(float(cell) or True)
    except ValueError:
        return False


def test_another_frame_of_the_same_file_is_another_image(store, tmp_path):
    noise = np.random.default_rng(0).uniform(50, 150, (2, 40, 40, 40)).astype(np.float32)
    image = sitk.JoinSeries([sitk.GetImageFromArray(frame) for frame in noise])
    image.SetSpacing((4, 4, 4, 1))
    sitk.WriteImage(image, str(tmp_path / "two.nii"))
    (tmp_path / "cases.csv").write_text("scan\ntwo.nii\n")
    first, second = (run(tmp_path / "cases.csv", store, tmp_path / "t.npz", frame=frame) for frame in (0, 1))
    assert (first.computed, second.computed) == (1, 1), (first.failures, second.failures)
    assert not np.array_equal(first.table.embeddings, second.table.embeddings)


@pytest.mark.parametrize("cut", [0, 30])
def test_a_stopped_run_goes_on_where_it_was(cut, manifest, store, tmp_path, monkeypatch):
    done, out = counted(monkeypatch), tmp_path / "t.npz"
    with pytest.raises(Cancelled):
        run(manifest, store, out, job=Job(cancelled=lambda: len(done) >= 2))
    assert not out.exists()
    journal = tmp_path / ".t.npz.partial"
    journal.write_bytes(journal.read_bytes()[: len(journal.read_bytes()) - cut])  # a kill in the middle of a line
    finished = run(manifest, store, out)
    assert finished.computed == (1 if cut == 0 else 2)
    assert not journal.exists()
    assert finished.table.sha256 == run(manifest, store, tmp_path / "other.npz").table.sha256


def test_no_row_of_a_table_is_dropped_unless_told(manifest, store, tmp_path, monkeypatch):
    out = tmp_path / "t.csv"
    run(manifest, store, out)
    before, done = out.read_bytes(), counted(monkeypatch)
    manifest.write_text("scan,patient,sequence,label\na.nii,p1,T1,x\nd.nii,p3,T1,y\n")
    (tmp_path / "a.nii").write_bytes((tmp_path / "a.nii").read_bytes()[:-4] + bytes(4))  # it would be embedded anew
    with pytest.raises(
        BrainIACError, match=r"^2 of the 4 scans in '.*t.csv' are not .* 'b.nii'.*another place"
    ) as raised:
        run(manifest, store, out)
    assert raised.value.command == "--replace"
    assert (out.read_bytes(), done) == (before, [])
    assert list(run(manifest, store, out, replace=True).table.columns["scan"]) == ["a.nii", "d.nii"]


def test_a_scan_that_cannot_be_read_today_keeps_its_row_of_another_day(manifest, store, tmp_path):
    out = tmp_path / "t.csv"
    run(manifest, store, out)
    before = out.read_bytes()
    (tmp_path / "b.nii").write_bytes(b"")
    with pytest.raises(
        BrainIACError, match=r"^1 scans that '.*t.csv' holds could not .* Nothing was replaced"
    ) as raised:
        run(manifest, store, out)
    assert raised.value.command == "--replace"
    assert out.read_bytes() == before
    assert "b.nii" not in run(manifest, store, out, replace=True).table.columns["scan"]


def test_no_label_of_a_table_is_dropped_unless_told(manifest, store, tmp_path):
    out = tmp_path / "t.csv"
    run(manifest, store, out)
    before = out.read_bytes()
    manifest.write_text("scan,patient,sequence\na.nii,p1,T1\nb.nii,p1,T2\nc.nii,p2,T1\nd.nii,p3,T1\n")
    with pytest.raises(BrainIACError, match=r"has the column 'label', which the scans to embed do not have"):
        run(manifest, store, out)
    assert out.read_bytes() == before
    assert "label" not in run(manifest, store, out, replace=True).table.columns


def test_a_file_that_is_no_embedding_table_is_not_overwritten_unless_told(manifest, store, tmp_path):
    before = manifest.read_bytes()
    with pytest.raises(BrainIACError, match=r"cases.csv' is there already and is no embedding table"):
        run(manifest, store, manifest)
    assert manifest.read_bytes() == before
    assert run(manifest, store, manifest, replace=True).computed == 3


def test_the_panel_drops_what_a_person_took_out_of_its_list(manifest, store, tmp_path):
    service = Service(tmp_path, [store])
    cases = tuple(CaseFile(tmp_path / f"{name}.nii", {"scan": name}) for name in "ab")
    both = EmbedCases(cases, tmp_path / "t.npz", options=OFFICIAL, replace=True, device="cpu")
    assert service.answer(both)["scans"] == 2
    assert service.answer(dataclasses.replace(both, cases=cases[1:])) == {
        "scans": 1, "computed": 0, "reused": 1, "failures": {}, "model": "small", "size": 64,
    }  # fmt: skip


def test_a_missing_folder_is_named_before_any_work(manifest, store, tmp_path, monkeypatch):
    done = counted(monkeypatch)
    with pytest.raises(BrainIACError, match=r"^The folder '.*nodir' does not exist"):
        run(manifest, store, tmp_path / "nodir" / "t.csv")
    assert done == []


def test_a_scan_that_cannot_be_read_costs_only_itself(manifest, store, tmp_path):
    (tmp_path / "b.nii").write_bytes(b"nothing")
    embedded = run(manifest, store, tmp_path / "t.csv")
    assert list(embedded.failures) == ["b.nii"]
    assert list(embedded.table.columns["scan"]) == ["a.nii", "c.nii", "d.nii"]


def embed_command(manifest, store, *more):
    fixed = ["--out", str(manifest.with_name("t.npz")), "--models-dir", str(store), "--device", "cpu"]
    return main(["embed", "--manifest", str(manifest), "--preset", "official", *fixed, *more])


def test_without_a_terminal_the_command_counts_scans_and_sums_up_failures(manifest, store, monkeypatch, capsys):
    manifest.with_name("b.nii").write_bytes(b"nothing")
    monkeypatch.setattr("BrainIACLib.cli.embed.SECONDS_BETWEEN_LINES", 0)
    assert embed_command(manifest, store) == 1
    out, err = capsys.readouterr()
    assert [line for line in err.splitlines() if line.endswith(" of 4 scans")] == [
        f"{i} of 4 scans" for i in (1, 2, 3, 4)
    ]
    assert err.splitlines()[-1] == "brainiac: 1 of 4 scans failed; see above."
    assert out.startswith("3 embeddings of")
    assert embed_command(manifest, store, "--json") == 1
    assert " of 4 scans" not in capsys.readouterr().err


def test_a_command_stopped_by_the_person_says_that_it_goes_on(manifest, store, monkeypatch, capsys):
    shown = []

    def stopped(**fields):
        shown.append(fields)
        if len(shown) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("BrainIACLib.cli.embed.print_json", stopped)
    assert embed_command(manifest, store, "--json") == 130
    err = capsys.readouterr().err
    assert "the scans embedded so far are kept; run the same command again to go on." in err
    assert embed_command(manifest, store) == 0
    known = int(capsys.readouterr().out.split(" computed, ")[1].split()[0])
    assert known >= 2  # the worker may have been further than what was shown


@pytest.mark.parametrize("suffix", ["csv", "npz", "parquet"])
def test_every_format_gives_back_the_table_to_the_bit(suffix, tmp_path):
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    rows = [
        {"scan": f"ä {i}, b.nii", "patient": str(i), "label": "1" if i else "", "note": 'say "x"'} for i in range(3)
    ]
    table = table_of(rows, np.random.default_rng(0).standard_normal((3, 7)) * 1e-3)
    write_table(table, tmp_path / f"t.{suffix}")
    back = read_table(tmp_path / f"t.{suffix}")
    assert np.array_equal(back.embeddings, table.embeddings)
    assert {name: list(values) for name, values in back.columns.items()} == {
        name: list(values) for name, values in table.columns.items()
    }
    assert back.sha256 == table.sha256
    assert set(FACTS) <= set(back.columns)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("path,label\na.nii,x\n", "has no column 'scan'; its columns are path, label\\."),
        ("scan,label,label\na.nii,x,y\n", "has the column 'label' twice"),
        ("", "has no column 'scan'; its columns are none"),
        ("scan,label\n", "has no rows"),
        ("scan,label\n,x\n", "line 2: scan is empty"),
        ("scan,label\na.nii,x\nb.nii,x\n./a.nii,y\n", "line 4: the scan '\\./a.nii' stands in line 2 already"),
        ("scan,patient\na.nii,sub-1\nb.nii,SUB-1\n", "line 3: the patient 'SUB-1' is spelled 'sub-1' in line 2"),
        ("scan,label\na.nii,x,y\n", "Line 2 .* another number of cells"),
        ("scan,sha256\na.nii,x\n", "mean something else"),
        ("scan,e0\na.nii,x\n", "mean something else"),
    ],
)
def test_a_bad_manifest_is_named_with_its_line(text, reason, manifest, tmp_path):
    manifest.write_text(text)
    with pytest.raises(BrainIACError, match=reason):
        read_cohort(manifest)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("scan;age\na.nii;72,5\n", {"scan": "a.nii", "age": "72.5"}),  # Excel where the decimal sign is a comma
        ('scan,age\na.nii,"72,5"\n', {"scan": "a.nii", "age": "72,5"}),
        ("scan,why (a;b;c)\na.nii,x\n", {"scan": "a.nii", "why (a;b;c)": "x"}),
    ],
)
def test_a_table_of_a_spreadsheet_is_read_as_it_was_meant(text, expected, tmp_path):
    (tmp_path / "t.csv").write_text(text)
    _, [(line, row)] = read_rows(tmp_path / "t.csv", "The table")
    assert (line, row) == (2, expected)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_manifests_of_any_spreadsheet_program_are_read(separator, manifest):
    """A separator other than the comma leaves commas in cells alone; the index that pandas writes is no column."""
    rows = [["", " scan", "label"], ["0", "a.nii", '"grade 2; 3,\tlow"'], ["1", "b.nii ", "y"], ["", "", ""]]
    text = "\r\n".join(separator.join(cells) for cells in rows)
    manifest.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert [case.facts for case in read_cohort(manifest)] == [
        {"scan": "a.nii", "label": "grade 2; 3,\tlow"},
        {"scan": "b.nii", "label": "y"},
    ]


def test_a_manifest_that_is_missing_or_in_another_encoding_says_what_to_do(manifest, tmp_path):
    manifest.write_bytes("scan,größe\na.nii,1\n".encode("latin-1"))
    with pytest.raises(BrainIACError, match=r"^The manifest '.*' is no text in UTF-8; save it as 'CSV UTF-8'"):
        read_cohort(manifest)
    with pytest.raises(BrainIACError, match=r"^The manifest '.*absent.csv' does not exist"):
        read_cohort(tmp_path / "absent.csv")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("t.csv", b"scan,e0\na,1\n", "lacks the columns"),
        ("t.csv", b"scan,label\na,1\n", "not a readable embedding table"),
        ("t.csv", b"scan,e0,e1\na,1\n", "not a readable embedding table"),
        ("t.csv", b"scan,e0\na,word\n", "not a readable embedding table"),
        ("t.npz", b"PK nothing", "not a readable embedding table"),
        ("t.txt", b"", "must end in"),
    ],
)
def test_what_is_no_table_is_refused_in_words(name, content, reason, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BrainIACError, match=reason):
        read_table(tmp_path / name)
    with pytest.raises(BrainIACError, match="does not exist"):
        read_table(tmp_path / "absent.csv")


def test_brain_volume_and_histogram_of_a_phantom_are_those_of_its_formula():
    """A ball of radius 40 mm has 268.08 ml; intensities that are uniform from 0 to 1 fill all bins alike."""
    grid = np.stack(np.meshgrid(*(np.arange(50) * 2 - 49.0 for _ in range(3)), indexing="ij"))
    ball = (grid**2).sum(axis=0) <= 40**2
    values = np.where(ball, np.random.default_rng(0).uniform(0.001, 1, ball.shape), 0).astype(np.float32)
    image, mask = sitk.GetImageFromArray(values), sitk.GetImageFromArray(ball.astype(np.uint8))
    for each in (image, mask):
        each.SetSpacing((2, 2, 2))
    texts = measures_of(Standardised(image, image, mask, mask, sitk.Euler3DTransform(), ()))
    columns = {name: [text] for name, text in texts.items()}
    assert measured_numbers(columns, "brain_ml") == pytest.approx(4 / 3 * np.pi * 4**3, rel=0.01)
    shares = measured_numbers(columns, "intensity_histogram")[0]
    assert shares == pytest.approx(np.full(BINS, 1 / BINS), abs=0.006)
    assert measured_numbers({**columns, "brain_ml": [""]}, "brain_ml") is None


def test_the_measures_of_a_scan_stay_with_its_row(manifest, store, tmp_path):
    first = run(manifest, store, tmp_path / "t.csv").table
    again = run(manifest, store, tmp_path / "t.csv")
    assert again.computed == 0
    for name in MEASURES:
        assert measured_numbers(first.columns, name) is not None
        assert list(again.table.columns[name]) == list(first.columns[name])
    earlier = type(first)({k: v for k, v in first.columns.items() if k not in MEASURES}, first.embeddings)
    write_table(earlier, tmp_path / "t.csv")  # of a version that did not measure: its embeddings are used all the same
    assert run(manifest, store, tmp_path / "t.csv").computed == 0
