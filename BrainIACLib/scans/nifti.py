"""NIfTI-1 and NIfTI-2 (.nii, .nii.gz, .hdr/.img), and Analyze 7.5.

The voxels are read here and not by ITK, which fills up truncated and damaged files without a word (2.5.7 / ITK 5.4),
adds ``scl_inter`` where the standard says that there is no scaling, refuses a shear of 0.0005, and knows no NIfTI-2.
Where the two stored orientations disagree the choice is ITK's, so that a scan lies where 3D Slicer shows it.

Source: nifti.nimh.nih.gov, ``nifti1.h`` and ``nifti2.h``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import SimpleITK as sitk

from BrainIACLib.scans.formats import suffix
from BrainIACLib.scans.grid import check_spacing, fit_grid, largest_distance
from BrainIACLib.scans.header_lines import MOST_HEADER
from BrainIACLib.scans.scan import Refused, Volume
from BrainIACLib.scans.usability import check_extent, check_kind, check_matrix, choose_frame
from BrainIACLib.scans.voxel_data import Encoding, Part, decompressed, read_voxels

# name -> (NumPy type, byte offset in NIfTI-1, type, byte offset in NIfTI-2)
_FIELDS = {
    "sizeof_hdr": ("i4", 0, "i4", 0),
    "magic": ("S4", 344, "S4", 4),
    "dim": ("8i2", 40, "8i8", 16),
    "datatype": ("i2", 70, "i2", 12),
    "pixdim": ("8f4", 76, "8f8", 104),
    "vox_offset": ("f4", 108, "i8", 168),
    "scl_slope": ("f4", 112, "f8", 176),
    "scl_inter": ("f4", 116, "f8", 184),
    "xyzt_units": ("u1", 123, "i4", 500),
    "qform_code": ("i2", 252, "i4", 344),
    "sform_code": ("i2", 254, "i4", 348),
    "quatern": ("3f4", 256, "3f8", 352),
    "qoffset": ("3f4", 268, "3f8", 376),
    "srow": ("(3,4)f4", 280, "(3,4)f8", 400),
}
_PLACES = {348: [field[:2] for field in _FIELDS.values()], 540: [field[2:] for field in _FIELDS.values()]}
_BYTE_ORDERS: tuple[Literal["<"], Literal[">"]] = ("<", ">")
_DATATYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_COMPLEX, _COLOURS = (32, 1792, 2048), {128: 3, 2304: 4}
_UNITS_MM = {1: 1e3, 2: 1.0, 3: 1e-3}  # meters, millimeters, micrometers; anything else is taken as millimeters
_SCANNER = 1  # the code of a transform to scanner coordinates
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class NiftiHeader:
    """The facts of a header. ``qform`` and ``sform`` are 4x4, voxel index -> RAS mm, or None where not set."""

    size: tuple[int, int, int]
    frames: int
    dtype: np.dtype
    offset: int
    slope: float
    intercept: float
    spacing: np.ndarray  # mm
    qform: np.ndarray | None
    sform: np.ndarray | None
    sform_code: int


def read_nifti(path: Path, frame: int | None, files: tuple[Path, Path] | None = None) -> Volume:
    """The volume in ``path``, of which the header is checked before any voxel is read.

    Parameters
    ----------
    files : header and voxel file of a pair, where they do not lie beside each other under one name.

    Raises
    ------
    Refused : not NIfTI, truncated, damaged, not a 3D scan of real numbers, or a geometry that cannot be used.
    """
    header_file, voxel_file = files or _files(path)
    if header_file != voxel_file:
        _check_end(header_file)
    header = _read_header(header_file)
    check_matrix(header.size)
    matrix, warnings = choose_orientation(header)
    grid = fit_grid(_RAS_TO_LPS @ matrix, header.size)
    check_extent(grid)
    voxels, odd = _read_voxels(voxel_file, header, choose_frame(header.frames, frame))
    image = sitk.GetImageFromArray(voxels)
    grid.put_on(image)
    read = (header_file,) if voxel_file == header_file else (header_file, voxel_file)
    return Volume(image, "NIfTI", read, warnings=(*warnings, *odd, *grid.warnings))


def _files(path: Path) -> tuple[Path, Path]:
    """Header and voxel file: one and the same, or the two of a pair, whichever of them was named."""
    known = suffix(path)
    if known in (".nii", ".nii.gz"):
        return path, path
    stem = path.name[: -len(known)]
    beside = {file.name.lower(): file for file in path.parent.iterdir() if file.name.startswith(stem)}
    pair = []
    for part in (".hdr", ".img"):
        found = beside.get((stem + part).lower()) or beside.get((stem + part + ".gz").lower())
        if found is None:
            raise Refused(f"lacks its other half, the file ending in {part}; put both files in one folder.")
        pair.append(found)
    return pair[0], pair[1]


def encoding_of(path: Path) -> Encoding:
    """As the first bytes say; many files have the wrong suffix."""
    with path.open("rb") as stream:
        return Encoding.DEFLATE if stream.read(2) == b"\x1f\x8b" else Encoding.RAW


def first_bytes(path: Path, count: int) -> bytes:
    """The first bytes of a file, decompressed."""
    found = b""
    for piece in decompressed(Part(path, encoding_of(path))):
        found += piece
        if len(found) >= count:
            break
    return found[:count]


def _check_end(header_file: Path) -> None:
    """Follow a header of its own to its check sum, which nobody else will look at."""
    length = 0
    for piece in decompressed(Part(header_file, encoding_of(header_file))):
        length += len(piece)
        if length > MOST_HEADER:
            raise Refused("has a header without an end; it is damaged. Copy or export it again.")


def _read_header(path: Path) -> NiftiHeader:
    found = _unpack(first_bytes(path, 540))
    if found is None:
        raise Refused(f"is not a NIfTI image, whatever its suffix {suffix(path)} says; give the image itself.")
    fields, byte_order = found
    paired = suffix(path).startswith(".hdr")
    analyze = fields["magic"][:1] != b"n"
    if analyze and not paired:
        raise Refused("is not a NIfTI image: its header lacks the signature; export it again.")
    rank = int(fields["dim"][0])
    dim = [int(n) for n in fields["dim"][1 : rank + 1]] + [1] * (7 - rank)
    if min(dim) < 1:
        raise Refused("has an impossible matrix size in its header; export it again.")
    datatype = int(fields["datatype"])
    check_kind(_COLOURS.get(datatype, 1) * int(np.prod(dim[4:], dtype=float)), datatype in _COMPLEX)
    if datatype not in _DATATYPES:
        raise Refused(f"stores voxels in a way that is not supported (NIfTI datatype {datatype}); convert it to float.")
    slope, intercept = float(fields["scl_slope"]), float(fields["scl_inter"])
    unscaled = analyze or not np.isfinite([slope, intercept]).all() or slope == 0
    to_mm = _UNITS_MM.get(int(fields["xyzt_units"]) & 7, 1.0)
    spacing = np.abs(fields["pixdim"][1:4].astype(float)) * to_mm
    quaternion_is_finite = np.isfinite([*fields["quatern"], *fields["qoffset"], *spacing]).all()
    has_qform = not analyze and fields["qform_code"] > 0 and quaternion_is_finite and (spacing > 0).all()
    sform = np.vstack([fields["srow"].astype(float) * to_mm, [0, 0, 0, 1]])
    has_sform = not analyze and fields["sform_code"] > 0 and np.isfinite(sform).all() and np.linalg.det(sform) != 0
    return NiftiHeader(
        size=(dim[0], dim[1], dim[2]),
        frames=dim[3],
        dtype=np.dtype(_DATATYPES[datatype]).newbyteorder(byte_order),
        offset=max(int(np.nan_to_num(fields["vox_offset"])), 0 if paired else int(fields["sizeof_hdr"]) + 4),
        slope=1.0 if unscaled else slope,
        intercept=0.0 if unscaled else intercept,
        spacing=spacing,
        qform=_quaternion_matrix(fields, spacing, to_mm) if has_qform else None,
        sform=sform if has_sform else None,
        sform_code=int(fields["sform_code"]),
    )


def _unpack(block: bytes) -> tuple[np.void, Literal["<", ">"]] | None:
    """The header fields and the byte order (``"<"`` or ``">"``), told by the header's own size; None if none fits."""
    for order in _BYTE_ORDERS:
        for length, places in _PLACES.items():
            layout = np.dtype(
                {
                    "names": list(_FIELDS),
                    "formats": [np.dtype(kind).newbyteorder(order) for kind, _ in places],
                    "offsets": [offset for _, offset in places],
                    "itemsize": length,
                }
            )
            if len(block) >= length:
                fields = np.frombuffer(block[:length], layout)[0]
                if fields["sizeof_hdr"] == length and 1 <= fields["dim"][0] <= 7:
                    return fields, order
    return None


