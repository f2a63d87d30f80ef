"""What every part of a contract checks of its numbers and words."""

from __future__ import annotations

from BrainIACLib.errors import ModelError


def one_of(where: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raises ModelError for another word than those ``allowed``."""
    if value not in allowed:
        raise ModelError(f"{where} is '{value}', but must be one of {', '.join(allowed)}")


def within(where: str, value: float, low: float, high: float) -> None:
    """Raises ModelError for a number outside of ``low`` to ``high``."""
    if not low <= value <= high:
        raise ModelError(f"{where} is {value}, but must lie between {low} and {high}")


def rising(where: str, bounds: tuple[float, float]) -> None:
    """Raises ModelError for bounds in the wrong order."""
    if not bounds[0] < bounds[1]:
        raise ModelError(f"{where} must rise, and {bounds[0]} to {bounds[1]} does not")
