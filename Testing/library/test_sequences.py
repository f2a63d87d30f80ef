"""The one list of sequences: the paper's order, unambiguous names, and nobody who types the list anew."""

import ast
from collections import Counter
from pathlib import Path

import pytest

import BrainIACLib
from BrainIACLib.contracts import read_contract
from BrainIACLib.resources import resource
from BrainIACLib.sequences import ALL, STANDARD, STANDARD_NAMES, STANDARD_OR_OTHER, STUDY_ORDER, sequence_named

ROOT = Path(BrainIACLib.__file__).resolve().parents[1]


def test_the_papers_four_keep_their_order_and_the_bundled_model_its_labels():
    assert STANDARD_NAMES == ("T1", "T2", "FLAIR", "T1CE")
    assert STUDY_ORDER == ("T1CE", "FLAIR", "T1", "T2")
    assert read_contract(resource("Models", "sequence-starter")).head.labels == STANDARD_OR_OTHER
    assert [kind.name for kind in STANDARD if kind.contrast_enhanced] == ["T1CE"]


def test_no_name_or_synonym_means_two_kinds():
    names = Counter(name for kind in ALL for name in {kind.name.lower(), *map(str.lower, kind.synonyms)})
    assert set(names.values()) == {1}


@pytest.mark.parametrize(
    ("text", "name"),
    [("t1n", "T1"), ("T1w", "T1"), ("t1Gd", "T1CE"), ("t1c", "T1CE"), ("t2f", "FLAIR"), ("T2_FLAIR", "FLAIR")],
)
def test_names_of_public_data_sets_are_known(text, name):
    assert sequence_named(text).name == name


@pytest.mark.parametrize("text", ["", "localizer", "T1 after T2", "T"])
def test_a_text_that_is_no_name_is_no_sequence(text):
    assert sequence_named(text) is None


def test_no_other_file_types_the_list_anew():
    """Orders of foreign files (upstream's class orders) are facts about those files, not this list."""
    foreign = {"official_contracts.py"}
    wanted = set(STANDARD_NAMES)
    found = []
    for room in ("BrainIACLib", "BrainIAC", "Training"):
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, (ast.Tuple, ast.List)):
                    typed = [item.value for item in node.elts if isinstance(item, ast.Constant)]
                    if wanted <= {value for value in typed if isinstance(value, str)}:
                        found.append(path.name)
    assert set(found) - foreign == set()
