"""MR properties of head tissues: one row per tissue, drawn per subject with jitter, field strength and maturity.

T1 and T2 in milliseconds, proton density relative to water, apparent diffusion in um^2/ms, computed tomography in
Hounsfield units, contrast-agent uptake in mmol/l at a standard dose. Values: ../shared/design/SYNTHESIS.md, which
condenses the relaxometry literature; newborn values after Williams et al. 2005 and Leppert et al. 2009 (rounded).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# name: (T1 at 1.5 T, T1 at 3 T, T2, T2*, proton density, diffusion, Hounsfield, (lowest, highest uptake))
TISSUE_TABLE = {
    "air": (1000, 1000, 1, 1, 0.0, 0.0, -1000, (0, 0)),
    "white_matter": (640, 830, 75, 50, 0.70, 0.75, 28, (0.005, 0.02)),
    "cortex": (980, 1380, 97, 60, 0.83, 0.85, 38, (0.01, 0.045)),
    "ventricular_csf": (4000, 4200, 1300, 600, 1.00, 3.0, 6, (0, 0)),
    "sulcal_csf": (3600, 3900, 900, 400, 0.98, 2.6, 10, (0, 0.01)),
    "cerebellar_white_matter": (660, 850, 77, 50, 0.71, 0.72, 29, (0.005, 0.02)),
    "cerebellar_cortex": (950, 1300, 95, 58, 0.83, 0.80, 38, (0.01, 0.045)),
    "thalamus": (790, 1080, 82, 50, 0.77, 0.78, 34, (0.01, 0.03)),
    "caudate": (950, 1270, 88, 48, 0.81, 0.80, 37, (0.01, 0.04)),
    "putamen": (900, 1180, 80, 42, 0.80, 0.78, 37, (0.01, 0.04)),
    "pallidum": (720, 930, 58, 28, 0.74, 0.78, 38, (0.01, 0.03)),
    "brainstem": (720, 960, 80, 48, 0.74, 0.75, 30, (0.005, 0.02)),
    "hippocampus": (1000, 1390, 100, 60, 0.84, 0.88, 37, (0.01, 0.045)),
    "choroid_plexus": (1300, 1600, 160, 80, 0.88, 1.5, 45, (0.2, 0.8)),
    "artery": (1350, 1650, 140, 70, 0.82, 1.5, 42, (0.7, 2.2)),
    "vein": (1350, 1650, 120, 35, 0.82, 1.5, 45, (0.7, 2.2)),
    "small_vessel": (1350, 1650, 130, 40, 0.82, 1.5, 42, (0.5, 1.8)),
    "dura": (900, 1100, 40, 20, 0.65, 0.8, 60, (0.15, 0.8)),
    "vitreous": (3500, 4000, 1100, 500, 0.98, 3.0, 5, (0, 0)),
    "optic_nerve": (750, 950, 80, 45, 0.72, 0.9, 35, (0.01, 0.03)),
    "muscle": (950, 1200, 38, 25, 0.78, 1.4, 55, (0.03, 0.12)),
    "fat": (300, 370, 85, 40, 0.90, 0.1, -95, (0, 0.01)),
    "skin": (700, 900, 40, 18, 0.70, 1.0, 30, (0.05, 0.3)),
    "mucosa": (1200, 1500, 90, 25, 0.85, 1.3, 40, (0.3, 1.0)),
    "cortical_bone": (300, 300, 4, 1, 0.12, 0.1, 1100, (0, 0)),
    "marrow": (330, 400, 60, 12, 0.65, 0.2, 300, (0.01, 0.06)),
    "spinal_cord": (750, 950, 78, 45, 0.73, 0.9, 32, (0.005, 0.02)),
    "white_matter_lesion": (1100, 1450, 150, 90, 0.83, 1.1, 22, (0.005, 0.03)),
    "oedema": (1150, 1500, 150, 95, 0.86, 1.3, 20, (0.005, 0.03)),
    "tumour_rim": (1200, 1500, 120, 60, 0.85, 1.0, 42, (0.25, 1.1)),
    "tumour_solid": (1250, 1550, 130, 65, 0.86, 1.0, 40, (0.2, 0.9)),
    "tumour_non_enhancing": (1300, 1700, 150, 90, 0.87, 1.3, 26, (0, 0.03)),
    "necrosis": (2400, 2800, 350, 150, 0.93, 2.0, 14, (0, 0.04)),
    "haemorrhage": (700, 850, 60, 12, 0.80, 0.7, 65, (0, 0.05)),
    "cavity": (3600, 3900, 900, 400, 0.98, 2.7, 8, (0, 0)),
}
NAMES = tuple(TISSUE_TABLE)
CLASS = {name: index for index, name in enumerate(NAMES)}

# What a newborn's tissue is before myelination: (T1 at 1.5 T, T1 at 3 T, T2, proton density).
NEWBORN = {
    "white_matter": (2100, 2500, 220, 0.93),
    "cerebellar_white_matter": (1700, 2000, 160, 0.90),
    "cortex": (1700, 2000, 140, 0.90),
    "cerebellar_cortex": (1600, 1900, 135, 0.90),
    "hippocampus": (1700, 2000, 140, 0.90),
    "thalamus": (1500, 1750, 120, 0.87),
    "caudate": (1550, 1850, 130, 0.88),
    "putamen": (1500, 1800, 125, 0.88),
    "pallidum": (1350, 1600, 110, 0.86),
    "brainstem": (1400, 1650, 120, 0.86),
}

# Myelination runs from below upwards (Barkovich 1988): how far these are ahead of the white matter of the cerebrum.
EARLY = {"brainstem": 0.6, "cerebellar_white_matter": 0.5, "thalamus": 0.5, "pallidum": 0.4, "cerebellar_cortex": 0.3}

BRAIN_TISSUES = tuple(
    CLASS[name]
    for name in NAMES
    if name.startswith(("white", "cerebellar", "tumour"))
    or name
    in (
        "cortex ventricular_csf thalamus caudate putamen pallidum brainstem hippocampus choroid_plexus oedema necrosis "
        "haemorrhage cavity"
    ).split()
)
LESIONS = tuple(CLASS[name] for name in NAMES if name.startswith("tumour")) + tuple(
    CLASS[name] for name in ("oedema", "necrosis", "haemorrhage", "white_matter_lesion")
)


@dataclass(frozen=True)
class Tissues:
    """One subject's tissue properties, arrays over ``NAMES``. Units as in the module's docstring."""

    t1: np.ndarray
    t2: np.ndarray
    t2_star: np.ndarray
    proton_density: np.ndarray
    diffusion: np.ndarray
    hounsfield: np.ndarray
    uptake: np.ndarray


def draw_tissues(rng: np.random.Generator, field_tesla: float = 3.0, maturity: float = 1.0) -> Tissues:
    """Tissue properties of one subject at one scanner.

    Parameters
    ----------
    field_tesla : T1 is interpolated (extrapolated from 1 T on) linearly between its values at 1.5 and 3 T.
    maturity : 1 adult, 0 newborn; relaxation times move between the two geometrically, so that the contrast of
        white and gray matter shrinks, vanishes near 0.55 and inverts below.
    """
    rows = list(TISSUE_TABLE.values())
    t1_low, t1_high, t2, t2_star, density, diffusion, hounsfield = (
        np.array([row[i] for row in rows], float) for i in range(7)
    )
    for name, (new_low, new_high, new_t2, new_density) in NEWBORN.items():
        i = CLASS[name]
        own = min(1.0, maturity + EARLY.get(name, 0.0) * min(maturity, 1 - maturity))
        t1_low[i] = _between(new_low, t1_low[i], own)
        t1_high[i] = _between(new_high, t1_high[i], own)
        t2_star[i] *= _between(new_t2, t2[i], own) / t2[i]
        t2[i] = _between(new_t2, t2[i], own)
        density[i] = _between(new_density, density[i], own)
    t1 = t1_low + (t1_high - t1_low) * (field_tesla - 1.5) / 1.5
    spread = np.ones(len(rows))
    spread[list(LESIONS)] = 2.5  # lesions differ more from person to person than tissues do
    spread[CLASS["haemorrhage"]] = 7
    low, high = (np.array([row[7][i] for row in rows], float) for i in range(2))
    return Tissues(
        t1=t1 * np.exp(rng.normal(0, 0.06, len(rows)) * spread),
        t2=t2 * np.exp(rng.normal(0, 0.08, len(rows)) * spread),
        t2_star=t2_star * np.exp(rng.normal(0, 0.12, len(rows)) * spread),
        proton_density=np.clip(density * np.exp(rng.normal(0, 0.03, len(rows))), 0, 1.1),
        diffusion=diffusion * np.exp(rng.normal(0, 0.08, len(rows)) * spread),
        hounsfield=hounsfield + rng.normal(0, 2, len(rows)) * spread,
        uptake=rng.uniform(low, high) * rng.uniform(0.5, 1.3),
    )


def _between(newborn: float, adult: float, maturity: float) -> float:
    return float(adult**maturity * newborn ** (1 - maturity))
