"""Handlers of requests, one function each, in one file for each thing that they are about."""

from BrainIACLib.worker.handlers import heads, masks, models, scans, studies, study, volumes

__all__ = ["heads", "masks", "models", "scans", "studies", "study", "volumes"]
