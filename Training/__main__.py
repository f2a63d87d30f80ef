"""``python -m Training <command>``: prepare data, pretrain, finetune, evaluate, or reproduce the whole paper."""

from __future__ import annotations

import importlib
import sys

from Training.command import run

COMMANDS = {
    "prepare": ("Training.data.prepare", "standardize the scans of a manifest into a cache of volumes"),
    "pretrain": ("Training.ssl.pretrain", "SimCLR pretraining on a cache"),
    "smoke": ("Training.ssl.smoke", "the whole pretraining chain, small, on synthetic heads"),
    "finetune": ("Training.downstream.finetune", "train one task from one initialization, or a grid of them"),
    "evaluate": ("Training.report.evaluate", "metrics, statistics, tables and figures of finished runs"),
    "reproduce": ("Training.reproduction.reproduce", "the paper's experiments from data to report"),
}


def main(arguments: list[str]) -> int:
    """Hand the arguments after the command to its module; without a known command, say which there are."""
    if not arguments or arguments[0] not in COMMANDS:
        lines = [f"  {name:<10} {says}" for name, (_, says) in COMMANDS.items()]
        print("usage: python -m Training COMMAND ...\n" + "\n".join(lines))
        return 0 if arguments in (["-h"], ["--help"]) else 2
    module, _ = COMMANDS[arguments[0]]
    return run(arguments[0], lambda: importlib.import_module(module).main(arguments[1:]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
