"""Files made to do harm, damaged files and wrong contracts: refused in words, nothing executed, nothing written."""

import io
import json
import os
import pickle
import struct
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from checkpoint_files import v1_task, v2_backbone
from hypothesis import given, settings
from hypothesis import strategies as st

from BrainIACLib.checkpoints.conversion import inspect_checkpoint
from BrainIACLib.checkpoints.conversion_process import convert
from BrainIACLib.checkpoints.importing import import_checkpoint
from BrainIACLib.checkpoints.reading import read_checkpoint
from BrainIACLib.contracts import read_contract
from BrainIACLib.errors import ModelError


class Runs:
    """Unpickling an instance runs a command."""

    def __init__(self, command: str):
        self._command = command

    def __reduce__(self):
        return os.system, (self._command,)


class Nested:
    """The command hides in the state of an object that is built by a second reduce."""

    def __init__(self, command: str):
        self._inner = Runs(command)

    def __reduce__(self):
        return eval, (f"__import__('os').system({self._inner._command!r})",)


def zip_of_torch(path, records: dict[str, bytes], compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in records.items():
            archive.writestr(name, content)


def as_torch_zip(path, payload):
    zip_of_torch(path, {"archive/data.pkl": pickle.dumps(payload, protocol=2), "archive/version": b"3\n"})


def as_legacy(path, payload):
    torch.save({"state_dict": payload}, path, _use_new_zipfile_serialization=False)


def as_bare_pickle(path, payload):
    path.write_bytes(pickle.dumps(payload, protocol=2))


def as_tar(path, payload):
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            content = pickle.dumps(payload, protocol=2)
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


@pytest.mark.parametrize("container", [as_torch_zip, as_legacy, as_bare_pickle, as_tar])
@pytest.mark.parametrize("payload", [Runs, Nested])
def test_a_pickle_that_runs_programs_is_refused_and_nothing_runs(container, payload, tmp_path):
    trace = tmp_path / "executed"
    file = tmp_path / "model.pt"
    container(file, {"state_dict": payload(f"touch {trace}")})
    pickle.loads(pickle.dumps(payload(f"touch {trace}")))
    assert trace.exists()  # the payload does work where it is let
    trace.unlink()
    with pytest.raises(ModelError, match=r"run programs|tar archive|not an allowed|cannot be read"):
        read_checkpoint(file)
    assert not trace.exists()


def test_the_name_that_a_file_asks_for_is_in_the_refusal(tmp_path):
    as_torch_zip(tmp_path / "model.pt", Runs("true"))
    with pytest.raises(ModelError, match=r"'(posix|nt)\.system'"):
        read_checkpoint(tmp_path / "model.pt")


def _saved(tmp_path, state=None):
    path = tmp_path / "good.pt"
    torch.save({"state_dict": state or {"a.weight": torch.arange(6.0)}}, path)
    return path


def _records(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_zip_tricks_are_refused(tmp_path):
    good = _records(_saved(tmp_path))
    top = next(iter(good)).split("/")[0]
    bad = tmp_path / "bad.pt"

    zip_of_torch(bad, good, zipfile.ZIP_DEFLATED)  # could expand without end
    with pytest.raises(ModelError, match="not a plain record"):
        read_checkpoint(bad)
    zip_of_torch(bad, {**good, f"{top}/../../escape": b"x"})
    with pytest.raises(ModelError, match="not a plain record"):
        read_checkpoint(bad)
    zip_of_torch(bad, {**good, f"{top}/code/__torch__.py": b"import os"})
    with pytest.raises(ModelError, match="program"):
        read_checkpoint(bad)
    zip_of_torch(bad, {**good, f"{top}/constants.pkl": b"x"})
    with pytest.raises(ModelError, match=r"exactly one small data\.pkl"):
        read_checkpoint(bad)
    with zipfile.ZipFile(bad, "w") as archive:
        for name, content in good.items():
            archive.writestr(name, content)
        link = zipfile.ZipInfo(f"{top}/link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(ModelError, match="not a plain record"):
        read_checkpoint(bad)


def test_a_record_that_claims_more_than_the_file_is_refused(tmp_path):
    content = bytearray(_saved(tmp_path).read_bytes())
    start = content.rindex(b"PK\x01\x02")  # last entry of the central directory
    struct.pack_into("<II", content, start + 20, 0x7FFFFFFF, 0x7FFFFFFF)
    (tmp_path / "bad.pt").write_bytes(content)
    with pytest.raises(ModelError):
        read_checkpoint(tmp_path / "bad.pt")


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(1 << 20, 1 << 20),  # 4 TB out of one number
        torch.zeros(1 << 40, device="meta"),
        torch.zeros(3, dtype=torch.complex64),
        torch.eye(3).to_sparse(),
        "not a tensor",
        {"deeper": torch.zeros(2)},
    ],
    ids=["expanded", "meta", "complex", "sparse", "text", "nested"],
)
def test_what_is_not_a_plain_tensor_is_refused(tensor, tmp_path):
    torch.save({"state_dict": {"a.weight": torch.zeros(2), "b.weight": tensor}}, tmp_path / "bad.pt")
    with pytest.raises(ModelError, match=r"b\.weight|cannot be read"):
        read_checkpoint(tmp_path / "bad.pt")


def test_a_safetensors_header_that_claims_too_much_is_refused(tmp_path):
    for header in (
        {"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}},
        {"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 8]}},
    ):
        text = json.dumps(header).encode()
        (tmp_path / "bad.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 16)
        with pytest.raises(ModelError, match="cannot be read"):
            read_checkpoint(tmp_path / "bad.safetensors")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "0 bytes"),
        (b"<!DOCTYPE html><html>Sign in</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"just text, longer than eight bytes", "neither a torch nor a safetensors file"),
    ],
)
def test_what_is_no_weight_file_is_named(content, reason, tmp_path):
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(ModelError, match=reason):
        read_checkpoint(tmp_path / "model.pt")


def test_a_folder_a_pipe_and_a_missing_file_are_refused(tmp_path):
    with pytest.raises(ModelError, match="not a file"):
        read_checkpoint(tmp_path)
    with pytest.raises(ModelError, match="cannot be opened"):
        read_checkpoint(tmp_path / "missing.pt")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.pt")
        with pytest.raises(ModelError, match="not a file"):
            read_checkpoint(tmp_path / "pipe.pt")


@pytest.mark.parametrize("fraction", [0.02, 0.5, 0.98])
def test_a_truncated_file_is_refused(fraction, tmp_path):
    torch.save(v2_backbone().content, tmp_path / "whole.ckpt")
    content = (tmp_path / "whole.ckpt").read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(ModelError, match=r"cut\.ckpt"):
        read_checkpoint(tmp_path / "cut.ckpt")


def test_a_flipped_bit_in_the_weights_is_found_by_the_check_sum(tmp_path):
    path = _saved(tmp_path, {"a.weight": torch.arange(100.0)})
    content = bytearray(path.read_bytes())
    content[content.index(np.arange(100, dtype=np.float32).tobytes()) + 50] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="checksum"):
        read_checkpoint(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_without_finite_values_are_refused_and_nothing_is_written(value, tmp_path):
    official = v1_task()
    official.state["backbone.backbone.layer2.0.conv1.weight"].view(-1)[3] = value
    torch.save(official.content, tmp_path / "model.pt")
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(ModelError, match=r"layer2\.0\.conv1\.weight.*NaN or infinite"):
        convert(tmp_path / "model.pt", "age", "now", out)
    assert list(out.iterdir()) == []


def test_a_refused_import_leaves_no_trace_in_the_store(tmp_path):
    as_torch_zip(tmp_path / "model.pt", Runs(f"touch {tmp_path / 'executed'}"))
    store = tmp_path / "store"
    with pytest.raises(ModelError, match="run programs"):
        inspect_checkpoint(tmp_path / "model.pt")
    with pytest.raises(ModelError, match="run programs"):
        import_checkpoint(tmp_path / "model.pt", "age", store)
    assert list(store.iterdir()) == []
    assert not (tmp_path / "executed").exists()


@settings(max_examples=100)
@given(data=st.data())
def test_any_damage_ends_in_a_model_error_or_in_plain_tensors(data, tmp_path):
    """A few hundred of the mutations of Testing/benchmarks/checkpoint_fuzzing.py."""
    legacy = data.draw(st.booleans())
    path = tmp_path / "fuzzed.pt"
    torch.save({"state_dict": {"a.weight": torch.arange(6.0)}}, path, _use_new_zipfile_serialization=not legacy)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        tensors = read_checkpoint(path).tensors
    except ModelError:
        tensors = {}
    assert all(type(tensor) is torch.Tensor for tensor in tensors.values())


def test_a_contract_cannot_point_out_of_its_folder(tmp_path):
    torch.save(v1_task().content, tmp_path / "model.pt")
    out = tmp_path / "out"
    out.mkdir()
    convert(tmp_path / "model.pt", "age", "now", out)
    contract = json.loads((out / "contract.json").read_text())

    def refusal(change, reason):
        changed = json.loads(json.dumps(contract))
        change(changed)
        (out / "contract.json").write_text(json.dumps(changed))
        with pytest.raises(ModelError, match=reason):
            read_contract(out)

    refusal(lambda c: c["encoder"].update(weights="../../encoder.safetensors"), "plain name")
    refusal(lambda c: c["head"].update(weights="/etc/passwd"), "plain name")
    refusal(lambda c: c.update(id="../escape"), "id '../escape'")
    refusal(lambda c: c.update(schema_version=2), "schema version")
    refusal(lambda c: c["head"].update(conversion=1.0), "does not turn months into years")
    refusal(lambda c: c["head"].pop("unit"), "lacks the field 'unit'")
    refusal(lambda c: c["encoder"].update(orientation="RRS"), "orientation")
    refusal(lambda c: c["encoder"].update(sha256="0"), "64 hexadecimal")


def test_weights_beside_a_numpy_array_are_read(tmp_path):
    """Training loops save what they measured beside the weights; no word of a damaged download."""
    content = {
        "state_dict": v1_task().state,
        "losses": np.arange(5.0),
        "best": np.float64(0.5),
        "names": np.array(["a"]),
    }
    torch.save(content, tmp_path / "model.pt")
    found = read_checkpoint(tmp_path / "model.pt").tensors
    assert {key: value.shape for key, value in found.items()} == {
        key: value.shape for key, value in content["state_dict"].items()
    }
    torch.save({**content, "model": torch.nn.Linear(2, 2)}, tmp_path / "whole.pt")
    with pytest.raises(
        ModelError, match=r"holds more than weights: it asks for 'torch\.nn.*for the weights alone"
    ) as said:
        read_checkpoint(tmp_path / "whole.pt")
    assert "download" not in str(said.value)
