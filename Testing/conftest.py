"""Shared fixtures: where the optional real scans lie, and plain synthetic images with a known geometry."""

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of openly licensed real scans beside the repository; tests that need it are skipped without it."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not (folder / "MANIFEST.csv").is_file():
        pytest.skip("needs the real scans of ../shared/data, which are not here")
    return folder
