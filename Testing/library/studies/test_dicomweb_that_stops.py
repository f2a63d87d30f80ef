"""A DICOM server that stops in the middle: a stub over loopback that knows three series and breaks where it is told."""

from __future__ import annotations

import http.server
import io
import json
import threading
from collections.abc import Iterator

import pydicom
import pytest
from fabricated_study import MPRAGE, FabricatedStudy
from test_studies_bad_input import ball

from BrainIACLib.cli import main
from BrainIACLib.dicom_network import dicomweb
from BrainIACLib.errors import BrainIACError

pytest.importorskip("dicomweb_client", reason="needs dicomweb-client (pip install dicomweb-client)")
BOUNDARY = "part"


class Stub(http.server.BaseHTTPRequestHandler):
    """QIDO of the series, WADO of each.

    ``breaks``: series -> how its answer ends. ``series``: UID -> files as bytes.
    """

    series: dict[str, list[bytes]]
    breaks: dict[str, str]

    def do_GET(self) -> None:
        uid = self.path.split("/series/")[-1].split("?")[0] if "/series/" in self.path else ""
        if not uid:
            rows = [{"0020000E": {"vr": "UI", "Value": [one]}, "00080060": {"vr": "CS", "Value": ["MR"]}}
                    for one in self.series]  # fmt: skip
            return self._answer(200, "application/dicom+json", json.dumps(rows).encode())
        parts = [b"--part\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n" for file in self.series[uid]]
        body = b"".join(parts) + b"--part--\r\n"
        how = self.breaks.get(uid, "")
        if how == "error":
            return self._answer(500, "text/plain", b"Doe is locked")
        if how == "nonsense":
            return self._answer(200, f'multipart/related; type="application/dicom"; boundary={BOUNDARY}', b"nothing")
        self._answer(200, f'multipart/related; type="application/dicom"; boundary={BOUNDARY}', body,
                     len(body) // 2 if how == "cut" else None)  # fmt: skip
        return None

    def _answer(self, status: int, kind: str, body: bytes, until: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:until])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def server(tmp_path, monkeypatch) -> Iterator[tuple[str, str, type[Stub]]]:
    """(address, study UID, the stub)."""
    monkeypatch.setattr(dicomweb, "SECONDS", 5.0)
    study = FabricatedStudy(tmp_path / "on_server")
    series = {}
    for number in range(3):
        uid = study.add(ball((40, 40, 10), (4.0, 4.0, 12.0)) + number, MPRAGE)
        series[uid] = [file.read_bytes() for file in sorted(study.folder.glob(f"s{number + 1:02d}/*.dcm"))]
    stub = type("Stub", (Stub,), {"series": series, "breaks": {}})
    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), stub)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_address[1]}", study.study_uid, stub
    listening.shutdown()
    listening.server_close()


@pytest.mark.parametrize("how", ["cut", "error", "nonsense"])
def test_a_series_that_the_server_does_not_give_whole_is_told_and_the_others_are_had(server, how):
    address, study, stub = server
    uids = list(stub.series)
    stub.breaks = {uids[1]: how}
    with dicomweb.retrieved(address, study) as found:
        got = [str(pydicom.dcmread(file).SeriesInstanceUID) for file in sorted(found.folder.iterdir())]
        assert got == [uids[0]] * 10 + [uids[2]] * 10
        assert found.notes == ("1 of 3 series could not be had from the server; ask it again.",)


def test_a_server_that_gives_nothing_is_one_sentence_and_leaves_nothing(server, tmp_path, capsys):
    address, study, stub = server
    stub.breaks = dict.fromkeys(stub.series, "cut")
    out = tmp_path / "report"
    assert main(["study", "--dicomweb", address, "--study", study, "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert said.count("brainiac:") == 1
    assert "Doe" not in said
    assert not out.exists()


def test_a_disk_that_is_full_while_the_study_comes_is_one_sentence(server, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    address, study, _ = server
    monkeypatch.setattr(pydicom.Dataset, "save_as", full)
    with pytest.raises(BrainIACError, match="TMPDIR"), dicomweb.retrieved(address, study):
        pass


def test_a_file_that_arrives_is_the_file_that_was_sent(server):
    address, study, stub = server
    sent = {pydicom.dcmread(io.BytesIO(file)).SOPInstanceUID: file for files in stub.series.values() for file in files}
    with dicomweb.retrieved(address, study) as found:
        for file in found.folder.iterdir():
            got = pydicom.dcmread(file)
            assert got.PixelData == pydicom.dcmread(io.BytesIO(sent[got.SOPInstanceUID])).PixelData