def _quaternion_matrix(fields: np.void, spacing: np.ndarray, to_mm: float) -> np.ndarray:
    """The qform, voxel index -> RAS mm (nifti1.h, method 2)."""
    quaternion = fields["quatern"].astype(float)
    norm = np.linalg.norm(quaternion)
    half_turn = 1.0 - norm**2 < 1e-7  # the real part is 0 but for rounding
    b, c, d = quaternion / norm if half_turn else quaternion
    a = 0.0 if half_turn else np.sqrt(1.0 - norm**2)
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    handedness = -1.0 if fields["pixdim"][0] < 0 else 1.0
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * spacing * [1, 1, handedness]
    matrix[:3, 3] = fields["qoffset"].astype(float) * to_mm
    return matrix


def choose_orientation(header: NiftiHeader) -> tuple[np.ndarray, tuple[str, ...]]:
    """The matrix (voxel index -> RAS mm) to believe, and what is doubtful about it.

    ITK's choice, which 3D Slicer shows: the sform if it leads to scanner coordinates or is the only one, else the
    qform; without either, voxel axes that point left, back and up.
    """
    qform, sform = header.qform, header.sform
    if sform is None:
        if qform is not None:
            return qform, ()
        check_spacing(header.spacing)
        return _RAS_TO_LPS @ np.diag([*header.spacing, 1.0]), (
            "The file does not say how the head is oriented; left and right may be swapped.",
        )
    if qform is None:
        return sform, _scale_warning(header, sform)
    used = "sform" if header.sform_code == _SCANNER and _is_right_angled(sform) else "qform"
    matrix = sform if used == "sform" else qform
    distance, angle = largest_distance(qform, sform, header.size), _angle_degrees(qform, sform)
    if distance <= 1.0 and angle <= 1.0:
        return matrix, ()
    return matrix, (
        f"Its two stored orientations (qform and sform) differ by up to {distance:.1f} mm and {angle:.1f} degrees; "
        f"the {used} is used, as in 3D Slicer, and other programs may place the scan elsewhere.",
    )


