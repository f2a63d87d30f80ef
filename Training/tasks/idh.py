"""IDH mutation of a diffuse glioma from T1CE and FLAIR (PROTOCOL P-34 to P-36)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from BrainIACLib.sequences import FLAIR, T1CE
from Training.tasks.measure import AUC, BALANCED_ACCURACY_AT_HALF
from Training.tasks.task import LabelColumn, Settings, TwoClassTask


class IdhTask(TwoClassTask):
    """1 mutant, 0 wild type."""

    name = "idh"
    says = "IDH mutation"
    slots = (T1CE.name, FLAIR.name)
    columns = (LabelColumn("idh", "must be 0 or 1", values=(0.0, 1.0)),)
    needs = "T1CE or FLAIR scans with idh"
    measures = (AUC, BALANCED_ACCURACY_AT_HALF)
    in_brief = ("T1CE, FLAIR", "probability of\nmutation")

    def targets(self, cases: pd.DataFrame, settings: Settings) -> np.ndarray:
        """0 and 1."""
        return cases["idh"].to_numpy(float)


IDH = IdhTask()
