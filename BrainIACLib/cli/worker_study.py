"""How the commands compute: in the same worker process, over the same protocol, as Slicer's module."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from BrainIACLib.checkpoints.store import model_folders
from BrainIACLib.cli.scan_options import preprocessing_options
from BrainIACLib.job import Job
from BrainIACLib.worker.client import Client
from BrainIACLib.worker.requests import PrepareStudy


def worker(options: argparse.Namespace) -> Client:
    """A client that starts the worker with its first request and ends it when closed; nothing is imported here."""
    return Client(model_folders(getattr(options, "models_dir", None)))


def set_study(client: Client, options: argparse.Namespace, scans: Mapping[str, Path], job: Job) -> dict[str, dict]:
    """Prepare the scans (name -> path) as the options say.

    Returns
    -------
    name -> {"warnings": [...], "record": [the steps of the preprocessing]}.

    Raises
    ------
    BrainIACError : what is wrong with which scan.
    """
    request = PrepareStudy(
        scans=scans,
        options=preprocessing_options(options),
        mask=options.mask,
        series=options.series,
        frame=options.frame,
        device=options.device,
    )
    return client.call(request, job)["scans"]
