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
    if not available.get(name.split(":")[0], False):
        present = ", ".join(device for device, is_present in available.items() if is_present)
        raise BrainIACError(f"The device '{name}' is not available on this computer; available: {present}.")
    return name
