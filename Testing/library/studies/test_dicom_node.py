"""The node: what it receives is on disk before its sender hears so, is analyzed once, and is sent once."""

from __future__ import annotations

import errno
import json
import logging
import shutil
import ssl
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from fabricated_study import IDENTITY_WORDS, MPRAGE, FabricatedStudy

from BrainIACLib.dicom_network.inbox import Inbox
from BrainIACLib.dicom_network.node import Node, NodeOptions
from BrainIACLib.errors import BrainIACError
from BrainIACLib.studies.identity import Identity

pynetdicom = pytest.importorskip("pynetdicom", reason="needs pynetdicom (pip install pynetdicom)")

from BrainIACLib.dicom_network.receiving import server_context, start_receiver  # noqa: E402
from BrainIACLib.dicom_network.sending import Destination, destination_of, send  # noqa: E402

HOST = "127.0.0.1"


@pytest.fixture
def files(tmp_path) -> list[Path]:
    """Twelve slices."""
    study = FabricatedStudy(tmp_path / "sent" / "Doe")
    image = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 900, (12, 40, 40)).astype(np.uint16))
    study.add(image, MPRAGE)
    return sorted(study.folder.rglob("*.dcm"))


def receiver(inbox: Inbox, allowed=(), context=None):
    """(server, its port)."""
    server = start_receiver(inbox, "BRAINIAC", HOST, 0, allowed, context, lambda name: None)
    return server, server.server_address[1]


def reported(images: Path, report: Path, label: str) -> str:
    """An analysis that takes no time: publishes what a real one would for the queue to see."""
    report.mkdir(parents=True, exist_ok=True)
    for name in ("report.dcm", "summary.dcm"):
        shutil.copy(next(images.glob("*.dcm")), report / name)
    (report / "study.json").write_text(json.dumps({"label": label, "study": "x"}), encoding="utf-8")
    return "done"


def test_what_arrives_lies_in_the_inbox_under_a_pseudonym(files, tmp_path):
    inbox = Inbox(tmp_path / "inbox")
    server, port = receiver(inbox)
    send(files, Destination("BRAINIAC", HOST, port), "PACS", lambda file: None)
    send(files[:3], Destination("BRAINIAC", HOST, port), "PACS", lambda file: None)  # again
    server.shutdown()
    (study,) = inbox.studies()
    source = pydicom.dcmread(files[0])
    assert study.name == Identity(study_uid=str(source.StudyInstanceUID)).pseudonym
    assert study.count() == 12
    kept = {pydicom.dcmread(file).SOPInstanceUID: pydicom.dcmread(file) for file in study.images.iterdir()}
    assert (kept[source.SOPInstanceUID].pixel_array == source.pixel_array).all()
    names = " ".join(str(path.relative_to(tmp_path)) for path in (tmp_path / "inbox").rglob("*"))
    assert not [word for word in IDENTITY_WORDS if word in names]


def test_only_the_ae_titles_that_are_allowed_may_send(files, tmp_path):
    inbox = Inbox(tmp_path / "inbox")
    server, port = receiver(inbox, allowed=["PACS"])
    send(files[:1], Destination("BRAINIAC", HOST, port), "PACS", lambda file: None)
    for mine, its in (("STRANGER", "BRAINIAC"), ("PACS", "OTHER")):
        with pytest.raises(BrainIACError, match="does not accept"):
            send(files[1:2], Destination(its, HOST, port), mine, lambda file: None)
    server.shutdown()
    assert inbox.studies()[0].count() == 1


def test_a_study_is_answered_once_it_is_quiet_and_again_only_with_more_images(files, tmp_path, monkeypatch):
    inbox, asked, later = Inbox(tmp_path / "inbox"), [], [0.0]
    clock = types.SimpleNamespace(time=lambda: time.time() + later[0])
    monkeypatch.setattr("BrainIACLib.dicom_network.inbox.time", clock)

    def analyze(images, report, label):
        asked.append(label)
        return reported(images, report, label)

    _put(inbox, files[:8])
    node = Node(inbox, NodeOptions("BRAINIAC", wait_seconds=300.0), analyze)
    node.look()
    assert asked == []
    later[0] = 400.0
    for _ in range(3):
        node.look()
    assert len(asked) == 1
    _put(inbox, files)
    later[0] = 800.0
    node.look()
    Node(inbox, NodeOptions("BRAINIAC", wait_seconds=0.0), analyze).look()  # as after a restart
    assert len(asked) == len(set(asked)) == 2


