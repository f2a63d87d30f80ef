"""A message is read in Slicer and at the command line: options and commands are named by the command line alone."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import BrainIACLib
from BrainIACLib.cli import command_line
from BrainIACLib.cli.words import error_in_words
from BrainIACLib.errors import ScanError
from BrainIACLib.worker.conversation import Conversation, Reply
from BrainIACLib.worker.requests import Forget

PACKAGE = Path(BrainIACLib.__file__).parent
COMMANDS = "|".join(command_line()._subparsers._group_actions[0].choices)
NAMED = re.compile(rf"(?<![\w-])--[a-z]|brainiac (?:{COMMANDS})\b")
FOR_BOTH = "on the command line with"
NO_MESSAGES = {"style.py"}  # of the report; variables of CSS


def sentences(source: str) -> Iterator[str]:
    """The strings of a file but docstrings and those that are a command from their first letter."""
    tree = ast.parse(source)
    documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if id(node) in documents | parts:
            continue
        text = ""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        elif isinstance(node, ast.JoinedStr):
            text = "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        if text and not text.startswith(("--", "brainiac ")):
            yield text


def test_no_sentence_outside_of_the_command_line_names_an_option_or_a_command():
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.parent.name != "cli" and path.name not in NO_MESSAGES:
            texts = (text for text in sentences(path.read_text(encoding="utf-8")) if FOR_BOTH not in text)
            found += [f"{path.name}: {text}" for text in texts if NAMED.search(text)]
    assert found == []


def test_what_is_looked_for_is_found():
    source = '''"""Module --doc."""
raise ScanError("choose one with --frame N", "--frame N")
raise ModelError(f"run: brainiac models import {file}", command=f"brainiac models import {file}")
'''
    found = [text for text in sentences(source) if NAMED.search(text)]
    assert found == ["choose one with --frame N", "run: brainiac models import {}"]


def test_the_command_of_an_error_comes_over_the_pipe_and_is_added_behind_the_sentence():
    failed: list[Exception] = []
    conversation = Conversation(lambda data: None, lambda line: None)
    conversation.request(Forget(), Reply(lambda value: None, failed.append, lambda step, fraction: None))
    message = {
        "type": "error",
        "id": 1,
        "kind": "ScanError",
        "message": "It holds 2 series:\n  a",
        "command": "--series UID",
    }
    conversation.feed(json.dumps(message).encode() + b"\n")
    assert (type(failed[0]), str(failed[0])) == (ScanError, "It holds 2 series:\n  a")
    assert error_in_words(failed[0]) == "It holds 2 series:\n  a\nUse: --series UID"
