"""What is asked of the cohort ``open``: who is trained on, who is the external test; a report for each question."""

from __future__ import annotations

from dataclasses import dataclass

from Training.cohorts.open_data import BRATS, DS002748, IXI
from Training.runs.cell import ANATOMY, VOLUMES
from Training.tasks import AGE, SEQUENCE


@dataclass(frozen=True)
class Design:
    """One question. ``name`` is the folder's.

    trained_on : the studies from which training, validation and internal test cases are drawn by person; empty: all but
        ``held_out``. All other studies are the external test.
    folds : of a cross-validation by person in place of both tests; 0 for none.
    without : initializations that are no line of it, because they learned from persons who are tested.
    """

    name: str
    says: str
    tasks: tuple[str, ...]
    trained_on: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    folds: int = 0
    without: tuple[str, ...] = ()

    def external(self, studies: list[str]) -> tuple[str, ...]:
        """Of the studies that there are, those never trained on."""
        if self.folds:
            return ()
        inside = self.trained_on or tuple(study for study in studies if study not in self.held_out)
        return tuple(study for study in studies if study not in inside)


OPEN_DESIGNS = (
    Design("age-from-ixi", "brain age learned on IXI, tested there and elsewhere", (AGE.name,), trained_on=(IXI,)),
    Design(
        "age-from-ds002748",
        "brain age learned on ds002748, tested there and elsewhere",
        (AGE.name,),
        trained_on=(DS002748,),
    ),
    Design(
        "sequence-by-person",
        "the sequence, each person tested once",
        (SEQUENCE.name,),
        folds=5,
        without=(ANATOMY, VOLUMES),
    ),
    Design(
        "sequence-by-study",
        "the sequence learned without BraTS, tested on it",
        (SEQUENCE.name,),
        held_out=(BRATS,),
        without=(ANATOMY, VOLUMES),
    ),
)
