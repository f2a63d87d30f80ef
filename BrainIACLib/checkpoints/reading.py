"""Read the tensors of a foreign checkpoint, and nothing else: no pickle of the file is ever executed.

torch's restricted unpickler builds tensors, numbers, strings and containers only; any other name in the file ends the
reading with that name. Before it runs, the container itself is checked, so that a zip bomb, a path trick or a shape
larger than the file cannot take memory or disk. Run it in a child process all the same (``conversion``).
"""

from __future__ import annotations

import re
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from BrainIACLib.errors import ModelError

LARGEST_FILE = 8 << 30  # bytes
LARGEST_PICKLE = 32 << 20
MOST_ENTRIES = 20_000
CONTAINERS = ("state_dict", "model_state_dict", "net")  # Lightning, upstream v1, Training/
ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch before 1.6 (MedicalNet's files)
DTYPES = {torch.float32, torch.float16, torch.bfloat16, torch.int64}


class _Ignored:
    """Stands for an object that is no tensor and harmless to miss; takes anything, does nothing."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


# What training loops leave in their checkpoints beside the weights: values and arrays of numpy, paths, options.
IGNORED_NAMES = (
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.ndarray",
    "_codecs.encode",
    "numpy.dtype",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib._local.PosixPath",
    "argparse.Namespace",
)


@dataclass(frozen=True)
class Checkpoint:
    """``container`` is the name under which the tensors lay, or None where the file is the state dict itself."""

    tensors: dict[str, Tensor]
    container: str | None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {key: tuple(tensor.shape) for key, tensor in self.tensors.items()}


def read_checkpoint(path: Path, *, check_sums: bool = True) -> Checkpoint:
    """The tensors of a torch or safetensors file; those of a torch zip stay on disk until they are used.

    Parameters
    ----------
    check_sums : also compare the check sum of every record of a torch zip, which reads the whole file.

    Raises
    ------
    ModelError : not such a file, damaged, made to do harm, or with anything but tensors where the weights should be.
    """
    path = Path(path)
    size, start = _size_and_start(path)
    try:
        if start.startswith(ZIP_MAGIC):
            _check_zip(path, size, check_sums)
            content = _restricted_load(path, mmap=True)
        elif start.startswith(LEGACY_MAGIC):
            content = _restricted_load(path, mmap=False)
        elif start[8:9] == b"{":
            from safetensors.torch import load_file

            content = load_file(path)
        else:
            raise ModelError(f"'{path.name}' is no weight file: {_what_it_is(start)}.")
    except ModelError:
        raise
    except MemoryError:
        raise ModelError(f"'{path.name}' needs more memory than a file of its size should.") from None
    except Exception as error:  # whatever a damaged file makes the readers raise
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        if asked:
            raise ModelError(
                f"'{path.name}' holds more than weights: it asks for '{asked[1]}', which could run programs and is not "
                "opened. Ask its maker for the weights alone, as torch.save(model.state_dict(), FILE) or safetensors."
            ) from None
        raise ModelError(f"'{path.name}' cannot be read ({_reason(error)}); download it again.") from None
    return _checkpoint(content, path.name, size)


def _size_and_start(path: Path) -> tuple[int, bytes]:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ModelError(f"'{path.name}' is not a file.")
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise ModelError(f"'{path.name}' cannot be opened ({error.strerror}).") from None
    if status.st_size == 0:
        raise ModelError(f"'{path.name}' is empty (0 bytes): its download or copy did not work, so get it again.")
    if status.st_size > LARGEST_FILE:
        raise ModelError(f"'{path.name}' has {status.st_size} bytes, which no model file has.")
    return status.st_size, start


def _what_it_is(start: bytes) -> str:
    if start[257:262] == b"ustar" or re.match(rb"(sys_info|pickle|tensors|storages)\0", start):
        return "it is a tar archive, torch's oldest format, which is not opened for safety"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "it is a web page, so the download did not work"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, the weights themselves were not downloaded"
    if start.startswith(b"\x80"):
        return "it is a bare Python pickle, which could run programs and is not opened"
    return "it begins like neither a torch nor a safetensors file"


def _check_zip(path: Path, size: int, check_sums: bool) -> None:
    """torch writes one folder of uncompressed records. Raises ModelError for anything else."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        odd = next((entry.filename for entry in entries if not _is_plain(entry)), None)
        if odd is not None:
            raise ModelError(f"'{path.name}' is no file of torch.save: its entry '{odd[:80]!a}' is not a plain record.")
        if len(names) > MOST_ENTRIES or len({name.lower() for name in names}) != len(names):
            raise ModelError(f"'{path.name}' is no file of torch.save: too many entries, or two of one name.")
        if sum(entry.file_size for entry in entries) > size:
            raise ModelError(f"'{path.name}' is damaged: its records claim to be larger than the file.")
        if len({name.split("/")[0] for name in names}) != 1 or any("/code/" in name for name in names):
            raise ModelError(f"'{path.name}' is a program (TorchScript) or another archive, not plain weights.")
        pickles = [entry for entry in entries if entry.filename.endswith(".pkl")]
        if len(pickles) != 1 or not pickles[0].filename.endswith("/data.pkl") or pickles[0].file_size > LARGEST_PICKLE:
            raise ModelError(f"'{path.name}' is no file of torch.save: it needs exactly one small data.pkl.")
        if check_sums and (damaged := archive.testzip()):
            raise ModelError(f"'{path.name}' is damaged (checksum of '{damaged}'); download it again.")


def _is_plain(entry: zipfile.ZipInfo) -> bool:
    return (
        entry.compress_type == zipfile.ZIP_STORED
        and entry.file_size == entry.compress_size
        and not entry.flag_bits & 0x1  # encrypted
        and not stat.S_ISLNK(entry.external_attr >> 16)
        and ".." not in entry.filename.split("/")
        and re.fullmatch(r"[\w .()+=,@~-]+(/[\w.-]+)+", entry.filename) is not None
    )


def _restricted_load(path: Path, mmap: bool) -> object:
    ignored = [(_Ignored, name) for name in IGNORED_NAMES]
    with torch.serialization.safe_globals([_Ignored, *ignored]):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)


