"""The processor that torch computes on."""

from __future__ import annotations

from BrainIACLib.errors import BrainIACError


def choose_device(name: str) -> str:
    """``"auto"`` becomes the fastest device that torch finds; a named one is checked.

    Raises
    ------
    BrainIACError : the named device is not available here.
    """
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(device for device, present in available.items() if present)
    kind, _, number = name.partition(":")
    present_here = available.get(kind, False)
    if present_here and kind == "cuda" and number.isdecimal():
        present_here = int(number) < torch.cuda.device_count()
    if not present_here:
        present = ", ".join(device for device, is_present in available.items() if is_present)
        raise BrainIACError(f"The device '{name}' is not available on this computer; available: {present}.")
    return name
