"""Between Slicer and BrainIACLib, one class per file: installation, worker process, nodes in and out, study, overlay,
results. Files here may use slicer, qt and vtk; what they compute with comes from the library.
"""

import importlib.util
import sys
from pathlib import Path


def useOwnLibrary(home: Path) -> None:
    """Make the library that came with these modules the one that is imported, whatever else bears its name.

    An empty folder that an earlier version left behind, or another copy of the library, may come first on the path.

    Parameters
    ----------
    home : the folder of the modules; the library lies beside them in a package, one folder up in the source tree.
    """
    root = next(folder for folder in (home, home.parent) if (folder / "BrainIACLib" / "__init__.py").is_file())
    own = root / "BrainIACLib" / "__init__.py"
    found = importlib.util.find_spec("BrainIACLib")
    if found is not None and found.origin is not None and Path(found.origin).resolve() == own:
        return
    for name in [name for name in sys.modules if name.split(".")[0] == "BrainIACLib"]:
        del sys.modules[name]
    sys.path.insert(0, str(root))


useOwnLibrary(Path(__file__).resolve().parents[1])
