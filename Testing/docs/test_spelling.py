"""American spelling, as Slicer's, in everything that a person reads: comments, docstrings, messages, pages.

Names in code stay as they are (``standardise``, ``licence``): what stands in backticks, in a path, or before a bracket,
a dot or an underscore is no prose.
"""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path

from test_documents import tracked

IZE = (
    "standard normal recogn harmon regular initial optim organ summar minim maxim util real visual general local "
    "categor serial parallel random binar quant discret synchron vector character special final memor anonym pseudonym "
    "priorit penal equal neutral symbol emphas critic custom digit author formal item token linear magnet homogen"
).split()
BRITISH = re.compile(
    rf"\b(?:\w*(?:{'|'.join(IZE)})is(?:e|es|ed|ing|er|ers|ation|ations|able)|analys(?:e|ed|ing|er|ers)"
    r"|\w*(?:colour|behaviour|favour|neighbour|tumour|vapour|artefact|catalogue|haemorrh|oedema|paediatr|ischaem)\w*"
    r"|centr(?:e|es|ed|ing)|grey(?:s|er|ish)?|\w*(?:milli|centi|kilo|micro)metres?|metres?|fibres?|licences?"
    r"|(?:un)?labell(?:ed|ing|ings)|modell(?:ed|ing)|cancell(?:ed|ing)|travell(?:ed|ing)|judgements?|ageing|learnt|whilst)\b",
    re.IGNORECASE,
)
NO_PROSE = re.compile(
    r"``[^`]*``|`[^`]*`|\]\([^)]*\)|https?://\S+|\{[^{}]*\}|(?<!\S)\S*[_/\\]\S*|\b\w+\.\w[\w.]*|--[\w-]+|\b\w+\("
    r"|\"[A-Za-z]+\"|'[A-Za-z]+'|aria-labelledby"
)
NAMES_IN_DOCSTRINGS = re.compile(r"^\s*[\w*]+(?:, [\w*]+)* : ")
KNOWN = {
    ("BrainIACLib/models/anatomy.py", "grey"),  # the name of a number in a shipped model
    ("Testing/training/test_tables_of_runs.py", "initialisation"),  # a column
    ("Training/downstream/queue.py", "Cancelled"),  # a class
    ("Training/runs/cell.py", "initialisation"),  # a field
    ("Training/synthesis/tissue_parameters.py", "oedema"),  # a tissue of the simulation
    ("Testing/docs/test_spelling.py", "*"),
}


def prose_of_python(source: str) -> list[str]:
    """Comments, and strings of three words or more, line by line."""
    found = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        is_sentence = token.type == tokenize.STRING and len(token.string.split()) >= 3
        if token.type == tokenize.COMMENT or is_sentence:
            found += [NAMES_IN_DOCSTRINGS.sub("", line) for line in token.string.splitlines()]
    return found


def prose_of_markdown(source: str) -> list[str]:
    """All lines outside of blocks of code."""
    lines, is_code = [], False
    for line in source.splitlines():
        is_code ^= line.lstrip().startswith("```")
        if not is_code and not line.startswith("    "):
            lines.append(line)
    return lines


def british(path: Path, name: str) -> list[str]:
    source = path.read_text(encoding="utf-8")
    lines = prose_of_python(source) if path.suffix == ".py" else prose_of_markdown(source)
    words = [word for line in lines for word in BRITISH.findall(NO_PROSE.sub(" ", line))]
    return [f"{name}: {word}" for word in words if not {(name, word), (name, "*")} & KNOWN]


def test_all_prose_is_spelled_the_american_way():
    root = Path(__file__).resolve().parents[2]
    found = []
    for path in tracked("*.py", "*.md"):
        found += british(path, path.relative_to(root).as_posix())
    assert found == []


def test_british_words_are_found_and_names_are_not():
    text = '"""The standardised scan, its colour and centre; `standardise`, grey_matter, scan.centre, colour(x)."""\n'
    assert [word for line in prose_of_python(text) for word in BRITISH.findall(NO_PROSE.sub(" ", line))] == [
        "standardised",
        "colour",
        "centre",
    ]
