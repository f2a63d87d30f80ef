"""The kinds of head that can be trained: how each is fitted, and what it becomes as a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from BrainIACLib.head_training import many_two_layer_heads, two_layer_head
from BrainIACLib.head_training.linear_head import SOLVERS, fit_linear_head
from BrainIACLib.head_training.shuffled_fits import cox_outputs, logistic_outputs, ridge_outputs


class Head(Protocol):
    """A fitted head: a frozen dataclass. The last layer is linear, ``weights`` (k, m) and ``bias`` (k,).

    ``penalty`` is what was chosen inside the training cases, and what the fit takes to skip that choice.
    """

    @property
    def weights(self) -> np.ndarray: ...

    @property
    def bias(self) -> np.ndarray: ...

    @property
    def penalty(self) -> float: ...

    def outputs(self, embeddings: np.ndarray) -> np.ndarray:
        """(m, d) -> (m, k): logits, the number, or the log hazard ratio."""
        ...

    def tensors(self) -> dict[str, np.ndarray]:
        """The state of its network (``models.heads.HEADS``): key -> array."""
        ...


@dataclass(frozen=True)
class Shuffled:
    """How the test of chance fits many heads.

    ``outputs`` : as in ``shuffled_fits``. ``counts`` : (most work, shuffles) in rising order, as many shuffles as take
    some seconds; 39 can still show p = .025.
    """

    outputs: Callable[..., np.ndarray]
    counts: tuple[tuple[float, int], ...]

    def count(self, work: float) -> int:
        """Shuffles for ``work``: numbers in the embeddings times outputs."""
        return next(count for limit, count in self.counts if work <= limit)


@dataclass(frozen=True)
class HeadKind:
    """``name`` : of ``--head``. ``network`` : of ``models.heads.HEADS`` and the contract, with its ``dropout``.

    ``fit`` : (embeddings (n, d), target, groups (n,), rng, balanced=, penalty=None, job=) -> ``Head``.
    ``solver``, ``shuffled`` : kind of target ("classification", "regression", "survival") -> in words; for the test.
    """

    name: str
    network: str
    fit: Callable[..., Any]
    solver: Callable[[str], str]
    shuffled: Callable[[str], Shuffled]
    dropout: float = 0.0


ENDLESS = float("inf")
LINEAR_SHUFFLED = {
    "regression": Shuffled(ridge_outputs, ((1e6, 999), (ENDLESS, 499))),
    "classification": Shuffled(logistic_outputs, ((1e5, 999), (5e6, 199), (ENDLESS, 99))),
    "survival": Shuffled(cox_outputs, ((2e4, 199), (1e6, 99), (ENDLESS, 39))),
}
HEAD_KINDS = {
    kind.name: kind
    for kind in (
        HeadKind("linear", "linear", fit_linear_head, SOLVERS.__getitem__, LINEAR_SHUFFLED.__getitem__),
        HeadKind(
            "two-layer",
            "mlp",
            two_layer_head.fit_two_layer_head,
            lambda _: "two-layer head",
            lambda _: Shuffled(many_two_layer_heads.outputs_of_many, ((ENDLESS, 39),)),
            two_layer_head.DROPOUT,
        ),
    )
}
