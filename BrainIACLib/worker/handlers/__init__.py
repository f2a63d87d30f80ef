"""Handlers of requests, one function each, in one file for each thing that they are about."""

from BrainIACLib.worker.handlers import batches, heads, masks, models, scans, studies, study, volumes

__all__ = ["batches", "heads", "masks", "models", "scans", "studies", "study", "volumes"]
