"""The worker and its client: same numbers, and no way to die that hangs the client or leaves anything behind."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from BrainIACLib.errors import BrainIACError, Cancelled, ModelError, ScanError
from BrainIACLib.job import Job
from BrainIACLib.preprocessing.options import PreprocessingOptions
from BrainIACLib.private_folder import new_private_folder
from BrainIACLib.worker import protocol
from BrainIACLib.worker.client import LIBRARY_ROOT, Client
from BrainIACLib.worker.conversation import Conversation, Reply, WorkerError
from BrainIACLib.worker.device import Device
from BrainIACLib.worker.requests import CompareImages, Explain, Forget, Predict, PrepareStudy, Status, Steps
from BrainIACLib.worker.service import Service

QUICK = PreprocessingOptions(bias_field=False, brain_extraction="none")
SLOW = PreprocessingOptions(brain_extraction="none")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
posix_only = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")


@pytest.fixture(scope="module")
def head(tmp_path_factory) -> str:
    """A smooth ellipsoid with a brighter core, oblique, as a file."""
    k, j, i = np.mgrid[-1:1:40j, -1:1:48j, -1:1:44j]
    radius = np.sqrt((i / 0.75) ** 2 + (j / 0.9) ** 2 + (k / 0.8) ** 2)
    image = sitk.GetImageFromArray(np.where(radius < 1, 100 + 80 * (radius < 0.6) + 20 * j, 0).astype(np.float32))
    image.SetSpacing((4.0, 4.0, 4.0))
    turn = sitk.Euler3DTransform((0, 0, 0), 0.1, 0.2, 0.3)
    image.SetDirection(turn.GetMatrix())
    image.SetOrigin((-80.0, -90.0, -70.0))
    path = tmp_path_factory.mktemp("scans") / "head.nii.gz"
    sitk.WriteImage(image, str(path))
    return str(path)


def study(path, options=QUICK) -> PrepareStudy:
    """One scan, called "a"."""
    return PrepareStudy({"a": Path(path)}, options, device="cpu")


@pytest.fixture(scope="module")
def client():
    """One for all tests that leave it alive, or call again after it died."""
    with Client() as client:
        yield client


def gone(pid: int, seconds: float = 60.0) -> bool:
    """Whether the process ends within the time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        stat = Path(f"/proc/{pid}/stat")
        if stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


class Watch:
    """Knows when a request is in the middle of its work, and then does something, once."""

    def __init__(self, act=lambda: None):
        self._act = act
        self._begun = False

    def progress(self, step: str, fraction: float) -> None:
        if not self._begun:
            self._begun = True
            self._act()

    def cancelled(self) -> bool:
        return self._begun


# The wire


@pytest.mark.parametrize("line", [b"", b"hello", b"[1]", b"{}", b'{"type": 3}', b"\xff\xfe", b"[" * 5000])
def test_lines_that_are_no_messages_are_garbage(line):
    with pytest.raises(protocol.Garbage):
        protocol.decode(line)


def test_a_message_survives_the_wire_in_one_line():
    message = {"type": "result", "id": 1, "value": {"name": "Zoë\n", "probability": 0.1 + 0.2}}
    line = protocol.encode(message)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert protocol.decode(line) == message


def conversation_with_one_request():
    sent, log, outcome, steps = [], [], [], []
    conversation = Conversation(sent.append, log.append)
    reply = Reply(outcome.append, outcome.append, lambda step, fraction: steps.append((step, fraction)))
    number = conversation.request(Status(), reply)
    return conversation, number, log, outcome, steps


def test_the_client_puts_split_lines_together_and_skips_chatter():
    conversation, number, log, outcome, steps = conversation_with_one_request()
    messages = b"a library says hello\n" + protocol.encode(
        {"type": "progress", "id": number, "step": "n4", "fraction": 0.5}
    )
    messages += protocol.encode({"type": "result", "id": number, "value": {"x": 1}})
    for byte in messages:
        conversation.feed(bytes([byte]))
    assert (outcome, steps, log) == ([{"x": 1}], [("n4", 0.5)], ["a library says hello"])
    assert not conversation.busy


def test_errors_come_back_as_their_own_class_and_unasked_answers_are_only_logged():
    conversation, number, log, outcome, _steps = conversation_with_one_request()
    conversation.feed(protocol.encode({"type": "result", "id": 99, "value": {}}))
    assert outcome == []
    conversation.feed(protocol.encode({"type": "error", "id": number, "kind": "ScanError", "message": "It is a CT."}))
    assert isinstance(outcome[0], ScanError)
    assert str(outcome[0]) == "It is a CT."
    assert len(log) == 1


