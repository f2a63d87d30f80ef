"""A number with its confidence interval."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """An estimate with the limits of its confidence interval; all finite, except where a function says otherwise.

    >>> f"{Interval(0.76, 0.61, 0.90):.2f}"
    '0.76 (0.61-0.90)'
    """

    value: float
    low: float
    high: float
    level: float = 0.95

    def __format__(self, number_format: str) -> str:
        """The way papers print it, each number formatted as told."""
        value, low, high = (format(number, number_format) for number in (self.value, self.low, self.high))
        return f"{value} ({low}-{high})" if not low.startswith("-") else f"{value} ({low} to {high})"