def test_a_study_that_fails_is_remembered_with_its_sentence_and_the_next_is_answered(files, tmp_path, caplog):
    inbox, asked = Inbox(tmp_path / "inbox"), []
    _put(inbox, files[:2])
    other = FabricatedStudy(tmp_path / "other")
    other.add(sitk.GetImageFromArray(np.zeros((3, 40, 40), np.uint16)), MPRAGE)
    _put(inbox, sorted(other.folder.rglob("*.dcm")))

    def analyze(images, report, label):
        asked.append(label)
        if len(asked) == 1:
            raise BrainIACError(f"'{images}' holds no scan.")
        return reported(images, report, label)

    logging.getLogger("brainiac.node").propagate = True
    with caplog.at_level(logging.INFO, logger="brainiac.node"):
        for _ in range(3):
            Node(inbox, NodeOptions("BRAINIAC", wait_seconds=0.0), analyze).look()
    assert len(asked) == 2
    failed = [study for study in inbox.studies() if study.failed_label()]
    assert len(failed) == 1
    assert "holds no scan" in (failed[0].folder / "failed.json").read_text(encoding="utf-8")
    assert not [word for word in IDENTITY_WORDS if word in caplog.text.replace(str(tmp_path), "")]


def test_results_are_sent_once_each_also_after_a_restart_in_the_middle(files, tmp_path):
    inbox, got = Inbox(tmp_path / "inbox"), []
    _put(inbox, files)
    archive, port = _archive(got, refuse_after=1)
    options = NodeOptions("BRAINIAC", 0.0, Destination("PACS", HOST, port))
    Node(inbox, options, _two_objects).look()
    archive.shutdown()
    assert len(got) == 1
    archive, port = _archive(got, port=port)
    for _ in range(2):
        Node(inbox, options, _two_objects).look()
    archive.shutdown()
    assert len(got) == len(set(got)) == 2


def test_a_destination_that_is_away_loses_nothing(files, tmp_path):
    inbox = Inbox(tmp_path / "inbox")
    _put(inbox, files)
    node = Node(inbox, NodeOptions("BRAINIAC", 0.0, Destination("PACS", HOST, 9)), reported)
    node.look()
    (study,) = inbox.studies()
    assert study.analyzed_label() == study.label()
    assert study.sent() == set()


@pytest.mark.parametrize(
    "text", ["PACS", "PACS@host", "PACS@host:0", "PACS@host:99999", "@host:104", "A" * 17 + "@host:104"]
)
def test_a_destination_of_another_form_is_refused(text):
    with pytest.raises(BrainIACError, match="no destination"):
        destination_of(text)