def test_another_version_of_the_protocol_is_refused():
    conversation, _number, _log, outcome, _steps = conversation_with_one_request()
    conversation.feed(protocol.encode({"type": "hello", "protocol": 99, "pid": 1}))
    assert isinstance(outcome[0], WorkerError)


# One process, well treated


def test_the_worker_tells_its_device_and_why(client):
    status = client.call(Status("cpu"))
    assert (status["device"], status["reason"]) == ("cpu", "chosen by you")
    assert {"torch", "SimpleITK", "BrainIACLib"} <= status["versions"].keys()


def test_mistakes_are_answered_and_the_worker_goes_on(client, tmp_path):
    client.call(Status("cpu"))
    pid = client.pid
    with pytest.raises(ScanError):
        client.call(study(tmp_path / "missing.nii.gz"))
    client.call(Forget())
    with pytest.raises(BrainIACError, match="No study"):
        client.call(Predict("sequence", {"any": "a"}))
    assert client.pid == pid


def test_a_study_is_prepared_once_and_forgotten_when_told(client, head, tmp_path):
    client.call(Forget())
    assert client.call(study(head))["reused"] is False
    assert client.call(study(head))["reused"] is True
    copy = tmp_path / "elsewhere.nii.gz"
    copy.write_bytes(Path(head).read_bytes())
    assert client.call(study(copy))["reused"] is True
    with pytest.raises(ModelError, match="'no-such-task'"):
        client.call(Predict("no-such-task", {"any": "a"}))
    client.call(Forget())
    with pytest.raises(BrainIACError, match="No study"):
        client.call(Predict("sequence", {"any": "a"}))


def test_steps_come_as_files_that_agree_with_each_other(client, head):
    client.call(study(head))
    paths = client.call(Steps("a"))
    assert all(Path(path).parent == client.folder for path in paths.values())
    native, mask = sitk.ReadImage(head), sitk.ReadImage(paths["mask"])
    to_native = sitk.ReadTransform(paths["transform"])
    moved = sitk.Resample(sitk.ReadImage(paths["native_mask"]), mask, to_native, sitk.sitkNearestNeighbor)
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(moved > 0, mask > 0)
    assert overlap.GetDiceCoefficient() > 0.98
    assert sitk.ReadImage(paths["native_mask"]).GetSize() == native.GetSize()


@linux_only
def test_there_is_no_socket_and_the_folder_is_private(client):
    client.call(Status("cpu"))
    links = [os.readlink(entry) for entry in Path(f"/proc/{client.pid}/fd").iterdir()]
    assert not [link for link in links if link.startswith("socket:")]
    assert client.folder.stat().st_mode & 0o077 == 0


def test_stopping_leaves_no_process_and_no_folder(client):
    client.call(Status("cpu"))
    pid, folder = client.pid, client.folder
    client.stop()
    assert gone(pid)
    assert not folder.exists()
    assert client.call(Status("cpu"))["device"] == "cpu"  # and a new one starts when asked


# One process, badly treated


def test_cancel_stops_the_work_and_keeps_the_worker(client, head):
    client.call(Status("cpu"))
    pid, watch = client.pid, Watch()
    with pytest.raises(Cancelled):
        client.call(study(head, SLOW), Job(watch.progress, watch.cancelled))
    assert client.pid == pid
    with pytest.raises(BrainIACError, match="No study"):
        client.call(Steps("a"))


@posix_only
def test_a_worker_that_does_not_obey_a_cancel_is_ended(head):
    with Client(grace=0.5) as client:
        watch = Watch(lambda: os.kill(client.pid, signal.SIGSTOP))
        with pytest.raises(Cancelled, match="had to be ended"):
            client.call(study(head, SLOW), Job(watch.progress, watch.cancelled))
        assert client.pid is None
        assert client.call(Status("cpu"))["device"] == "cpu"


@posix_only
def test_a_hung_worker_is_noticed_and_ended(head):
    with Client() as client:
        client.call(Forget())  # imports of several seconds are behind it now
        client.silence_limit = 5.0
        watch = Watch(lambda: os.kill(client.pid, signal.SIGSTOP))
        with pytest.raises(WorkerError, match="no sign of life"):
            client.call(study(head, SLOW), Job(watch.progress))
        assert client.pid is None