def _reason(error: Exception) -> str:
    """One short clause for a person out of torch's paragraphs."""
    return f"{type(error).__name__}: {str(error).strip().split(chr(10))[0][:120]!a}"


def _checkpoint(content: object, name: str, size: int) -> Checkpoint:
    container, tensors = None, content
    if isinstance(content, dict):
        container = next((key for key in CONTAINERS if isinstance(content.get(key), dict)), None)
        tensors = content[container] if container else content
    if not isinstance(tensors, dict) or not tensors or len(tensors) > MOST_ENTRIES:
        raise ModelError(f"'{name}' holds no table of tensors.")
    for key, tensor in tensors.items():
        if not isinstance(key, str) or not re.fullmatch(r"[\w.]{1,200}", key, re.ASCII):
            raise ModelError(f"'{name}' has a tensor with an odd name: {ascii(key)[:80]}.")
        problem = _problem(tensor, size)
        if problem:
            raise ModelError(f"'{name}' cannot be used: '{key}' {problem}.")
    return Checkpoint({key: tensor.detach() for key, tensor in tensors.items()}, container)


def _problem(tensor: object, size: int) -> str | None:
    if not isinstance(tensor, Tensor) or type(tensor) not in (Tensor, torch.nn.Parameter):
        return f"is no tensor but {type(tensor).__name__}"
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_neg():
        return "is not stored as plain numbers"
    if tensor.dtype not in DTYPES:
        return f"is of type {str(tensor.dtype).removeprefix('torch.')}, not floating point of 16 or 32 bits"
    if tensor.numel() * tensor.element_size() > size:
        return f"claims the shape {tuple(tensor.shape)}, which is larger than the file"
    return None
