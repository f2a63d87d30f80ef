"""``python -m Training evaluate``: page, files, checklists and dashboard from fabricated runs (PROTOCOL P-20, P-22)."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser

import pandas as pd
import pytest
from fabricated_runs import fabricate_random_runs

from Training.__main__ import main as training
from Training.evaluation.evaluation import evaluate
from Training.figures.catalogue import all_figures
from Training.report.protocol_checklist import protocol_checklist
from Training.report.report import PRINTED
from Training.runs.cell import Cell
from Training.runs.layout import write_config, write_grid, write_status


class Page(HTMLParser):
    """Tags that are open, addresses that are named, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open, self.addresses, self.text = [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report of two tasks, of which one cell is missing."""
    folder = tmp_path_factory.mktemp("evaluated")
    fabricate_random_runs(folder / "runs", cases=16, tasks=("age", "idh"), fractions=(0.4, 1.0))
    shutil.rmtree(folder / "runs" / "idh-MedicalNet-040-seed0-finetune")
    stale = folder / "report" / "figures" / "figure_3_internal.png"  # of an earlier report, cannot be drawn now
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"old")
    command = ["evaluate", "--runs", str(folder / "runs"), "--out", str(folder / "report"), "--resamples", "20"]
    assert training(command) == 0
    return folder


@pytest.fixture(scope="module")
def page(report):
    return Page((report / "report" / "index.html").read_text(encoding="utf-8"))


def test_page_is_whole_and_self_contained(page, report):
    """Nothing is fetched from anywhere: pictures are in the page, links lead to files that are there."""
    assert page.open == []
    for address in page.addresses:
        if not address.startswith(("data:image/png;base64,", "#")):
            assert (report / "report" / address).exists(), address
    assert not re.search(r"https?://|@import|<script", (report / "report" / "index.html").read_text(encoding="utf-8"))


def test_page_says_what_it_is(page):
    assert "SIMULATED LABELS" in page.text
    assert "Research use only" in page.text
    assert "11 of 12 cells finished" in page.text
    assert "idh-MedicalNet-040-seed0-finetune" in page.text
    assert "Waits for overall survival runs with the internal set" in page.text


def test_checklists_have_every_item(page, report):
    """P-01 to P-46, and the 27 items of TRIPOD+AI; each with evidence or what it waits for."""
    with (report / "report" / "tables" / "protocol_checklist.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [f"P-{number:02d}" for number in range(1, 47)]
    here = {row["id"]: row["here"] for row in rows}
    some = "40 %, 100 % of the data (no run at 10 %, 20 %, 60 %, 80 %)"
    assert here["P-35"] == f"done in part on fabricated with SIMULATED LABELS; {some}; 1 cells missing"
    assert here["P-41"].startswith("Fig 3 internal waits for overall survival runs")
    assert here["P-24"] == "waits for sequence classification runs with the internal set"
    with (report / "report" / "tables" / "tripod_ai.csv").open(encoding="utf-8") as file:
        items = list(csv.DictReader(file))
    assert {re.match(r"\d+", item["item"])[0] for item in items} == {str(number) for number in range(1, 28)}
    assert all(item["evidence"] for item in items)
    assert "TRIPOD+AI checklist" in page.text
    assert "The ids P-01 to P-46 are the rows of our protocol: a checklist of what the paper did" in page.text


def test_protocol_says_what_of_the_paper_was_not_followed(tmp_path):
    """P-14, P-16, P-17, P-41: other recipes, other heads, other fractions and missing training cases are no 'done'."""
    fabricate_random_runs(tmp_path, cases=8, tasks=("age", "survival"), fractions=(0.4, 1.0), extras=False)
    for folder in tmp_path.glob("*-finetune"):
        config = json.loads((folder / "config.json").read_text())
        paper = config["task"] == "age"
        config["recipe"] = {"name": "paper" if paper else "C:\\mine\\own.json", "head": "mlp" if paper else "linear"}
        (folder / "config.json").write_text(json.dumps(config))
    for folder in tmp_path.glob("age-*-040-*"):
        shutil.rmtree(folder)
    for path in tmp_path.glob("survival-*/predictions.csv"):
        rows = pd.read_csv(path)
        rows[rows["split"] != "train"].to_csv(path, index=False)
    found = evaluate(tmp_path, resamples=10)[0]
    cells = protocol_checklist(found, list(all_figures(found))).cells.set_index("id")["here"]
    few = "(no run at 10 %, 20 %, 40 %, 60 %, 80 %)"
    assert cells["P-14"].startswith(f"100 % for brain age {few}; 40 %, 100 % for overall survival (no run at 10 %")
    own = "not the paper's: recipe 'own.json' (overall survival)"
    assert cells["P-16"].startswith(f"the paper's (brain age); {own}; waits")
    own = "not the paper's: one linear layer (overall survival)"
    assert cells["P-17"].startswith(f"two layers (brain age); {own}; waits")
    assert "training cases, whose median splits the groups, are missing" in cells["P-41"]
    assert not cells["P-41"].startswith("done")


def test_hashes_are_those_of_the_files(report):
    with (report / "report" / "tables" / "hashes.csv").open(encoding="utf-8") as file:
        rows = {row["cell"]: row for row in csv.DictReader(file)}
    assert len(rows) == 11
    for name, row in rows.items():
        content = (report / "runs" / name / "predictions.csv").read_bytes()
        assert row["predictions.csv"] == hashlib.sha256(content).hexdigest()


def test_long_tables_are_printed_in_part_and_shown_whole(report):
    """On paper the first rows and where the others are; on the screen, and of the headline on paper too, every row."""
    html = (report / "report" / "index.html").read_text(encoding="utf-8")
    with (report / "report" / "tables" / "hashes.csv").open(encoding="utf-8") as file:
        cells = [row["cell"] for row in csv.DictReader(file)]
    rows = {name: re.search(rf'<tr([^>]*)><td class="hash">{name}<', html)[1] for name in cells}
    shown = [name for name, attributes in rows.items() if "unprinted" not in attributes]
    assert shown == cells[: PRINTED // 4]
    assert f"The first {PRINTED // 4} of 11 cells; all are in tables/hashes.csv." in html
    assert re.search(r"@media print \{.*\.unprinted \{ display: none; \}", html, re.DOTALL)
    headline = html[html.index("numbers beside ours") :]
    assert "unprinted" not in headline[: headline.index("</table>")]


def test_small_figures_share_a_line_on_paper_and_wide_ones_have_it(report):
    html = (report / "report" / "index.html").read_text(encoding="utf-8")
    extent = {number: kind for kind, number in re.findall(r'<figure class="(\w*)">\s*<img alt="([^:]+):', html)}
    assert (extent["Fig 2D"], extent["Fig 5A"], extent["Fig 4"], extent["Fig 1B"]) == ("", "", "wide", "medium")


def test_figures_and_tables_are_beside_the_page(report):
    figures = {path.name for path in (report / "report" / "figures").iterdir()}
    assert {"figure_2F.pdf", "figure_2F.png", "figure_5A.pdf", "figure_6C.png"} <= figures
    assert not any(name.startswith("figure_3_internal") for name in figures)
    assert {path.suffix for path in (report / "report" / "tables").glob("idh_test_auc.*")} == {".csv", ".md", ".tex"}


def test_no_path_of_this_machine_is_in_the_tables(report):
    for path in (report / "report" / "tables").iterdir():
        assert str(report) not in path.read_text(encoding="utf-8"), path.name


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda runs: None, "there is no folder of runs"),
        (lambda runs: write_grid(runs, [Cell("age", "Scratch", 1.0)]), "is finished yet: '--dashboard' shows how far"),
    ],
)
def test_runs_that_cannot_be_reported_are_said_in_one_sentence(tmp_path, capsys, make, words):
    make(tmp_path / "runs")
    assert training(["evaluate", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "report")]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "report").exists()


def test_a_wrong_command_line_is_status_2(capsys):
    with pytest.raises(SystemExit, match="2"):
        training(["evaluate"])
    assert "--runs" in capsys.readouterr().err


def test_dashboard_fills_while_cells_run(tmp_path):
    """Every state at once: finished, running, queued, failed, damaged, missing."""
    runs, page = tmp_path / "runs", tmp_path / "page" / "dashboard.html"
    command = ["evaluate", "--runs", str(runs), "--out", str(page.parent), "--dashboard"]
    cells = fabricate_random_runs(runs, cases=6, tasks=("age",), fractions=(1.0,), extras=False)
    more = [Cell("idh", name, 1.0) for name in ("BrainIAC", "MedicalNet", "Scratch")]
    write_grid(runs, [*cells, *more])
    for cell, state in zip(more[:2], ("running", "failed"), strict=True):
        folder = write_config(runs, cell, cohort="c", labels="simulated", recipe={}, provenance={})
        write_status(folder, state, epoch=3, epochs=12, message="<out of memory>", updated="2026-01-01T00:00:00")
    (runs / cells[0].name / "config.json").write_text("{")
    (runs / cells[1].name / "metrics.json").unlink()
    assert training(command) == 0
    html = page.read_text(encoding="utf-8")
    found = Page(html)
    for words in (
        "1 of 6 cells finished",
        "epoch 3 of 12",
        "not started",
        "is not JSON",
        "no status yet",
        "MAE (years)",
    ):
        assert words in found.text
    assert "[SIMULATED LABELS]" in found.text
    assert "<out of memory>" not in html  # escaped
    assert 'http-equiv="refresh"' in html
    assert json.loads((runs / more[0].name / "status.json").read_text())["state"] == "running"
