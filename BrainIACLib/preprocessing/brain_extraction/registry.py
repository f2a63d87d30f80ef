"""Every way to find the brain. A new one is a function of its own and one entry of ``BACKENDS``.

The command line and the panel offer what stands here, in this order, with these words.
"""

from __future__ import annotations

from collections.abc import Callable

import SimpleITK as sitk

from BrainIACLib.errors import PreprocessingError
from BrainIACLib.preprocessing.brain_extraction import bundled, deepbet, given_mask, hd_bet, stripped, whole_head
from BrainIACLib.preprocessing.brain_extraction.backend import Backend, Finds, MaskRequest, RawMask
from BrainIACLib.preprocessing.brain_extraction.package import Package
from BrainIACLib.preprocessing.brain_extraction.stripped import is_stripped

AUTO = "auto"
AUTO_TITLE = "Automatic"
AUTO_HELP = (
    "a mask that is handed in, else 'stripped' if the scan shows the brain only, else HD-BET where it is installed, "
    "else 'bundled'"
)


def _of_package(
    package: Package,
    name: str,
    title: str,
    help: str,
    find: Callable[[MaskRequest], RawMask],
    in_auto: bool = False,
    in_panel: bool = True,
) -> Backend:
    return Backend(
        name=name,
        title=title,
        help=help,
        finds=Finds.GUESS,
        is_installed=package.is_installed,
        needs=f"the package {package.name}",
        installation=package.installation,
        version=package.version,
        find=find,
        in_auto=in_auto,
        in_panel=in_panel,
    )


BACKENDS: dict[str, Backend] = {  # ``auto`` takes the first that is installed
    backend.name: backend
    for backend in (
        Backend(
            name="stripped",
            title="Already done: the scan shows the brain only",
            help="everything that is not background is brain",
            finds=Finds.GIVEN,
            find=stripped.find,
        ),
        _of_package(
            hd_bet.PACKAGE,
            name="hd-bet",
            title="HD-BET (any sequence; slow without a graphics card)",
            help="HD-BET's fast mode, for any sequence",
            find=hd_bet.find,
            in_auto=True,
        ),
        Backend(
            name="bundled",
            title="Bundled network (any sequence; fast)",
            help="our own small network, for any sequence",
            finds=Finds.GUESS,
            find=bundled.find,
            is_installed=bundled.is_installed,
            needs="its weights, which are missing from this installation",
            installation="install BrainIAC again",
            version=bundled.version,
            in_auto=True,
        ),
        _of_package(
            deepbet.PACKAGE,
            name="deepbet",
            title="deepbet (T1 only)",
            help="deepbet, which is made for T1",
            find=deepbet.find,
            in_panel=False,
        ),
        _of_package(
            hd_bet.PACKAGE,
            name="hd-bet-accurate",
            title="HD-BET's accurate mode (any sequence; very slow)",
            help="HD-BET's accurate mode, 40 times as slow",
            find=hd_bet.find_accurately,
            in_panel=False,
        ),
        Backend(
            name="mask",
            title="A brain mask",
            help="a mask that is handed in",
            finds=Finds.GIVEN,
            find=given_mask.find,
            in_panel=False,
            takes_mask=True,
        ),
        Backend(
            name="none",
            title="None: use the whole head",
            help="the whole head",
            finds=Finds.HEAD,
            find=whole_head.find,
        ),
    )
}


def in_panel() -> dict[str, str]:
    """Name -> title of what a panel offers: ``auto``, and the back ends that are installed here."""
    offered = {way.name: way.title for way in BACKENDS.values() if way.in_panel and way.is_installed()}
    return {AUTO: AUTO_TITLE, **offered}


def choices() -> list[str]:
    """The names of all back ends, and ``auto``."""
    return [AUTO, *BACKENDS]


def chosen_backend(image: sitk.Image, mask: sitk.Image | None = None) -> str:
    """What ``auto`` stands for with this scan.

    Raises
    ------
    PreprocessingError : a network is needed and none is installed.
    """
    if mask is not None:
        return "mask"
    if is_stripped(image):
        return "stripped"
    if (backend := network_of_auto()) is not None:
        return backend.name
    raise PreprocessingError(
        "This scan still shows the skull, and the bundled brain extraction is missing; install BrainIAC again, or hand "
        "in a brain mask."
    )


def network_of_auto() -> Backend | None:
    """The back end that ``auto`` takes for a scan with a skull; None if none of them is installed."""
    return next((backend for backend in BACKENDS.values() if backend.in_auto and backend.is_installed()), None)


def network_version(name: str) -> str | None:
    """What tells the network behind ``name`` from any other (for ``auto``: with a whole head), its weights included.

    None where no network is used or it is not installed.
    """
    backend = network_of_auto() if name == AUTO else BACKENDS.get(name)
    if backend is None or backend.version is None or not backend.is_installed():
        return None
    return f"{backend.name} {backend.version()}"
