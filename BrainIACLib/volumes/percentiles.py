"""Where a volume lies among healthy adults of one age: percentiles of shares of the intracranial volume.

Shares of a structure are taken as log-normal around a parabola of age. The curves lie beside the network that measured
them, with their source, license and number of persons, and belong to that network alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from BrainIACLib.errors import ModelError

FILE = "percentiles.json"
MIDDLE_AGE, DECADE = 50.0, 10.0
LEAST_SHARE = 1e-6  # keeps the logarithm finite


@dataclass(frozen=True)
class Curve:
    """``coefficients`` of 1, x and x^2 for x = (age - 50) / 10, of log share; ``deviation``: SD around them."""

    coefficients: tuple[float, float, float]
    deviation: float


@dataclass(frozen=True)
class AgeNorms:
    """``ages``: youngest and oldest person in years; ``persons``: how many; ``encoder_sha256``: whose volumes."""

    source: str
    licence: str
    persons: int
    ages: tuple[float, float]
    encoder_sha256: str
    curves: Mapping[str, Curve]

    def percentile(self, structure: str, share: float, age: float) -> float | None:
        """0 to 100; None outside the ages and for structures without a curve."""
        curve = self.curves.get(structure)
        if curve is None or not self.ages[0] <= age <= self.ages[1]:
            return None
        x = (age - MIDDLE_AGE) / DECADE
        usual = sum(coefficient * x**power for power, coefficient in enumerate(curve.coefficients))
        z = (math.log(max(share, LEAST_SHARE)) - usual) / curve.deviation
        return 50 * (1 + math.erf(z / math.sqrt(2)))

    @property
    def caption(self) -> str:
        """What the percentiles are of, in one sentence."""
        low, high = self.ages
        return (
            f"Percentiles for age: {self.persons} healthy adults of {low:.0f} to {high:.0f} years, {self.source} "
            f"({self.licence})."
        )


def read_norms(folder: Path, encoder_sha256: str) -> AgeNorms | None:
    """The curves beside a network; None if there are none.

    Raises
    ------
    ModelError : the file is damaged or belongs to another network.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        low, high = content["ages"]
        norms = AgeNorms(
            source=str(content["source"]),
            licence=str(content["licence"]),
            persons=int(content["persons"]),
            ages=(float(low), float(high)),
            encoder_sha256=str(content["encoder_sha256"]),
            curves={name: _curve(curve) for name, curve in content["curves"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"'{path}' holds no percentile curves; install the model again.") from error
    if norms.encoder_sha256 != encoder_sha256:
        raise ModelError(f"'{path}' belongs to another network; install the model again.")
    return norms


def _curve(content: Mapping[str, Any]) -> Curve:
    first, second, third = content["coefficients"]
    deviation = float(content["deviation"])
    if not deviation > 0:
        raise ValueError("a deviation is not above 0")
    return Curve((float(first), float(second), float(third)), deviation)
