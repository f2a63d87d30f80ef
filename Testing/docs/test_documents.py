"""The documents hold together: identifiers resolve, links lead somewhere, commands name existing modules (D-07)."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
IDENTIFIER = re.compile(r"(?<![A-Za-z0-9-])[PTCUDF]-\d{2}(?!\d)")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
MODULE = re.compile(r"python -m ((?:Training|Testing|BrainIACLib)[\w.]*)")


def tracked(*patterns: str) -> list[Path]:
    """Files of the repository, also those that are not committed yet, without what git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode != 0:
        pytest.skip("needs git and a checkout to list the files of the repository")
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def test_every_identifier_of_the_protocol_that_code_cites_is_on_its_page():
    page = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    known = set(re.findall(r"^\| ([PTCUDF]-\d{2}) ", page, re.MULTILINE))
    cited = {
        (identifier, path.relative_to(ROOT).as_posix())
        for path in tracked("*.py", "*.md", "*.html", "*.yaml", "*.json")
        for identifier in IDENTIFIER.findall(path.read_text(encoding="utf-8"))
    }
    assert len(cited) > 100
    assert {pair for pair in cited if pair[0] not in known} == set()


def _texts(tree: ast.Module) -> list[tuple[int, str]]:
    """String constants of a module that are no docstrings, with their lines."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    fields = {  # a string alone below a field documents it
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings | fields
    ]


def test_no_identifier_of_the_protocol_reaches_a_text_that_a_user_of_library_or_panel_reads():
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in tracked("BrainIACLib/*.py", "BrainIAC/*.py")
        for line, text in _texts(ast.parse(path.read_text(encoding="utf-8")))
        if IDENTIFIER.search(text)
    ]
    assert found == []


def test_every_relative_link_of_a_document_leads_to_a_file():
    broken = []
    for path in tracked("*.md"):
        for target in LINK.findall(path.read_text(encoding="utf-8")):
            if "://" in target or target.startswith(("#", "mailto:")):
                continue
            if not (path.parent / target.split("#")[0]).exists():
                broken.append(f"{path.relative_to(ROOT)}: {target}")
    assert broken == []


def test_every_module_that_a_document_runs_exists():
    missing = []
    for path in tracked("*.md"):
        for name in MODULE.findall(path.read_text(encoding="utf-8")):
            if "NAME" in name:
                continue
            place = ROOT / name.rstrip(".").replace(".", "/")
            if not (place.with_suffix(".py").is_file() or (place / "__main__.py").is_file()):
                missing.append(f"{path.relative_to(ROOT)}: python -m {name}")
    assert missing == []