@posix_only
def test_a_killed_worker_is_reported_and_replaced(client, head):
    watch = Watch(lambda: os.kill(client.pid, signal.SIGKILL))
    with pytest.raises(WorkerError, match="code -9"):
        client.call(study(head, SLOW), Job(watch.progress))
    folder = client.folder
    assert client.call(Status("cpu"))["device"] == "cpu"
    assert not folder.exists()


def test_a_python_that_cannot_start_is_reported(tmp_path):
    with Client(command=(str(tmp_path / "no-python"),)) as client, pytest.raises(WorkerError, match="no-python"):
        client.call(Status())
    with (
        Client(command=(sys.executable, "-m", "no_such_module")) as client,
        pytest.raises(WorkerError, match="No module named no_such_module"),
    ):
        client.call(Status())


@posix_only
def test_a_launcher_in_front_of_the_interpreter_does_not_shield_it(tmp_path, head):
    """Slicer's PythonSlicer is such a launcher: killing it alone leaves the interpreter running."""
    launcher = tmp_path / "launcher"
    launcher.write_text(f'#!/bin/sh\nexec 3<&0\n"{sys.executable}" "$@" <&3 3<&- &\nexec <&- 3<&-\nwait $!\n')
    launcher.chmod(0o755)
    interpreters = []
    with Client(command=(str(launcher), "-m", "BrainIACLib.worker"), grace=0.5) as client:

        def stop():
            interpreters.append(client._conversation.pid)
            os.kill(interpreters[0], signal.SIGSTOP)

        watch = Watch(stop)
        with pytest.raises(Cancelled):
            client.call(study(head, SLOW), Job(watch.progress, watch.cancelled))
        assert gone(interpreters[0])


def raw_worker() -> tuple[subprocess.Popen, Path]:
    folder = new_private_folder()
    command = [sys.executable, "-m", "BrainIACLib.worker", str(folder)]
    process = subprocess.Popen(command, cwd=LIBRARY_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert protocol.decode(process.stdout.readline())["protocol"] == protocol.VERSION
    return process, folder


def test_garbage_from_the_client_is_answered_and_survived():
    process, folder = raw_worker()
    process.stdin.write(b"\x00\xff not a message\n[1, 2]\n" + protocol.encode({"type": "unheard of"}))
    process.stdin.write(protocol.encode({"type": "request", "id": 7, "action": "dance"}))
    process.stdin.write(protocol.encode({"type": "shutdown"}))
    process.stdin.flush()
    answers = [protocol.decode(process.stdout.readline()) for _ in range(2)]
    assert [answer["id"] for answer in answers] == [None, None]
    assert process.wait(300) == 0
    process.stdin.close()
    process.stdout.close()
    assert not folder.exists()


def test_closed_standard_input_ends_the_worker_and_its_folder():
    process, folder = raw_worker()
    process.stdin.close()
    assert process.wait(300) == 0
    process.stdout.close()
    assert not folder.exists()


def test_a_broken_pipe_ends_the_worker():
    process, folder = raw_worker()
    process.stdout.close()
    process.stdin.write(b"garbage that wants an answer\n")
    process.stdin.flush()
    assert process.wait(300) == 0
    process.stdin.close()
    assert not folder.exists()


def test_no_folder_of_another_name_is_ever_removed(tmp_path):
    (tmp_path / "precious").write_text("data")
    command = [sys.executable, "-m", "BrainIACLib.worker", str(tmp_path)]
    done = subprocess.run(command, cwd=LIBRARY_ROOT, input=b"", capture_output=True)
    assert done.returncode == 2
    assert (tmp_path / "precious").exists()


@posix_only
def test_a_worker_in_the_middle_of_its_work_ends_when_its_parent_is_killed(head):
    """Slicer crashed: no process and no copy of a scan stays behind."""
    program = f"""
import sys
from pathlib import Path
from BrainIACLib.job import Job
from BrainIACLib.preprocessing.options import PreprocessingOptions
from BrainIACLib.worker.client import Client
from BrainIACLib.worker.requests import PrepareStudy
client = Client()
def progress(step, fraction):
    print(client.pid, client.folder, flush=True)
client.call(PrepareStudy({{"a": Path({head!r})}}, {SLOW!r}, device="cpu"), Job(progress))
"""
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=LIBRARY_ROOT, stdout=subprocess.PIPE, text=True)
    pid, folder = parent.stdout.readline().split()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone(int(pid))
    assert not Path(folder).exists()


