"""What a back end of brain extraction is: what it is asked, what it answers, and how it is presented."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field

import SimpleITK as sitk

Report = Callable[[float], None]


@dataclass(frozen=True)
class MaskRequest:
    """A scan whose brain is looked for.

    Parameters
    ----------
    image : float32, 3D, any grid.
    mask : a brain mask that somebody handed in, on any grid; non-zero is brain.
    device : the torch device of a network.
    report : gets the fraction done; may raise to stop.
    """

    image: sitk.Image
    mask: sitk.Image | None
    device: str
    report: Report


@dataclass(frozen=True)
class RawMask:
    """The answer of a back end.

    ``mask`` is non-zero in the brain, on the grid of the scan. ``parameters`` go into the record: plain numbers and
    strings. ``warnings`` are the back end's own doubts, as sentences.
    """

    mask: sitk.Image
    parameters: dict[str, object] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class Finds(enum.Enum):
    """What the mask of a back end holds, and so how it is cleaned and judged."""

    GUESS = "a network's guess: its largest piece, with holes filled, is the brain"
    GIVEN = "the brain as somebody marked it: every voxel is kept"
    HEAD = "the whole head: not judged as a brain"


@dataclass(frozen=True)
class Backend:
    """One way to find the brain.

    Parameters
    ----------
    name : on the command line and in records.
    title : in the panel.
    help : one sentence for the command line and for tooltips, without its full stop.
    finds : what ``find`` returns.
    find : the work itself.
    is_installed : whether it can run here.
    needs, installation : what must be there for it, and how a person gets that.
    version : changes whenever its answers may change, as with a network's weights; None without a network.
    in_auto : whether ``auto`` may take it for a scan with a skull.
    in_panel : whether the panel offers it.
    takes_mask : whether it is chosen by handing in a mask.
    """

    name: str
    title: str
    help: str
    finds: Finds
    find: Callable[[MaskRequest], RawMask]
    is_installed: Callable[[], bool] = lambda: True
    needs: str = ""
    installation: str = ""
    version: Callable[[], str] | None = None
    in_auto: bool = False
    in_panel: bool = True
    takes_mask: bool = False
