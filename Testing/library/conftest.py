"""What the command line prints as JSON is checked against its published schema in every test that runs a command."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from jsonschema import Draft202012Validator

from BrainIACLib.cli import scan_options
from BrainIACLib.resources import resource

SCHEMA = resource().parent / "BrainIACLib" / "cli" / "output.schema.json"


@pytest.fixture(autouse=True, scope="session")
def every_line_of_json_is_as_published() -> Iterator[None]:
    """In this process; a line that is not as the schema says ends the command, and so the test."""
    schema = Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    written = scan_options.in_json

    def checked(fields):
        line = written(fields)
        schema.validate(json.loads(line))
        return line

    scan_options.in_json = checked
    yield
    scan_options.in_json = written
