"""How the commands end: those of ``python -m Training``, and the recipes (``python -m Training.starter.age``)."""

from __future__ import annotations

import sys
from collections.abc import Callable

from BrainIACLib.errors import BrainIACError


def run(name: str, main: Callable[[], int | None]) -> int:
    """The exit status of a command: 1 with one sentence where its input is at fault, 130 where it was stopped."""
    try:
        return main() or 0
    except BrainIACError as error:
        sentence = str(error)
    except OSError as error:
        sentence = f"'{error.filename}' cannot be used ({error.strerror})." if error.filename else str(error)
    except KeyboardInterrupt:
        print(f"{name}: stopped.", file=sys.stderr)
        return 130
    print(f"{name}: {sentence}", file=sys.stderr)
    return 1