# Too little memory


def test_out_of_memory_goes_to_the_cpu_with_a_note(tmp_path, monkeypatch, head):
    """A stand-in for a device whose memory is too small at first for the study, then only for the map."""
    import torch

    from BrainIACLib.prepared_study import PreparedStudy
    from BrainIACLib.worker import session
    from BrainIACLib.worker.service import Service

    @dataclasses.dataclass
    class Prediction:
        trust: object = None

        def to_json(self):
            return {"label": "T1"}

    class SmallDevicePredictor:
        def __init__(self, device, models):
            self.device = device

        study = PreparedStudy()

        def set_study(self, scans, options, job, mask):
            if self.device == "cuda" and "too big" in scans:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return {}

        def predict(self, task, scans, **unused):
            if self.device == "cuda":
                raise ModelError("too little memory") from torch.OutOfMemoryError("CUDA out of memory")
            return Prediction()

    monkeypatch.setattr(session, "Predictor", SmallDevicePredictor)
    monkeypatch.setattr(session, "pick_device", lambda requested: Device("cuda", "test"))

    for name in ("fits", "too big"):
        service = Service(tmp_path)
        service.answer(PrepareStudy({name: Path(head)}))
        answer = service.answer(Predict("sequence", {"any": name}))
        assert answer["label"] == "T1"
        assert "computed on the CPU instead" in answer["note"]


def test_an_error_that_is_not_about_memory_is_not_repeated_on_the_cpu(tmp_path, monkeypatch, head):
    from BrainIACLib.worker import session
    from BrainIACLib.worker.service import Service

    devices = []

    class BrokenPredictor:
        def __init__(self, device, models):
            devices.append(device)

        def set_study(self, *unused, mask):
            raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(session, "Predictor", BrokenPredictor)
    monkeypatch.setattr(session, "pick_device", lambda requested: Device("cuda", "test"))
    with pytest.raises(RuntimeError, match="assert"):
        Service(tmp_path).answer(study(head))
    assert devices == ["cuda"]


