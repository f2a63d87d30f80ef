"""What preprocessing costs and how well it registers, beside the plain recipe of the released code, in one run.

    python -m Testing.benchmarks.preprocessing --data ../shared/data [--quick] [--starts 50]

Markdown on standard output. Every timed row is a process of its own, so its peak memory is its own; ratios are of CPU
seconds, which other work on the machine disturbs less than wall time. ``--quick`` leaves out the released
full-resolution N4 (five minutes on two cores); the fields are then compared with our own N4 at full resolution, which a
test holds equal to SimpleITK's. The released recipe is written down here from its description (U-08), not copied.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from BrainIACLib.preprocessing.bias_field import correct_bias_field
from BrainIACLib.preprocessing.brain_extraction import extract_brain
from BrainIACLib.preprocessing.options import PreprocessingOptions
from BrainIACLib.preprocessing.pipeline import standardise
from BrainIACLib.preprocessing.registration import Motion, register_to_template
from BrainIACLib.preprocessing.resampling import index_to_point
from BrainIACLib.preprocessing.template import icbm152
from BrainIACLib.scans import read_scan

HEAD = "dicom/sag_anon_T1_3y.zip"  # a whole head of 12.6 million voxels, face included, never processed
SCANS = [  # contrast, file: stripped and whole heads, 0.7 to 6.5 mm
    ("T1", "scans/ds002748_sub-63_T1w.nii.gz"),
    ("T1", HEAD),
    ("T1", "scans/BraTS-GLI-00001-000_T1.nii.gz"),
    ("T2", "scans/BraTS-GLI-00001-000_T2.nii.gz"),
    ("FLAIR", "scans/BraTS-GLI-00001-000_FLAIR.nii.gz"),
    ("T1CE", "scans/BraTS-GLI-00001-000_T1CE.nii.gz"),
    ("T2", "scans/ds000002_sub-01_inplaneT2.nii.gz"),
    ("FLAIR", "scans/openms_long_patient01_study1_FLAIR.nii.gz"),
    ("T1CE", "scans/pyradiomics_brain1_T1CE.nrrd"),
]
DEGREES, MILLIMETRES, FAILURE_MM = 30.0, 40.0, 5.0
POINTS = 400  # of the brain, over which errors are averaged


# --- Timed rows, each in its own process ------------------------------------------------------------------------------


def released_n4(folder: Path, data: Path) -> None:
    image = _head(folder)
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.Execute(image)
    sitk.WriteImage(n4.GetLogBiasFieldAsImage(image), str(folder / "released_field.nii"))


def our_n4(folder: Path, data: Path) -> None:
    result = correct_bias_field(_head(folder))
    sitk.WriteImage(result.image, str(folder / "corrected.nii"))
    sitk.WriteImage(result.log_field, str(folder / "our_field.nii"))


def our_full_n4(folder: Path, data: Path) -> None:
    sitk.WriteImage(correct_bias_field(_head(folder), working_voxel_mm=0).log_field, str(folder / "our_full_field.nii"))


def released_registration(folder: Path, data: Path) -> None:
    """Whole head to whole-head template: 1 % of the voxels at random, seeded by the clock; then resampled."""
    fixed = sitk.ReadImage(str(data / "atlas" / "MNI152_T1_1mm_head.nii.gz"), sitk.sitkFloat32)
    moving = _head(folder)
    start = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.GEOMETRY
    )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(50)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.01)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsGradientDescent(1.0, 100, 1e-6, 10)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(start)
    transform = sitk.Euler3DTransform(sitk.CompositeTransform(method.Execute(fixed, moving)).GetBackTransform())
    sitk.Resample(moving, fixed, transform, sitk.sitkLinear, 0.0)
    number = len(list(folder.glob("released_*.tfm")))
    sitk.WriteTransform(transform, str(folder / f"released_{number}.tfm"))


def our_registration(folder: Path, data: Path) -> None:
    image, mask = sitk.ReadImage(str(folder / "corrected.nii")), sitk.ReadImage(str(folder / "mask.nii"))
    transform = register_to_template(image, mask).transform
    sitk.Resample(image, icbm152().image, transform, sitk.sitkLinear, 0.0)
    number = len(list(folder.glob("ours_*.tfm")))
    sitk.WriteTransform(transform, str(folder / f"ours_{number}.tfm"))


def brain_extraction(folder: Path, data: Path) -> None:
    sitk.WriteImage(
        extract_brain(sitk.ReadImage(str(folder / "corrected.nii")), "bundled").mask, str(folder / "mask.nii")
    )


def everything(folder: Path, data: Path) -> None:
    standardise(_head(folder), PreprocessingOptions(brain_extraction="bundled"))


ROWS: dict[str, tuple[str, Callable[[Path, Path], None]]] = {
    "released_n4": ("released: N4, full resolution", released_n4),
    "released_registration": ("released: whole-head registration + resampling", released_registration),
    "released_again": ("released: the same once more", released_registration),
    "our_full_n4": ("ours at full resolution: N4", our_full_n4),
    "our_n4": ("ours: N4 at 3 mm", our_n4),
    "brain_extraction": ("ours: brain extraction, bundled", brain_extraction),
    "our_registration": ("ours: registration + resampling", our_registration),
    "our_again": ("ours: the same once more", our_registration),
    "everything": ("ours: standardize, all steps", everything),
}


def _head(folder: Path) -> sitk.Image:
    return sitk.ReadImage(str(folder / "head.nii"), sitk.sitkFloat32)


def run_row(name: str, folder: Path, data: Path) -> None:
    """Inside the row's own process: reading is not timed, importing neither."""
    _head(folder)
    before = resource.getrusage(resource.RUSAGE_SELF)
    started, cpu = time.perf_counter(), time.process_time()
    ROWS[name][1](folder, data)
    row = {
        "wall": time.perf_counter() - started,
        "cpu": time.process_time() - cpu,
        "peak": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before.ru_maxrss) / 1024,
    }
    print(json.dumps(row))


