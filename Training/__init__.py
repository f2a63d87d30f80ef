"""Reproduces what the library ships and what the paper reports; imports BrainIACLib, never the other way round."""
