"""Downloads by the real hub library from a host on this computer: resumed, by proxy, over TLS, and checked."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from checkpoint_files import medicalnet
from model_host import COMMIT, ModelHost

pytest.importorskip("huggingface_hub")
LIBRARY = str(Path(__file__).resolve().parents[2])
NAME = "resnet_50_23dataset.pth"
CONTENT = os.urandom(100_000)
FETCH = """
import sys
from pathlib import Path
from BrainIACLib.checkpoints.download import download, find_file
from BrainIACLib.errors import ModelError
from huggingface_hub import constants
constants.DOWNLOAD_CHUNK_SIZE = 10_000  # bytes that a break may cost; 10 MB of a real file
try:
    remote = find_file("a/b", ["resnet_50_23dataset.pth"])
    print(remote.host, remote.name, remote.revision, remote.size)
    print(download(remote, Path(sys.argv[1])))
except ModelError as error:
    sys.exit(f"refused: {error}")
"""
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture
def fetch(tmp_path):
    """Downloads in a process of its own, since the hub library reads the environment when it is imported."""

    def run(endpoint, **more):
        process = subprocess.run(
            [sys.executable, "-c", FETCH, str(tmp_path / "store")],
            env=environment(tmp_path, endpoint, **more), capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        return process.returncode, process.stdout.splitlines(), process.stderr

    return run


def environment(tmp_path, endpoint, **more):
    inherited = {name: value for name, value in os.environ.items() if name.lower() not in PROXIES}
    hub = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return {**inherited, "PYTHONPATH": LIBRARY, **hub, **more}


@pytest.fixture
def host():
    with ModelHost({"README.md": b"text", "a_first.pth": b"another", NAME: CONTENT}) as running:
        yield running


def test_the_named_file_comes_whole_and_its_host_and_size_are_known_before(fetch, host, tmp_path):
    status, lines, error = fetch(f"http://{host.address}")
    assert status == 0, error
    assert lines[0] == f"{host.address} {NAME} {COMMIT} {len(CONTENT)}"
    path = Path(lines[1])
    assert path.read_bytes() == CONTENT
    assert path.is_relative_to(tmp_path / "store" / ".downloads" / hashlib.sha256(CONTENT).hexdigest()[:16])


def test_a_broken_download_is_resumed_where_it_stopped(fetch, host):
    host.break_at = 35_000  # however often the hub library itself tries again
    status, _, error = fetch(f"http://{host.address}")
    assert status == 1, error
    assert "goes on where it stopped" in error
    host.break_at = None
    before = len(host.requests)
    status, lines, error = fetch(f"http://{host.address}")
    assert status == 0, error
    assert Path(lines[1]).read_bytes() == CONTENT
    ranges = [asked for method, target, asked in host.requests[before:] if method == "GET" and NAME in target]
    assert len(ranges) == 1
    assert int(ranges[0].removeprefix("bytes=").rstrip("-")) >= 30_000


def test_a_proxy_of_the_environment_is_used(fetch, host):
    status, lines, error = fetch("http://hub.invalid", HTTP_PROXY=f"http://{host.address}")
    assert status == 0, error
    assert lines[0].startswith("hub.invalid ")
    assert all(target.startswith("http://hub.invalid/") for _, target, _ in host.requests)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command to make a certificate")
def test_a_certificate_of_the_environment_is_trusted_and_an_unknown_one_is_not(fetch, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    with ModelHost({NAME: CONTENT}, both) as host:
        status, _, error = fetch(f"https://{host.address}")
        assert status == 1
        assert "SSL_CERT_FILE" in error
        assert not (tmp_path / "store").exists()
        status, lines, error = fetch(f"https://{host.address}", SSL_CERT_FILE=str(certificate))
    assert status == 0, error
    assert Path(lines[1]).read_bytes() == CONTENT


def test_without_a_connection_the_sentence_says_what_to_check(fetch):
    status, _, error = fetch("http://127.0.0.1:9")
    assert status == 1
    assert error.startswith("refused: 'a/b' cannot be downloaded")
    assert "HTTPS_PROXY" in error


def test_what_is_not_what_the_host_announced_is_refused_and_removed(fetch, host, tmp_path):
    host.announced = "0" * 64
    status, _, error = fetch(f"http://{host.address}")
    assert status == 1
    assert "damaged (sha256 differs)" in error
    assert list((tmp_path / "store").iterdir()) == []


def test_the_command_shows_size_and_host_asks_fetches_and_imports(tmp_path):
    torch.save(medicalnet().content, tmp_path / NAME)
    content, store = (tmp_path / NAME).read_bytes(), tmp_path / "store"
    command = ["models", "download", "medicalnet-resnet50", "--models-dir", str(store)]
    with ModelHost({NAME: content}) as host:

        def run(*options):
            return subprocess.run(
                [sys.executable, "-m", "BrainIACLib.cli", *command, *options],
                env=environment(tmp_path, f"http://{host.address}"), capture_output=True, text=True, timeout=600,
            )  # fmt: skip

        refused = run()
        assert refused.returncode == 1
        assert (
            f"{len(content) / 1e6:.0f} MB from {host.address} (TencentMedicalNet/MedicalNet-Resnet50" in refused.stdout
        )
        assert not any(NAME in target for _, target, _ in host.requests)  # not accepted: nothing was fetched
        done = run("--yes", "--json")
    assert done.returncode == 0, done.stderr
    (folder,) = store.iterdir()
    assert folder.name == json.loads(done.stdout)["id"]
    assert folder.name.startswith("medicalnet-resnet50-")