def costs(data: Path, folder: Path, quick: bool) -> None:
    head = read_scan(data / HEAD).image
    sitk.WriteImage(head, str(folder / "head.nii"))
    voxels = np.prod(head.GetSize()) / 1e6
    print(f"\n### Cost on a raw whole head ({voxels:.1f} million voxels)\n")
    print("| step | wall s | CPU s | peak above the image, MiB |\n|---|---|---|---|")
    cpu = {}
    for name, (title, _) in ROWS.items():
        if quick and name == "released_n4":
            continue
        command = [sys.executable, "-m", "Testing.benchmarks.preprocessing", "--data", str(data), "--row", name]
        answer = subprocess.run([*command, "--folder", str(folder)], check=True, capture_output=True, text=True)
        row = json.loads(answer.stdout.splitlines()[-1])
        cpu[name] = row["cpu"]
        print(f"| {title} | {row['wall']:.2f} | {row['cpu']:.2f} | {row['peak']:.0f} |", flush=True)
    ours = cpu["our_n4"] + cpu["our_registration"]
    if "released_n4" in cpu:
        ratio = (cpu["released_n4"] + cpu["released_registration"]) / ours
        print(f"\nN4 + registration: {ratio:.0f} times fewer CPU seconds than the released recipe (target 50).")
    reference = "our_full" if quick else "released"
    fields = [sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"{name}_field.nii"))) for name in ("our", reference)]
    inside = sitk.GetArrayFromImage(sitk.OtsuThreshold(head, 0, 1, 128)) > 0
    correlation = np.corrcoef(*(field[inside] for field in fields))[0, 1]
    print(f"Log field against {reference}, full resolution, in the head: correlation {correlation:.3f} (target .96).")
    points = _points(icbm152().mask)
    for name in ("released", "ours"):
        one, two = (sitk.ReadTransform(str(folder / f"{name}_{number}.tfm")) for number in (0, 1))
        apart = np.linalg.norm(_transformed(one, points) - _transformed(two, points), axis=1).mean()
        same = one.GetParameters() == two.GetParameters()
        print(f"Two identical runs, {name}: {apart:.2f} mm apart, bit-identical: {'yes' if same else 'no'}.")


# --- Known transforms -------------------------------------------------------------------------------------------------


def known_transforms(data: Path, starts: int, with_reference: bool) -> None:
    print(f"\n### Registration error on {starts} known transforms within {DEGREES:.0f}° and {MILLIMETRES:.0f} mm\n")
    print(
        "Mean distance over brain points, mm, between the registration of the moved scan and that of the unmoved one. "
        "By header: the same voxels elsewhere. Resampled: new voxels of the same size, linear. Reference: distance of "
        "the unmoved registration to the best of five dense full-resolution fits.\n"
    )
    print("| contrast | scan | voxel mm | by header: median, max | resampled: median, max | failures | reference |")
    print("|---|---|---|---|---|---|---|")
    for contrast, file in SCANS:
        scan = correct_bias_field(read_scan(data / file).image).image
        mask = extract_brain(scan).mask
        image = sitk.Mask(scan, mask)
        points = _points(mask)
        unmoved = _registered(image, mask)
        rng = np.random.default_rng(0)
        errors: dict[str, list[float]] = {"header": [], "resampled": []}
        for _ in range(starts):
            move = _random_motion(rng, points.mean(0))
            moved = {
                "header": (move.moved(image), move.moved(mask)),
                "resampled": _resampled(image, mask, move),
            }
            for how, pair in moved.items():
                found = _registered(*pair).after(move)
                errors[how].append(float(np.linalg.norm(found(points) - unmoved(points), axis=1).mean()))
        failures = sum(error > FAILURE_MM for values in errors.values() for error in values)
        spacing = "x".join(f"{value:.2g}" for value in image.GetSpacing())
        columns = [f"{np.median(values):.2f}, {max(values):.2f}" for values in errors.values()]
        distance = ""
        if with_reference:
            dense = _dense_reference(image, mask, unmoved)
            distance = f"{np.linalg.norm(dense(points) - unmoved(points), axis=1).mean():.2f}"
        name = Path(file).name.split(".")[0]
        print(f"| {contrast} | {name} | {spacing} | {' | '.join(columns)} | {failures} | {distance} |", flush=True)


