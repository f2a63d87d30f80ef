"""``python -m BrainIACLib.cli`` is the same as ``brainiac``."""

import sys

from BrainIACLib.cli import main

sys.exit(main())