def _scale_warning(header: NiftiHeader, sform: np.ndarray) -> tuple[str, ...]:
    lengths = np.linalg.norm(sform[:3, :3], axis=0)
    if np.allclose(lengths, header.spacing, rtol=0.01):
        return ()
    sizes = [" x ".join(f"{mm:.3g}" for mm in values) for values in (lengths, header.spacing)]
    return (f"Its sform says voxels of {sizes[0]} mm and its pixdim {sizes[1]} mm; the sform is used.",)


def _is_right_angled(matrix: np.ndarray) -> bool:
    axes = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() < 1e-3)


def _angle_degrees(a: np.ndarray, b: np.ndarray) -> float:
    """The largest angle between equal voxel axes of two matrices."""
    axes = [matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0) for matrix in (a, b)]
    return float(np.degrees(np.arccos(np.clip((axes[0] * axes[1]).sum(0), -1, 1)).max()))


def _read_voxels(path: Path, header: NiftiHeader, frame: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """One frame, scaled, in native byte order, shape (z, y, x), and what is odd about the file."""
    count = int(np.prod(header.size))
    length = count * header.dtype.itemsize
    part = Part(path, encoding_of(path), skip=header.offset)
    voxels, odd = read_voxels([part], header.frames * length, header.dtype, frame * length, count)
    voxels = voxels.astype(header.dtype.newbyteorder("="), copy=False).reshape(header.size[::-1])
    if (header.slope, header.intercept) == (1.0, 0.0):
        return voxels, odd
    scaled = voxels.astype(np.result_type(voxels.dtype, np.float32))
    with np.errstate(over="ignore", invalid="ignore"):  # what becomes infinite is said with all that is no number
        scaled *= header.slope
        scaled += header.intercept
    return scaled, odd
