"""What a head's outputs mean."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from BrainIACLib.contracts.checks import one_of, rising, within
from BrainIACLib.errors import ModelError
from BrainIACLib.typed_json import ADDED_LATER

# "cloglog": 1 - exp(-exp(output)) is the probability of the second label, a Cox head with its baseline at the end point
LINKS = ("softmax", "sigmoid", "cloglog", "identity")
TWO_CLASS_LINKS = ("sigmoid", "cloglog")
SEVERITIES = ("doubt", "grave")
LONGEST_DOUBT = 500  # characters: it stands with every answer
MISSING_POLICIES = ("refuse", "masked-mean")
# What one of the first unit is in the second: a contract that says otherwise is wrong (U-16).
CONVERSIONS = {("months", "years"): 1 / 12, ("years", "months"): 12.0}


@dataclass(frozen=True)
class StandingDoubt:
    """What its makers doubt in every answer of a head: one sentence, shown with each, and how much it weighs."""

    text: str
    severity: str  # "doubt": a reason to look again; "grave": the answer must not be relied on

    def __post_init__(self) -> None:
        one_of("head.standing_doubt.severity", self.severity, SEVERITIES)
        if not self.text.strip():
            raise ModelError("head.standing_doubt.text is empty")
        if len(self.text) > LONGEST_DOUBT:
            raise ModelError(f"head.standing_doubt.text has {len(self.text)} characters, at most {LONGEST_DOUBT} fit")


@dataclass(frozen=True)
class HeadContract:
    """What a head's outputs mean: classes or unit, slots, range of validity, thresholds and calibration.

    A sigmoid or cloglog gives the probability of its second label. A regression's output times ``conversion`` is in
    ``display_unit``; outside ``plausible_range`` it is refused, outside ``training_range`` there is a warning.
    """

    task: str
    head_type: str  # "linear" or "mlp" (U-02)
    outputs: int
    link: str
    labels: tuple[str, ...] | None  # one per output of a softmax; (negative, positive) of a sigmoid
    unit: str | None
    slots: tuple[str, ...]  # names of the scans it takes; ("any",) for a single scan of any sequence
    missing_policy: str  # U-03
    temperature: float | None  # logits are divided by it (calibration)
    confidence_gate: float | None  # below it the answer is "uncertain"
    valid_range: str  # in words: for which scans and people the output was made
    polarity_verified: bool  # False: no class name is shown as a fact (C-06)
    weights: str
    sha256: str
    dropout: float = 0.2
    polarity_evidence: str | None = None
    display_unit: str | None = None
    conversion: float | None = None
    plausible_range: tuple[float, float] | None = None  # display unit
    training_range: tuple[float, float] | None = None  # display unit
    training_age_range: tuple[float, float] | None = None  # years
    training_sets: tuple[str, ...] = ()
    training_scans: int | None = None
    endpoint: str | None = None  # U-15
    threshold: float | None = None  # on the probability of the second label; None: 0.5
    threshold_source: str | None = None  # C-10
    conformal: float | None = None  # score quantile of a prediction set; of a regression, half the interval's width
    ood_stats: str | None = None  # file name of training-embedding statistics beside the contract
    metrics: tuple[str, ...] = ()  # validation numbers with their set, in words
    conformal_coverage: float | None = field(default=None, metadata=ADDED_LATER)  # asked for, as 0.9
    conformal_measured: float | None = field(
        default=None, metadata=ADDED_LATER
    )  # on cases that neither the head nor its quantile had seen
    ood_sha256: str | None = field(default=None, metadata=ADDED_LATER)
    standing_doubt: StandingDoubt | None = field(default=None, metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        one_of("head.link", self.link, LINKS)
        one_of("head.missing_policy", self.missing_policy, MISSING_POLICIES)
        one_of("head.head_type", self.head_type, ("linear", "mlp"))
        within("head.outputs", self.outputs, 1, 10_000)
        if not self.slots or len(set(self.slots)) != len(self.slots):
            raise ModelError("head.slots must name at least one scan, each once")
        if self.link == "softmax" and (self.labels is None or len(self.labels) != self.outputs):
            raise ModelError(f"head.labels must name all {self.outputs} outputs of the softmax")
        if self.link in TWO_CLASS_LINKS and (self.outputs != 1 or self.labels is None or len(self.labels) != 2):
            raise ModelError(f"head.labels must be (negative, positive) and head.outputs 1 for a {self.link}")
        if self.labels is not None and len(set(self.labels)) != len(self.labels):
            raise ModelError("head.labels holds a name twice")
        if self.temperature is not None:
            within("head.temperature", self.temperature, 1e-3, 1e3)
        for name in ("confidence_gate", "threshold", "conformal_coverage", "conformal_measured"):
            if getattr(self, name) is not None:
                within(f"head.{name}", getattr(self, name), 0, 1)
        for name in ("plausible_range", "training_range", "training_age_range"):
            if getattr(self, name) is not None:
                rising(f"head.{name}", getattr(self, name))
        if (self.conformal is None) != (self.conformal_coverage is None):
            raise ModelError("head.conformal and head.conformal_coverage belong together")
        if self.link == "identity":
            self._check_units()

    @property
    def display_labels(self) -> tuple[str, ...]:
        """How the classes are called in an answer: by number where it is not proven which is which (C-06)."""
        labels = self.labels or ()
        if self.polarity_verified:
            return labels
        return tuple(f"class {index} (documented as {label}; unverified)" for index, label in enumerate(labels))

    def _check_units(self) -> None:
        if self.outputs != 1 or not self.unit:
            raise ModelError("head.unit is missing: a regression without a unit has no meaning")
        if (self.display_unit is None) != (self.conversion is None):
            raise ModelError("head.display_unit and head.conversion belong together")
        known = 1.0 if self.display_unit == self.unit else CONVERSIONS.get((self.unit, self.display_unit or ""))
        if self.conversion is not None and (known is None or not math.isclose(self.conversion, known, rel_tol=1e-6)):
            raise ModelError(f"head.conversion {self.conversion} does not turn {self.unit} into {self.display_unit}")
