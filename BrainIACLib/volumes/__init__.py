"""Volumes of brain structures, measured on the standardised scan by the bundled anatomy network."""
