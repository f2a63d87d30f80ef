"""A page that fills while cells run: what is queued, running, failed or finished, with plain numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jinja2 import Template

from BrainIACLib.errors import ResultsError, StatisticsError
from BrainIACLib.publishing import write_text
from Training.runs.cell import Cell
from Training.runs.layout import cell_folders, finished, read_grid, read_json
from Training.runs.reading import read_run
from Training.tasks import TASKS


@dataclass(frozen=True)
class State:
    """One cell as it is now: ``state`` is finished, running, queued, failed, damaged or missing."""

    cell: Cell
    state: str
    says: str
    progress: float = 0.0
    simulated: bool = False


def states(runs: Path) -> list[State]:
    """Every wanted cell and every cell that is there. A damaged one is shown as such and hides no other."""
    there = {Cell.parse(folder.name): folder for folder in cell_folders(runs)}
    wanted = read_grid(runs)
    return [_state(cell, there.get(cell)) for cell in dict.fromkeys([*wanted, *there])]


def write_dashboard(runs: Path, page: Path, refresh_seconds: int = 30) -> list[State]:
    """Write the page, which a browser loads again by itself, and return what it shows."""
    found = states(runs)
    counts: dict[str, int] = {}
    for state in found:
        counts[state.state] = counts.get(state.state, 0) + 1
    page.parent.mkdir(parents=True, exist_ok=True)
    write_text(_PAGE.render(states=found, counts=counts, refresh=refresh_seconds), page)
    return found


def _state(cell: Cell, folder: Path | None) -> State:
    if folder is None:
        return State(cell, "missing", "not started")
    try:
        if finished(folder):
            return _finished(cell, folder)
        if not (folder / "status.json").is_file():
            return State(cell, "queued", "no status yet")
        status = read_json(folder / "status.json", ("state", "epoch", "epochs", "message", "updated"))
    except ResultsError as error:
        return State(cell, "damaged", str(error))
    epoch, epochs = status["epoch"], status["epochs"]
    says = f"epoch {epoch} of {epochs}, {status['updated']} {status['message']}".strip()
    return State(cell, status["state"], says, epoch / epochs if epochs else 0.0)


def _finished(cell: Cell, folder: Path) -> State:
    run = read_run(folder)
    measure = TASKS[cell.task].primary
    rows = measure.known(run.rows("test"))
    try:
        value = measure.value(rows)
        says = f"{measure.title} {value * measure.factor:.{measure.digits}f} on {len(rows)} test cases"
    except StatisticsError as error:
        says = str(error)
    return State(cell, "finished", says, 1.0, run.simulated)


_PAGE = Template(
    """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="{{ refresh }}">
<title>{{ counts.get("finished", 0) }} of {{ states | length }} cells</title>
<style>
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 1.5rem auto; max-width: 64rem; }
td, th { text-align: left; padding: .15rem 1rem .15rem 0; } progress { width: 7rem; }
.failed, .damaged { color: #d55e00; font-weight: 700; } .missing, .queued { opacity: .6; } .mark { color: #d55e00; }
</style></head><body>
<h1>{{ counts.get("finished", 0) }} of {{ states | length }} cells finished</h1>
<p>{% for state, count in counts | dictsort %}{{ state }}: {{ count }}. {% endfor %}Research use only. Numbers without
intervals: the report has them.</p>
<table><tr><th>cell</th><th>state</th><th></th><th></th></tr>
{% for state in states %}<tr class="{{ state.state }}"><td>{{ state.cell.name }}</td><td>{{ state.state }}</td>
<td><progress value="{{ state.progress }}"></progress></td>
<td>{{ state.says }}{% if state.simulated %} <span class="mark">[SIMULATED LABELS]</span>{% endif %}</td></tr>
{% endfor %}</table></body></html>
""",
    autoescape=True,
)