def test_torch_is_whole_after_scans_were_read_beside_its_import(tmp_path):
    """The main thread waits for the import: a part of torch imported at once with it may break it for good."""
    code = (
        "import sys; sys.setswitchinterval(1e-5)\n"
        "from BrainIACLib.worker.session import _torch_meanwhile\n"
        "try:\n"
        "    with _torch_meanwhile():\n"
        "        raise ValueError('reading failed')\n"
        "except ValueError:\n"
        "    assert hasattr(sys.modules['torch'], 'zeros')\n"
        "import torch.nn.functional\n"
        "print(torch.zeros(1).sum().item())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=LIBRARY_ROOT, check=False)
    assert (found.returncode, found.stdout.strip()) == (0, "0.0"), found.stderr


def test_a_wrong_device_is_told_of_before_a_scan_is_read(tmp_path):
    with pytest.raises(BrainIACError, match="device 'tpu' is not available"):
        Service(tmp_path).answer(PrepareStudy({"a": tmp_path / "missing.nii.gz"}, QUICK, device="tpu"))


def test_a_study_that_could_not_be_prepared_leaves_the_grids_of_the_last_one(tmp_path, monkeypatch, head):
    from BrainIACLib.worker.session import Session

    session = Session(tmp_path)
    monkeypatch.setattr(session, "_standardise", lambda options, scans, *unused: dict.fromkeys(scans))
    session.prepare(study(head), Job())
    before = session.grid("a")
    monkeypatch.setattr(session, "_standardise", lambda *unused: pytest.fail("preparation failed"))
    with pytest.raises(pytest.fail.Exception):
        session.prepare(study(head), Job())
    assert session.grid("a") is before


# Same answer everywhere


def test_a_volume_that_was_edited_is_not_its_files_and_rounding_is_no_edit(head, tmp_path):
    image = sitk.ReadImage(head, sitk.sitkFloat32)
    rounded, moved, edited = (sitk.Image(image) for _ in range(3))
    rounded = rounded * (1 + 1e-7)
    moved.SetOrigin((-79.5, -90.0, -70.0))
    edited[20, 20, 20] = 5.0 + edited[20, 20, 20]
    for name, one in {"file": image, "rounded": rounded, "moved": moved, "edited": edited}.items():
        sitk.WriteImage(one, str(tmp_path / f"{name}.mha"))
    (tmp_path / "letter.mha").write_text("Dear colleague,")
    service = Service(tmp_path)
    found = {
        name: service.answer(CompareImages(tmp_path / "file.mha", tmp_path / f"{name}.mha"))["same"]
        for name in ("file", "rounded", "moved", "edited", "letter")
    }
    assert found == {"file": True, "rounded": True, "moved": False, "edited": False, "letter": False}


def test_the_original_file_is_taken_only_where_it_is_the_same_image(head, tmp_path):
    """Slicer reverses the slices of left-handed files and rounds; an edited or moved volume is no longer the file."""
    from BrainIACLib.worker.scan_files import on_grid, read_handed_over

    image = sitk.ReadImage(head)
    copies = {
        "reversed": sitk.Flip(image, (False, False, True), False),
        "edited": image + 1,
        "moved": sitk.Image(image),
    }
    copies["moved"].SetOrigin([x + 0.4 for x in image.GetOrigin()])
    for name, copy in copies.items():
        path = str(tmp_path / f"{name}.mha")
        sitk.WriteImage(copy, path)
        scan, grid = read_handed_over(Path(path), Path(head))
        assert (str(scan.path) == head) == (name == "reversed"), name
        assert np.allclose(grid.GetOrigin(), copy.GetOrigin(), atol=1e-5)
    on_copy = sitk.GetArrayFromImage(on_grid(image, copies["reversed"]))
    assert (on_copy == sitk.GetArrayFromImage(copies["reversed"])).all()
    assert str(read_handed_over(Path(path), tmp_path / "missing.nii.gz")[0].path) == path


def test_worker_command_line_and_library_give_the_same_bits(client, shared_data, tmp_path, capsys):
    """ARCHITECTURE law 3, with the bundled starter: ``brainiac analyze`` is the worker, the worker is the library."""
    from BrainIACLib.cli import main
    from BrainIACLib.predictor import Predictor
    from BrainIACLib.scans import read_scan, write_image

    path = shared_data / "scans" / "IXI012-HH-1211_T1w_2mm.nii.gz"
    predictor = Predictor("cpu")
    predictor.set_study({"a": read_scan(path)}, QUICK)
    prediction = predictor.predict("sequence", "a")
    write_image(predictor.explain("sequence", "a", prediction.label, samples=1).map, tmp_path / "reference.nii.gz")
    reference = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "reference.nii.gz")))

    options = ["--json", "--device", "cpu", "--no-bias-field", "--brain-extraction", "none", "--samples", "1"]
    assert main(["analyze", str(path), "--out", str(tmp_path / "out"), *options]) == 0
    on_command_line = json.loads(capsys.readouterr().out)
    assert on_command_line["probabilities"] == prediction.probabilities
    written = sitk.ReadImage(str(tmp_path / "out" / "saliency.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(written), reference)

    client.call(study(path))
    by_worker = client.call(Predict("sequence", {"any": "a"}))
    assert by_worker["probabilities"] == prediction.probabilities
    explained = client.call(Explain("sequence", {"any": "a"}, "a", "T1", samples=1))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(explained["map"])), reference)
    assert client.call(study(path))["reused"] is True
    assert client.call(Predict("sequence", {"any": "a"}))["probabilities"] == by_worker["probabilities"]


def test_adding_a_scan_prepares_that_scan_only(client, head, tmp_path):
    """The time that the steps of a kept scan took is that of the first time."""
    other = tmp_path / "other.nii.gz"
    sitk.WriteImage(sitk.ReadImage(head) + 1, str(other))
    client.call(Forget())
    first = client.call(study(head))["scans"]["a"]
    both = client.call(PrepareStudy({"a": Path(head), "b": other}, QUICK, device="cpu"))
    assert both["reused"] is False
    assert list(both["scans"]) == ["a", "b"]
    assert both["scans"]["a"] == first
    again = client.call(study(head, dataclasses.replace(QUICK, seed=1)))["scans"]["a"]
    assert again != first


def test_dicom_folders_are_studies_too(tmp_path):
    from BrainIACLib.worker.scan_files import content_sha256

    for name in ("first", "second"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "1.dcm").write_bytes(b"pixels")
    assert content_sha256(tmp_path / "first") == content_sha256(tmp_path / "second")
    (tmp_path / "second" / "deep" / "2.dcm").write_bytes(b"more")
    assert content_sha256(tmp_path / "first") != content_sha256(tmp_path / "second")
