"""Scans for training: the manifest, splits by patient, the leakage check, and the cache of standardized volumes."""
