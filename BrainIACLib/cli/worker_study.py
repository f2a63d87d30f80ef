"""How the commands compute: in the same worker process, over the same protocol, as Slicer's module."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from BrainIACLib.checkpoints.store import model_folders
from BrainIACLib.worker.client import Client


def worker(options: argparse.Namespace) -> Client:
    """A client that starts the worker with its first request and ends it when closed; nothing is imported here."""
    return Client(model_folders(getattr(options, "models_dir", None)))


def set_study(
    client: Client, options: argparse.Namespace, scans: Mapping[str, Path], progress: Callable[[str, float], None]
) -> dict[str, dict]:
    """Prepare the scans (name -> path) as the options say.

    Returns
    -------
    name -> {"warnings": [...], "record": [the steps of the preprocessing]}.

    Raises
    ------
    BrainIACError : what is wrong with which scan.
    """
    answer = client.call(
        "study",
        progress=progress,
        scans={name: str(path.absolute()) for name, path in scans.items()},
        device=options.device,
        bias_field=not options.no_bias_field,
        brain_extraction="mask" if options.mask else options.brain_extraction,
        mask=str(options.mask.absolute()) if options.mask else None,
        seed=options.seed,
        series=options.series,
        frame=options.frame,
        preset=getattr(options, "preset", "standard"),
    )
    return answer["scans"]
