"""Runs inside Slicer: opens both modules, keeps a picture of each, runs their self tests, and ends Slicer.

``Slicer --testing --additional-module-paths FOLDER --python-script in_slicer.py PICTURES``; the exit code is 1 if a
test failed. **Not run inside Slicer yet**; the tests run it over stand-ins.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path

MODULES = ("BrainIAC", "BrainIACHeadTrainer")


def run(slicer, pictures: Path) -> list[str]:
    """Open, picture and test each module. What failed, one text a module."""
    pictures.mkdir(parents=True, exist_ok=True)
    failures = []
    for name in MODULES:
        try:
            slicer.util.selectModule(name)
            slicer.app.processEvents()
            slicer.util.mainWindow().grab().save(str(pictures / f"{name}.png"))
            getattr(importlib.import_module(name), f"{name}Test")().runTest()
        except Exception:
            failures.append(f"{name}:\n{traceback.format_exc()}")
    return failures


def main() -> None:
    """In Slicer: run, print what failed, end with 0 or 1."""
    import slicer
    import slicer.util

    failures = run(slicer, Path(sys.argv[1] if len(sys.argv) > 1 else "pictures"))
    print("\n".join(failures) or "Both modules passed their self tests.", flush=True)
    slicer.util.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