def test_tls_is_spoken_and_a_sender_without_it_is_not_heard(files, tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    inbox = Inbox(tmp_path / "inbox")
    server, port = receiver(inbox, context=server_context(certificate, key, None))
    secure = ssl.create_default_context(cafile=str(certificate))
    send(files[:2], Destination("BRAINIAC", HOST, port, secure), "PACS", lambda file: None)
    with pytest.raises(BrainIACError):
        send(files[2:3], Destination("BRAINIAC", HOST, port), "PACS", lambda file: None)
    server.shutdown()
    assert inbox.studies()[0].count() == 2


def test_a_killed_node_goes_on_where_it_was(files, tmp_path):
    """The real command, killed without warning after the images were acknowledged, then started again."""
    port, inbox = _free_port(), tmp_path / "inbox"
    command = [
        sys.executable,
        "-m",
        "BrainIACLib.cli",
        "node",
        "--port",
        str(port),
        "--out",
        str(inbox),
        "--wait",
        "600",
    ]
    node = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    _wait_for_line(node, "listens")
    send(files, Destination("BRAINIAC", HOST, port), "PACS", lambda file: None)
    node.kill()
    node.wait()
    assert Inbox(inbox).studies()[0].count() == 12
    assert [study.label() for study in Inbox(inbox).due(0.0)] == [Inbox(inbox).studies()[0].label()]
    command[-1] = "0"
    node = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    line = _wait_for_line(node, "series,")  # too little for a brain: every series set aside, and said so
    node.terminate()
    assert node.wait(60) == 0
    assert "1 series, 1 set aside" in line
    assert not [word for word in IDENTITY_WORDS if word in line]
    assert (Inbox(inbox).studies()[0].report / "report.html").is_file()


class _Killed(BaseException):
    """The process ends here."""


def test_a_node_that_is_killed_at_any_call_of_the_file_system_loses_nothing_and_sends_nothing_new(
    files, tmp_path, monkeypatch
):
    """Every place at which a file is renamed or a line is noted, one after the other, is the place of the kill."""
    from BrainIACLib.publishing import files as publishing_files
    from BrainIACLib.publishing import journal

    done: set[int] = set()
    for last in range(40):
        inbox, got, calls = Inbox(tmp_path / f"inbox{last}"), [], [0]
        archive, port = _archive(got)
        options = NodeOptions("BRAINIAC", 0.0, Destination("PACS", HOST, port))
        replace, note = publishing_files.os.replace, journal.Journal.add

        def die(calls=calls, last=last) -> None:
            calls[0] += 1
            if calls[0] > last:
                raise _Killed

        with monkeypatch.context() as patched:
            patched.setattr(publishing_files.os, "replace", lambda *a, die=die, replace=replace: (die(), replace(*a)))
            patched.setattr(journal.Journal, "add", lambda *a, die=die, note=note: (die(), note(*a)))
            try:
                _put(inbox, files[:3])
                Node(inbox, options, _published).look()
            except _Killed:
                pass
            else:
                done.add(last)
        _put(inbox, files[:3])  # its sender heard no "success" of the last image, and sends again
        for _ in range(2):
            Node(inbox, options, _published).look()
        archive.shutdown()
        (study,) = inbox.studies()
        assert study.count() == 3
        assert study.analyzed_label() == study.label()
        assert len(set(got)) == 2
        assert {name for _, _, name in study.sent()} == {"report.dcm", "summary.dcm"}
        if done:
            break
    assert done, "the kill never came after the end"
    assert len(got) == 2


def _published(images: Path, report: Path, label: str) -> str:
    """As ``_two_objects``, by the publishing of the real report; the same images give the same objects."""
    from BrainIACLib.publishing import publishing_set

    first = sorted(images.glob("*.dcm"))[0]
    with publishing_set(report, ["report.dcm", "summary.dcm", "study.json"]) as staging:
        for number, name in enumerate(("report.dcm", "summary.dcm")):
            made = pydicom.dcmread(first)
            made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"2.25.{number + 1}"
            made.save_as(staging / name)
        (staging / "study.json").write_text(json.dumps({"label": label, "study": "x"}), encoding="utf-8")
    return "done"


def _full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_on_a_full_disk_an_image_is_refused_so_that_its_sender_keeps_it(files, tmp_path, monkeypatch):
    inbox = Inbox(tmp_path / "inbox")
    server, port = receiver(inbox)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", _full)
        with pytest.raises(BrainIACError, match="A700"):
            send(files[:1], Destination("BRAINIAC", HOST, port), "PACS", lambda file: None)
    assert sum(study.count() for study in inbox.studies()) == 0
    send(files[:1], Destination("BRAINIAC", HOST, port), "PACS", lambda file: None)
    server.shutdown()
    assert inbox.studies()[0].count() == 1


def test_a_full_disk_is_no_fault_of_the_study_it_is_analyzed_once_there_is_space(files, tmp_path, monkeypatch, caplog):
    inbox, tries = Inbox(tmp_path / "inbox"), []
    _put(inbox, files)

    def analyze(images, report, label):
        tries.append(label)
        if len(tries) == 1:
            raise BrainIACError(f"'{report}' cannot be written (No space left on device); free some space.")
        return reported(images, report, label)

    node = Node(inbox, NodeOptions("BRAINIAC", 0.0), analyze)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    logging.getLogger("brainiac.node").propagate = True
    node.look()
    assert "tried again in 5 minutes" in caplog.text
    assert not (inbox.studies()[0].folder / "failed.json").exists()
    node.look()
    assert len(tries) == 1  # not again at once
    monkeypatch.setattr("BrainIACLib.dicom_network.node.time.monotonic", lambda: 1e9)
    node.look()
    assert len(tries) == 2
    assert inbox.studies()[0].analyzed_label()


def test_a_node_whose_notes_cannot_be_written_goes_on(files, tmp_path, monkeypatch):
    inbox = Inbox(tmp_path / "inbox")
    _put(inbox, files)

    def analyze(images, report, label):
        raise BrainIACError("no scan")

    monkeypatch.setattr("BrainIACLib.publishing.files.os.open", _full)
    Node(inbox, NodeOptions("BRAINIAC", 0.0), analyze).look()
    assert not (inbox.studies()[0].folder / "failed.json").exists()


def test_studies_are_kept_unless_told_otherwise_and_then_until_they_are_sent(files, tmp_path):
    inbox = Inbox(tmp_path / "inbox")
    _put(inbox, files)
    Node(inbox, NodeOptions("BRAINIAC", 0.0), reported).look()
    assert inbox.studies()  # default: all is kept
    away = NodeOptions("BRAINIAC", 0.0, Destination("PACS", HOST, 9), keep_days=0.0)
    Node(inbox, away, reported).look()
    assert inbox.studies()  # the results are not sent yet
    waiting = NodeOptions("BRAINIAC", 0.0, keep_days=2.0)
    Node(inbox, waiting, reported).look()
    assert inbox.studies()  # not old enough
    Node(inbox, NodeOptions("BRAINIAC", 0.0, keep_days=0.0), reported).look()
    assert inbox.studies() == []
    assert not list((tmp_path / "inbox").iterdir())


def test_what_has_no_answer_or_nothing_to_send_is_not_removed(files, tmp_path):
    def fails(images, report, label):
        raise BrainIACError("no scan")

    def without_objects(images, report, label):
        said = reported(images, report, label)
        for file in report.glob("*.dcm"):
            file.unlink()
        return said

    for number, (analyze, to) in enumerate(((fails, None), (without_objects, Destination("PACS", HOST, 9)))):
        inbox = Inbox(tmp_path / f"inbox{number}")
        _put(inbox, files[:1])
        for _ in range(2):
            Node(inbox, NodeOptions("BRAINIAC", 0.0, to, keep_days=0.0), analyze).look()
        (study,) = inbox.studies()
        assert study.label() in (study.failed_label(), study.analyzed_label())


def test_an_image_that_begins_to_arrive_while_its_study_is_removed_begins_the_study_anew(files, tmp_path, monkeypatch):
    """Between the question whether the study is over and the rename."""
    inbox = Inbox(tmp_path / "inbox")
    _put(inbox, files[:3])
    Node(inbox, NodeOptions("BRAINIAC", 0.0), reported).look()
    sender, rename = threading.Thread(target=_put, args=(inbox, files[3:4])), Path.rename

    def late(path, target):
        sender.start()
        sender.join(0.3)  # it would be done by now, if nothing held it up
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", late)
    Node(inbox, NodeOptions("BRAINIAC", 0.0, keep_days=0.0), reported).look()
    sender.join()
    (study,) = inbox.studies()
    assert study.count() == 1
    assert study.analyzed_label() == ""


def test_a_study_of_which_an_image_is_being_written_is_not_removed(files, tmp_path, monkeypatch):
    """The same image again leaves the label as it was, so that the study still looks done with."""
    inbox = Inbox(tmp_path / "inbox")
    _put(inbox, files[:3])
    Node(inbox, NodeOptions("BRAINIAC", 0.0), reported).look()
    removing = Node(inbox, NodeOptions("BRAINIAC", 0.0, keep_days=0.0), reported)
    with monkeypatch.context() as patched:
        patched.setattr("BrainIACLib.publishing.files.sync_folder", lambda folder: removing.look())
        _put(inbox, files[:1])
    (study,) = inbox.studies()
    assert study.count() == 3
    Node(inbox, NodeOptions("BRAINIAC", 0.0, keep_days=0.0), reported).look()
    assert inbox.studies() == []


def test_what_was_being_removed_when_the_node_was_killed_is_removed_by_the_next_one(files, tmp_path, monkeypatch):
    inbox = Inbox(tmp_path / "inbox")
    _put(inbox, files)

    def killed(*_, **__):
        raise _Killed

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)
        with pytest.raises(_Killed):
            inbox.remove(inbox.studies()[0], lambda: True)
    assert inbox.studies() == []
    assert list((tmp_path / "inbox").iterdir())
    Inbox(tmp_path / "inbox")
    assert not list((tmp_path / "inbox").iterdir())


