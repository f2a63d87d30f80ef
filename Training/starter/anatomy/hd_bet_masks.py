r"""The intracranial volume of the bundled network beside HD-BET's brain masks of the same scans.

    git clone https://github.com/neuronflow/BraTS-Toolkit
    python -m Training.starter.anatomy.hd_bet_masks --toolkit BraTS-Toolkit

HD-BET's weights are not needed: BraTS-Toolkit (Kofler et al. 2020) publishes its masks of the four sequences of two
persons with a glioma (The Cancer Imaging Archive), made on T1 and moved to the other sequences. Of one of them the
whole heads lie beside the masks, of the other the scans that HD-BET stripped. Prints a table.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from BrainIACLib.preprocessing.options import PreprocessingOptions
from BrainIACLib.preprocessing.pipeline import standardise
from BrainIACLib.scans import read_scan
from BrainIACLib.volumes.measurement import VolumeMeter
from Training.command import run

SEQUENCES = {"t1": "T1", "t1c": "T1CE", "t2": "T2", "fla": "FLAIR"}
HEADS = "example_data/input_preprocessor_batch_processing/exams_to_preprocess"
MADE = "example_data/output_preprocessor_batch"
PERSONS = {"OtherEXampleFromTCIA": "TCGA-FG-6692"}  # a folder that is not called as the person in it


def rows_of(toolkit: Path, meter: VolumeMeter) -> list[tuple[str, str, str, float, float, float, float]]:
    """(person, sequence, what the network got, ml of HD-BET's mask, intracranial ml, ml of the bundled mask, Dice)."""
    rows = []
    for folder in sorted((toolkit / MADE).iterdir()):
        for short, sequence in SEQUENCES.items():
            mask = read_scan(next(folder.glob(f"masks_hdbet_native-space/*_{short}.nii.gz"))).image > 0
            ml = ml_of(mask)
            whole = next((toolkit / HEADS / folder.name).glob(f"*_{short}.nii.gz"), None)
            scan = whole or next(folder.glob(f"hdbet_native-space/*_{short}.nii.gz"))
            how = PreprocessingOptions(brain_extraction="bundled" if whole else "auto")
            done = standardise(read_scan(scan).image, how)
            found, dice = meter.measure(done).intracranial_ml, dice_of(mask, done.native_mask)
            person, got = PERSONS.get(folder.name, folder.name), "whole head" if whole else "stripped"
            rows.append((person, sequence, got, ml, found, ml_of(done.native_mask), dice))
    return rows


def ml_of(mask: sitk.Image) -> float:
    """What is not zero."""
    return float((sitk.GetArrayViewFromImage(mask) > 0).sum()) * float(np.prod(mask.GetSpacing())) / 1000


def dice_of(reference: sitk.Image, mask: sitk.Image) -> float:
    """Of two masks on grids whose origins may differ by rounding: interpolated linearly, the border would be lost."""
    moved = sitk.Resample(mask, reference, sitk.Transform(), sitk.sitkNearestNeighbor)
    both = sitk.LabelOverlapMeasuresImageFilter()
    both.Execute(sitk.Cast(reference, sitk.sitkUInt8), sitk.Cast(moved, sitk.sitkUInt8))
    return float(both.GetDiceCoefficient())


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toolkit", type=Path, required=True, metavar="FOLDER", help="a checkout of BraTS-Toolkit")
    rows = rows_of(parser.parse_args().toolkit, VolumeMeter())
    columns = ("person", "sequence", "the network got", "HD-BET's mask, ml", "intracranial, ml", "ratio")
    print("| " + " | ".join((*columns, "ratio of the masks", "Dice of the masks")) + " |")
    print("|---" * 8 + "|")
    for person, sequence, got, ml, found, ours, dice in rows:
        numbers = f"{ml:.0f} | {found:.0f} | {found / ml:.3f} | {ours / ml:.3f} | {dice:.3f}"
        print(f"| {person} | {sequence} | {got} | {numbers} |")
    ratios = np.array([found / ml for _, _, _, ml, found, _, _ in rows])
    print(f"\nRatio: median {np.median(ratios):.3f}, least {ratios.min():.3f}, largest {ratios.max():.3f}.")


if __name__ == "__main__":
    raise SystemExit(run("hd_bet_masks", main))
