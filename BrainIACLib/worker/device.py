"""Which processor computes, and why, in words for the person who waits."""

from __future__ import annotations

from dataclasses import dataclass

from BrainIACLib.device import choose_device

NEEDED_BYTES = 2 << 30  # the largest encoder, one scan at 128 mm³ and the activations of one saliency sample


@dataclass(frozen=True)
class Device:
    """A torch device name and the reason for it."""

    name: str
    reason: str


def pick_device(requested: str = "auto") -> Device:
    """The device to use: a named one if it is there, else the fastest with enough free memory.

    Raises
    ------
    BrainIACError : the named device is not available here.
    """
    import torch

    name = choose_device(requested)
    if requested != "auto":
        return Device(name, "chosen by you")
    if name == "cpu":
        return Device("cpu", "no supported graphics processor was found")
    if name == "mps":
        return Device("mps", "Apple's graphics processor was found")
    free, total = torch.cuda.mem_get_info()
    if free < NEEDED_BYTES:
        return Device("cpu", f"the graphics processor has only {free / 2**30:.1f} of {total / 2**30:.0f} GiB free")
    return Device("cuda", f"{torch.cuda.get_device_name()}, {free / 2**30:.1f} GiB free")


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether the error, or one that caused it, is a device running out of memory."""
    while error is not None:
        if isinstance(error, RuntimeError) and "out of memory" in str(error).lower():
            return True
        error = error.__cause__
    return False