def test_a_node_for_other_computers_wants_to_know_who_may_send(capsys, tmp_path):
    from BrainIACLib.cli import main

    assert main(["node", "--host", "0.0.0.0", "--out", str(tmp_path / "inbox")]) == 1
    assert "--allow" in capsys.readouterr().err


def _put(inbox: Inbox, files: list[Path]) -> None:
    for file in files:
        header = pydicom.dcmread(file, stop_before_pixels=True)
        inbox.receive(str(header.StudyInstanceUID), str(header.SOPInstanceUID), file.read_bytes())


def _two_objects(images: Path, report: Path, label: str) -> str:
    said = reported(images, report, label)
    second = pydicom.dcmread(report / "summary.dcm")
    second.SOPInstanceUID = second.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    second.save_as(report / "summary.dcm")
    return said


def _archive(got: list[str], refuse_after: int | None = None, port: int = 0):
    """A PACS that keeps the UIDs of what it takes."""
    from pynetdicom import AE, AllStoragePresentationContexts, evt

    def store(event) -> int:
        if refuse_after is not None and len(got) >= refuse_after:
            return 0xA700
        got.append(str(event.request.AffectedSOPInstanceUID))
        return 0x0000

    ae = AE(ae_title="PACS")
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(context.abstract_syntax)
    server = ae.start_server((HOST, port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    return server, server.server_address[1]


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def _wait_for_line(process: subprocess.Popen, word: str) -> str:
    found: list[str] = []

    def read() -> None:
        for line in process.stderr:
            if word in line:
                found.append(line)
                return

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(240)
    assert found, f"'{word}' was never said"
    return found[0]
