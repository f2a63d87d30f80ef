"""Which sequence a scan is (PROTOCOL P-24 to P-28)."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from BrainIACLib.sequences import STANDARD_NAMES
from BrainIACLib.statistics.metrics import balanced_accuracy
from Training.tasks.measure import BALANCED_ACCURACY_OF_CLASSES, most_probable_class
from Training.tasks.task import ANY, Settings, TargetScale, Task

if typing.TYPE_CHECKING:
    from torch import Tensor

PAIRS = (("T1", "T1CE"), ("T2", "FLAIR"), ("T1", "T2"), ("FLAIR", "T1CE"))
"""The pairs of sequences of Fig 2C and Extended Data Fig 2 (PROTOCOL P-26)."""


def pair_name(pair: tuple[str, str]) -> str:
    """How tables call the cases of two sequences."""
    return f"{pair[0]} v {pair[1]}"


class SequenceTask(Task):
    """One of the paper's four sequences for each scan: cross-entropy (eq 1)."""

    name = "sequence"
    says = "sequence classification"
    slots = (ANY,)
    needs = f"scans with sequence {', '.join(STANDARD_NAMES)}"
    outputs = len(STANDARD_NAMES)
    measures = (BALANCED_ACCURACY_OF_CLASSES,)
    in_brief = ("one scan of\nany sequence", "four classes")
    classes = STANDARD_NAMES
    kind = "classification"
    probabilistic = True
    grouped_by = "sequence"
    chance = 1 / len(STANDARD_NAMES)

    def fitting(self, scans: pd.DataFrame) -> pd.Series:
        """Of any of the four sequences."""
        return scans["sequence"].isin(self.classes)

    def known(self, scans: pd.DataFrame) -> pd.Series:
        """All that fit: the sequence is the label."""
        return self.fitting(scans)

    def targets(self, cases: pd.DataFrame, settings: Settings) -> np.ndarray:
        """Class numbers."""
        return cases["sequence"].map({name: number for number, name in enumerate(self.classes)}).to_numpy(float)

    def strata(self, cases: pd.DataFrame) -> dict[str, str]:
        """Which sequences there are of the patient."""
        return cases.groupby("patient")["sequence"].agg(lambda names: "+".join(sorted(set(names)))).to_dict()

    def loss(self, outputs: Tensor, targets: Tensor, scale: TargetScale) -> Tensor:
        """Cross-entropy, whose targets are whole numbers (D-01)."""
        import torch.nn.functional as F

        return F.cross_entropy(outputs, targets.long())

    def scores(self, outputs: Tensor, scale: TargetScale) -> np.ndarray:
        """(n, classes) probabilities."""
        return outputs.double().softmax(1).numpy()

    def validation_score(self, truth: np.ndarray, predicted: np.ndarray) -> float:
        """Balanced accuracy of the most probable class, over the classes that there are."""
        return float(balanced_accuracy(truth, predicted.argmax(1)))

    def facts(self, settings: Settings) -> dict:
        """The classes, in the order of the outputs."""
        return {"classes": list(self.classes)}

    def problem_of_facts(self, config: Mapping) -> str:
        """Without classes the scores cannot be read."""
        return "" if isinstance(config.get("classes"), list) else f"lacks the list of classes of the {self.name} task"

    def answers(self, cases: pd.DataFrame, values: np.ndarray, settings: Settings) -> pd.DataFrame:
        """``truth`` as the name of the class, ``score_<class>`` the probability of each."""
        scores = {f"score_{name}": values[:, number] for number, name in enumerate(self.classes)}
        return pd.DataFrame({"truth": cases["sequence"].to_numpy(), **scores}, index=cases.index)

    def answer_columns(self, config: Mapping) -> dict[str, type]:
        """One score a class."""
        return {"truth": str} | {f"score_{name}": float for name in config["classes"]}

    def allowed(self, config: Mapping) -> dict[str, tuple]:
        """The classes."""
        return {"truth": tuple(config["classes"])}

    def subsets(self, cases: pd.DataFrame) -> Iterator[tuple[str, np.ndarray]]:
        """The paper's pairs of sequences."""
        for pair in PAIRS:
            yield pair_name(pair), cases["truth"].isin(pair).to_numpy()

    def groups(self, cases: pd.DataFrame) -> np.ndarray:
        """The sequences."""
        return cases["truth"].to_numpy()

    def outcome(self, cases: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Of the most probable class, whether it is right."""
        right = most_probable_class(cases) == cases["truth"].to_numpy()
        return right.astype(float), cases.filter(regex="^score_").to_numpy().max(axis=1)


SEQUENCE = SequenceTask()
