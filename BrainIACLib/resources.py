"""Where the bundled models, atlas and sample study lie: beside the library, or inside it in a wheel."""

from pathlib import Path


def resource(*parts: str) -> Path:
    """The path of a bundled file or folder, for instance ``resource("Atlas", "icbm152_brain_t1.nii.gz")``."""
    package = Path(__file__).resolve().parent
    for root in (package / "Resources", package.parent / "Resources"):
        if root.is_dir():
            return root.joinpath(*parts)
    raise FileNotFoundError("BrainIAC's Resources folder is missing; install BrainIAC again.")
