"""TRIPOD+AI (Collins and others, BMJ 385, 2024; the paper's reference 79), filled from the runs (PROTOCOL P-20).

Items are named in our own words. An item has evidence in this report, or says what it waits for: nobody but the people
who have the cohort can answer for its patients.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from Training.evaluation.evaluation import Evaluation
from Training.tables.table import Table
from Training.tasks import TASKS

_COHORT = "waits for the authors of the cohort: "
_STUDY = "waits for whoever publishes a study with these runs: "


def tripod_checklist(evaluation: Evaluation) -> Table:
    """One row an item: number, what it asks, evidence or what it waits for."""
    rows = [
        {"item": item, "asks for": asks, "evidence": evidence if isinstance(evidence, str) else evidence(evaluation)}
        for item, asks, evidence in ITEMS
    ]
    simulated = any(run.simulated for run in evaluation.runs)
    note = "Collins GS and others. TRIPOD+AI statement. BMJ 2024;385:e078378. Items in our words."
    return Table("tripod_ai", "TRIPOD+AI checklist", pd.DataFrame(rows), note, simulated)


def _cohorts(evaluation: Evaluation) -> str:
    names = sorted({f"{run.config['cohort']} ({run.config['labels']} labels)" for run in evaluation.runs})
    return (
        f"cohort: {', '.join(names)}; manifest and its hash under 'Commands and hashes'" if names else "waits for runs"
    )


def _tasks(evaluation: Evaluation) -> str:
    there = [TASKS[task].says for task in TASKS if evaluation.of(task)]
    return f"compare initializations in {', '.join(there)}, by amount of training data" if there else "waits for runs"


def _splits(evaluation: Evaluation) -> str:
    if any("fold" in run.predictions for run in evaluation.runs):
        return "cross-validation by patient; patients of training and test are checked to be disjoint in every fold"
    return "hold-out by patient, the same for all cells; patients of training and test are checked to be disjoint"


def _recipes(evaluation: Evaluation) -> str:
    initialisations = sorted({f"{run.cell.initialisation}: {run.initialisation_title}" for run in evaluation.runs})
    return f"table 'training' has each cell's recipe; {'; '.join(initialisations)}"


def _measures(evaluation: Evaluation) -> str:
    titles = [measure.title for task in TASKS if evaluation.of(task) for measure in TASKS[task].measures]
    return f"{', '.join(dict.fromkeys(titles))}, each with 95 % interval; pairs compared by named tests; calibration"


def _missing_data(evaluation: Evaluation) -> str:
    left_out = [run.config["left_out"] for run in evaluation.runs if run.config.get("left_out")]
    said = f"; left out: {left_out[0]}" if left_out else ""
    return f"scans that a study lacks are left out of the mean; cases censored before the horizon out of the AUC{said}"


def _performance(evaluation: Evaluation) -> str:
    missing = f"{len(evaluation.missing)} of {len(evaluation.wanted)} cells missing"
    return f"tables of each task and set, figures by number; {missing}"


def _heterogeneity(evaluation: Evaluation) -> str:
    subsets = sorted({name for name in evaluation.numbers["subset"] if name})
    return f"by subset: {', '.join(subsets)}" if subsets else "waits for a cohort of several data sets"


Evidence = str | Callable[[Evaluation], str]

ITEMS: tuple[tuple[str, str, Evidence], ...] = (
    ("1", "title that names model, population and outcome", _STUDY + "the title"),
    ("2", "abstract", _STUDY + "the abstract (TRIPOD+AI for abstracts)"),
    ("3a", "clinical context and rationale", _STUDY + "the context"),
    ("3b", "target population and intended use", "research use only; no clinical use is intended"),
    ("3c", "known inequalities between groups", _STUDY + "what is known of them"),
    ("4", "objectives", _tasks),
    ("5a", "sources of data", _cohorts),
    ("5b", "dates of data", _COHORT + "when their patients were scanned"),
    ("6a", "setting", _COHORT + "their centers"),
    ("6b", "eligibility", _COHORT + "who was included; here every scan that the manifest lists and that could be read"),
    ("6c", "treatments", _COHORT + "treatments (they bear on survival)"),
    ("7", "preparation of data", "bias field, rigid registration, brain extraction, 1 mm; each scan's record is kept"),
    (
        "8a",
        "outcome and how it was assessed",
        "Training/runs/layout.py; how it was assessed: see the cohort's page",
    ),
    ("8b", "assessors of the outcome", _COHORT + "who assessed"),
    ("8c", "blinding of the assessors", _COHORT + "whether they were blinded"),
    ("9a", "choice of predictors", "images alone: all sequences that the task names"),
    ("9b", "definition of predictors", "standardized volumes, as in item 7"),
    ("9c", "assessors of predictors", "none: no human reading enters"),
    ("10", "sample size", "none calculated: all cases of the cohort; table 'counts'; the intervals show the precision"),
    ("11", "missing data", _missing_data),
    ("12a", "use of the data for training and evaluation", _splits),
    ("12b", "handling of predictors", "as in item 7; no selection of features"),
    ("12c", "type of model, training, internal validation", _recipes),
    ("12d", "heterogeneity between clusters", _heterogeneity),
    ("12e", "measures of performance", _measures),
    ("12f", "updating of the model", "none"),
    ("12g", "how predictions were computed", "predictions.csv of every cell; weights and their hashes beside it"),
    ("13", "class imbalance", "no resampling; balanced accuracy and AUC do not depend on it; calibration is shown"),
    (
        "14",
        "fairness",
        "waits for a manifest with the groups; performance by data set is shown where there are several",
    ),
    ("15", "output of the model", "probabilities of classes, age in years, risk of death within the horizon"),
    ("16", "differences of training and evaluation data", "the external set is shown apart; see 'what differs'"),
    ("17", "ethical approval", _COHORT + "their approval"),
    ("18a", "funding", _STUDY + "its funding"),
    ("18b", "conflicts of interest", _STUDY + "its conflicts"),
    ("18c", "protocol", "the table 'Protocol P-01 to P-46' of this report"),
    ("18d", "registration", _STUDY + "registration, if any"),
    ("18e", "sharing of data", "access routes on each cohort's page; no data are shared here"),
    ("18f", "sharing of code", "open source (Apache-2.0); commands and hashes in this report"),
    ("19", "involvement of patients and public", _STUDY + "involvement, if any"),
    ("20a", "flow of participants", "table 'counts'"),
    ("20b", "characteristics of participants", _COHORT + "age, sex, scanner; the manifest keeps what it is given"),
    ("20c", "development and evaluation data compared", "table 'counts'; t-SNE of features where embeddings were kept"),
    ("21", "numbers in each analysis", "the note below each table"),
    ("22", "full model", "config.json, predictions.csv and weights in the folder of every cell"),
    ("23a", "performance with intervals", _performance),
    ("23b", "heterogeneity of performance", _heterogeneity),
    ("24", "results of updating", "none"),
    ("25", "interpretation", "'Where pretraining helps'; beyond that " + _STUDY + "its interpretation"),
    (
        "26",
        "limitations",
        "'what differs' beside every number of the paper; missing cells; simulated labels are marked",
    ),
    ("27a", "poor or unavailable input", "scans that cannot be used are refused in words, others carry warnings"),
    ("27b", "interaction and expertise", "research software; see the module's page"),
    ("27c", "next steps", _STUDY + "its next steps"),
)
"""(item, what it asks for, evidence)."""