def _registered(image: sitk.Image, mask: sitk.Image) -> Motion:
    """Scan to template."""
    transform = register_to_template(image, mask).transform
    matrix, centre = np.array(transform.GetMatrix()).reshape(3, 3), np.array(transform.GetCenter())
    return Motion(matrix, centre + np.array(transform.GetTranslation()) - matrix @ centre).inverse()


def _random_motion(
    rng: np.random.Generator, centre: np.ndarray, degrees: float = DEGREES, millimetres: float = MILLIMETRES
) -> Motion:
    """Any axis and direction; angle and length uniform up to the limits."""
    axis, shift = rng.normal(size=(2, 3))
    turn = sitk.VersorTransform((axis / np.linalg.norm(axis)).tolist(), float(np.radians(rng.uniform(0, degrees))))
    matrix = np.array(turn.GetMatrix()).reshape(3, 3)
    return Motion(matrix, centre + shift / np.linalg.norm(shift) * rng.uniform(0, millimetres) - matrix @ centre)


def _resampled(image: sitk.Image, mask: sitk.Image, move: Motion) -> tuple[sitk.Image, sitk.Image]:
    """The moved brain on the axes and voxel size of the unmoved scan, with 15 mm to spare."""
    spare = np.ceil(15 / np.array(image.GetSpacing())).astype(int).tolist()
    grid = sitk.ConstantPad(mask, spare, spare, 0)
    middle = np.array(grid.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in grid.GetSize()]))
    grid.SetOrigin((np.array(grid.GetOrigin()) + move(middle) - middle).tolist())
    back = move.inverse().transform(np.zeros(3))
    soft = sitk.Resample(sitk.Cast(mask, sitk.sitkFloat32), grid, back, sitk.sitkLinear, 0.0)
    return sitk.Resample(image, grid, back, sitk.sitkLinear, 0.0), sitk.Cast(soft > 0.5, sitk.sitkUInt8)


def _dense_reference(image: sitk.Image, mask: sitk.Image, near: Motion) -> Motion:
    """The best of five fits from around ``near`` that use every voxel of the brain and its margin, at 1 mm."""
    template = icbm152().image
    size = np.ceil(np.array(image.GetSize()) * np.array(image.GetSpacing())).astype(int).tolist()
    fine = [
        sitk.Resample(
            part, size, sitk.Transform(), interpolator, image.GetOrigin(), (1.0, 1.0, 1.0), image.GetDirection()
        )
        for part, interpolator in ((image, sitk.sitkLinear), (mask, sitk.sitkNearestNeighbor))
    ]
    region = sitk.BinaryDilate(fine[1], (6, 6, 6))
    middle = near(_points(mask)).mean(0)
    best = None
    for seed in range(5):
        begin = _random_motion(np.random.default_rng(seed), middle, 4.0, 4.0).after(near)
        centre = begin(_points(mask)).mean(0)
        transform = sitk.Similarity3DTransform()
        transform.SetCenter(centre.tolist())
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(64)
        method.SetMetricFixedMask(begin.moved(region))
        method.SetMetricSamplingStrategy(method.NONE)
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 200, 0.7)
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetInitialTransform(transform, inPlace=True)
        method.Execute(begin.moved(fine[0]), template)
        turn = np.array(transform.GetMatrix()).reshape(3, 3) / transform.GetScale()
        step = Motion(turn, centre + np.array(transform.GetTranslation()) - turn @ centre)
        if best is None or method.GetMetricValue() < best[0]:
            best = (method.GetMetricValue(), step.after(begin))
    return best[1]


def _points(mask: sitk.Image) -> np.ndarray:
    matrix, origin = index_to_point(mask)
    index = np.argwhere(sitk.GetArrayViewFromImage(mask) > 0)[:, ::-1]
    return index[np.linspace(0, len(index) - 1, POINTS).astype(int)] @ matrix.T + origin


def _transformed(transform: sitk.Transform, points: np.ndarray) -> np.ndarray:
    return np.array([transform.TransformPoint(point.tolist()) for point in points])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of real scans (MANIFEST.csv)")
    parser.add_argument("--quick", action="store_true", help="leave out the released N4 at full resolution")
    parser.add_argument("--starts", type=int, default=50, help="random starts for each scan (default 50)")
    parser.add_argument("--only", choices=("costs", "transforms"), help="one of the two tables (default: both)")
    parser.add_argument(
        "--no-reference", action="store_true", help="leave out the dense fits, most of the second table"
    )
    parser.add_argument("--row", choices=ROWS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        run_row(options.row, options.folder, options.data)
        return
    if options.only != "transforms":
        with tempfile.TemporaryDirectory() as folder:
            costs(options.data, Path(folder), options.quick)
    if options.only != "costs":
        known_transforms(options.data, options.starts, not options.no_reference)


if __name__ == "__main__":
    main()
