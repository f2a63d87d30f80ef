"""A real DICOM server: Orthanc from Debian with its DICOMweb plugin, on loopback."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pydicom
import pytest
from fabricated_study import IDENTITY_WORDS

from BrainIACLib.cli import main
from BrainIACLib.dicom_network.dicomweb import retrieved
from BrainIACLib.errors import BrainIACError

pytest.importorskip("dicomweb_client", reason="needs dicomweb-client (pip install dicomweb-client)")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
ORTHANC = shutil.which("Orthanc") or ("/usr/sbin/Orthanc" if Path("/usr/sbin/Orthanc").exists() else None)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a running Orthanc."""
    if ORTHANC is None or not PLUGIN.exists():
        pytest.skip("needs Orthanc with DICOMweb (apt-get install orthanc orthanc-dicomweb)")
    folder = tmp_path_factory.mktemp("orthanc")
    port, dicom_port = _free_port(), _free_port()
    settings = {
        "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"), "HttpPort": port,
        "DicomPort": dicom_port, "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
        "Plugins": [str(PLUGIN)], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings))
    process = subprocess.Popen(
        [ORTHANC, str(folder / "orthanc.json")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(200):
            if _is_up(f"{address}/system"):
                break
            time.sleep(0.1)
        else:
            pytest.fail("Orthanc does not start")
        yield address
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def stored(server, study_folder) -> str:
    """The UID of the study, which is on the server."""
    for file in sorted(study_folder.rglob("*.dcm")):
        request = urllib.request.Request(f"{server}/instances", data=file.read_bytes(), method="POST")
        urllib.request.urlopen(request, timeout=30).read()
    return str(pydicom.dcmread(next(study_folder.rglob("*.dcm"))).StudyInstanceUID)


def test_a_study_of_the_server_is_analyzed_and_its_results_are_found_there(server, stored, tmp_path, capsys):
    pytest.importorskip("highdicom", reason="needs highdicom (pip install highdicom)")
    command = [
        "study",
        "--dicomweb",
        f"{server}/dicom-web",
        "--study",
        stored,
        "--out",
        str(tmp_path),
        "--samples",
        "1",
        "--store",
    ]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "DICOM objects stored" in said
    assert not [word for word in IDENTITY_WORDS if word in said.replace(str(tmp_path), "")]
    found = json.loads(urllib.request.urlopen(f"{server}/dicom-web/studies/{stored}/series").read())
    kinds = {row["00080060"]["Value"][0] for row in found}
    assert {"MR", "SR", "SEG"} <= kinds
    report = next(row["0020000E"]["Value"][0] for row in found if row["00080060"]["Value"][0] == "SR")
    assert report == pydicom.dcmread(tmp_path / "report.dcm").SeriesInstanceUID


def test_the_files_of_the_server_are_those_that_were_sent_and_are_removed(server, stored, study_folder):
    sent = {str(pydicom.dcmread(file).SOPInstanceUID) for file in study_folder.glob("s02/*.dcm")}
    with retrieved(f"{server}/dicom-web", stored) as found:
        got = {str(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID) for file in found.folder.iterdir()}
        assert sent <= got
        assert found.notes == ()
    assert not found.folder.exists()


def test_a_study_that_is_not_there_and_a_server_that_is_not_there_are_one_sentence(server):
    with pytest.raises(BrainIACError, match="no images of such a study"), retrieved(f"{server}/dicom-web", "1.2.3.4"):
        pass
    with pytest.raises(BrainIACError, match="does not answer"), retrieved("http://127.0.0.1:9/dicom-web", "1.2.3"):
        pass


def _is_up(address: str) -> bool:
    try:
        return urllib.request.urlopen(address, timeout=1).status == 200
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
