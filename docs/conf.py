"""Sphinx settings of the documentation: built offline, links checked (``make docs``)."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

project = "BrainIAC for 3D Slicer"
author = "The BrainIAC for 3D Slicer developers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
html_theme = "furo"
exclude_patterns = ["_build"]
myst_heading_anchors = 4
suppress_warnings = ["myst.xref_missing"]  # links to files of the repository; Testing/docs checks that they exist
autosummary_generate = True
autodoc_mock_imports = []
napoleon_google_docstring = False
nitpicky = False
