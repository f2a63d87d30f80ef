"""Volumes of brain structures, measured on the standardized scan by the bundled anatomy network."""
