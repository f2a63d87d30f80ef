"""Fit, cross-validate and install heads on stored embeddings; no image is read here."""
