"""A cohort in one folder: once each, whatever is killed, changed, repeated or broken on the way."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

pytest.importorskip("pyarrow", reason="needs the 'cluster' extra")

from batch_cases import COUNTED, DEATHS, counting, dying, seeing, trying, unwritable

from BrainIACLib.batch import index, ledger, local_engine
from BrainIACLib.batch.cases import cases_of, not_understood, told_absent
from BrainIACLib.batch.index import tell_manifest, update_index
from BrainIACLib.batch.layout import begin_dataset
from BrainIACLib.batch.ledger import Ledger, asked_of, token_of
from BrainIACLib.batch.local_engine import LocalPool
from BrainIACLib.batch.settings import Settings
from BrainIACLib.batch.status import status_of
from BrainIACLib.batch.work import Work, begin, current_index
from BrainIACLib.cli.batch import _look_for_scans
from BrainIACLib.device import choose_device
from BrainIACLib.errors import BrainIACError, ManifestError, NotWritten
from BrainIACLib.scans.input_state import input_state


@pytest.fixture
def cohort(tmp_path):
    """A manifest of twelve files of five people; no scan is really read."""
    rows = ["scan,patient,sequence,site"]
    for number in range(12):
        (tmp_path / f"{number}.nii").write_bytes(b"scan %d" % number)
        rows.append(f"{number}.nii,p{number % 5},{('T1', 'T2', 'FLAIR')[number % 3]},{'AB'[number % 2]}")
    (tmp_path / "cohort.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "cohort.csv"


@pytest.fixture(autouse=True)
def cheap_key(monkeypatch):
    monkeypatch.setattr(Settings, "key", lambda self: "key" + "".join(self.tasks))


def prepared(cohort, out, settings=None) -> tuple[Work, str]:
    begin_dataset(out, cohort)
    run = begin(out, cases_of(cohort), settings or Settings())
    return Work(out, run), run


def go(cohort, out, process=counting, settings=None, retry_failed=False):
    """As one process of an engine does it."""
    _, run = prepared(cohort, out, settings)
    work = Work(out, run, process)
    if retry_failed:
        work.try_failed_again()
    found = Counter(work.one(number).status for number in list(work.left()))
    work.ledger.close()
    return found


def go_in_processes(cohort, out, process, jobs=2):
    work, run = prepared(cohort, out)
    outcomes = []
    LocalPool(work, run, jobs, process).go(list(work.left()), outcomes.append)
    work.ledger.close()
    return Counter(outcome.status for outcome in outcomes)


def counts(out) -> Counter:
    """How often each case was really processed."""
    return Counter((out / COUNTED).read_text().split())


def test_every_case_is_processed_once_and_again_only_where_something_changed(cohort, tmp_path):
    out = tmp_path / "out"
    assert go(cohort, out) == {"done": 12}
    assert go(cohort, out) == {}
    assert set(counts(out).values()) == {1}
    (tmp_path / "3.nii").write_bytes(b"another scan")
    assert go(cohort, out) == {"done": 1}
    text = cohort.read_text().splitlines()
    cohort.write_text("\n".join([text[0], *reversed(text[2:])]) + "\n")  # sorted otherwise, and without one scan
    assert go(cohort, out) == {}
    assert go(cohort, out, settings=Settings(tasks=("age",))) == {"done": 11}
    assert len(update_index(out)) == 12  # what a later manifest does not name stays


def test_a_manifest_that_is_edited_between_runs_changes_labels_without_computing_and_answers_where_the_age_changed(
    cohort, tmp_path
):
    out = tmp_path / "out"
    go(cohort, out)
    update_index(out)
    cohort.write_text(cohort.read_text().replace("0.nii,p0,T1,A", "0.nii,p0,T1,C").replace("site\n", "site,size\n"))
    cohort.write_text("\n".join(f"{line},9" if ".nii" in line else line for line in cohort.read_text().splitlines()))
    assert go(cohort, out) == {}
    work, _ = prepared(cohort, out)
    rows = {row["scan"]: row for row in tell_manifest(out, work.table).to_pylist()}
    assert (rows["0.nii"]["site"], rows["1.nii"]["site"]) == ("C", "B")
    assert rows["0.nii"]["size"] == 6.0  # found, and no manifest's to change
    text = cohort.read_text().replace(",size\n", ",age_years\n").replace("3.nii,p3,T1,B,9", "3.nii,p3,T1,B,70")
    cohort.write_text(text)
    assert go(cohort, out) == {"done": 12}
    cohort.write_text(text.replace("T1,B,70", "T1,B,71"))
    assert go(cohort, out) == {"done": 1}


def test_results_that_others_took_the_place_of_are_made_again(cohort, tmp_path):
    """Of a case there is one set of files: that of the latest settings, of the latest state of its scan."""
    out, other = tmp_path / "out", Settings(tasks=("age",))
    scan = tmp_path / "3.nii"
    content, then = scan.read_bytes(), scan.stat().st_mtime_ns
    for settings in (Settings(), other, Settings()):
        assert go(cohort, out, settings=settings) == {"done": 12}
    scan.write_bytes(b"another scan")
    assert go(cohort, out) == {"done": 1}
    scan.write_bytes(content)
    os.utime(scan, ns=(then, then))
    assert go(cohort, out) == {"done": 1}
    assert go(cohort, out) == {}


def test_no_clock_decides_which_outcome_is_the_latest(cohort, tmp_path):
    """A node whose clock is an hour ahead recorded a failure; then the scan was mended and done elsewhere."""
    out = tmp_path / "out"
    (tmp_path / "4.nii").write_bytes(b"bad")
    assert go(cohort, out) == {"done": 11, "failed": 1}
    (early,) = (out / ".brainiac" / "journals").iterdir()
    ahead = time.time() + 3600
    os.utime(early, (ahead, ahead))
    (tmp_path / "4.nii").write_bytes(b"mended")
    assert go(cohort, out) == {"done": 1}
    assert status_of(out).failed == 0
    kept = early.read_bytes()
    assert set(update_index(out)["status"].to_pylist()) == {"done"}
    early.write_bytes(kept)  # as where it could not be removed
    assert set(update_index(out)["status"].to_pylist()) == {"done"}
    assert go(cohort, out) == {}


def test_a_corrected_patient_or_sequence_takes_the_row_of_the_wrong_name_away(cohort, tmp_path):
    out = tmp_path / "out"
    go(cohort, out)
    assert len(current_index(out)) == 12
    text = cohort.read_text()
    cohort.write_text(text.replace("0.nii,p0,T1,A", "0.nii,p7,FLAIR,A"))
    assert go(cohort, out) == {"done": 1}
    rows = [row for row in current_index(out).to_pylist() if row["scan"] == "0.nii"]
    assert [(row["patient"], row["sequence"]) for row in rows] == [("p7", "FLAIR")]
    cohort.write_text(text)
    assert go(cohort, out) == {"done": 1}
    assert [row["patient"] for row in current_index(out).to_pylist() if row["scan"] == "0.nii"] == ["p0"]
    assert len(current_index(out)) == 12


def test_labels_of_a_run_that_brought_no_tables_up_to_date_are_told_later(cohort, tmp_path):
    out = tmp_path / "out"
    go(cohort, out)
    cohort.write_text(cohort.read_text().replace("0.nii,p0,T1,A", "0.nii,p0,T1,C"))
    assert go(cohort, out) == {}
    assert {row["scan"]: row["site"] for row in current_index(out).to_pylist()}["0.nii"] == "C"


def test_the_journal_of_another_user_is_neither_read_nor_removed(cohort, tmp_path, monkeypatch):
    out = tmp_path / "out"
    go(cohort, out)
    (journal,) = (out / ".brainiac" / "journals").iterdir()
    monkeypatch.setattr("BrainIACLib.publishing.journal.is_own", lambda path: False)
    monkeypatch.setattr("BrainIACLib.batch.ledger.is_own", lambda path: False)
    assert len(update_index(out)) == 0
    assert Ledger(out).foreign_journals() == [journal]
    monkeypatch.undo()
    assert len(update_index(out)) == 12


def test_a_journal_that_cannot_be_removed_costs_nothing(cohort, tmp_path, monkeypatch):
    """As on Windows, while another process reads it."""
    out = tmp_path / "out"
    go(cohort, out)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", _refused(Path.unlink))
        assert len(update_index(out)) == 12
    assert len(update_index(out)) == 12
    assert not list((out / ".brainiac" / "journals").iterdir())


def _refused(unlink):
    def refused(path, missing_ok=False):
        if ".jsonl" in path.name:
            raise PermissionError(13, "used by another process")
        unlink(path, missing_ok)

    return refused


def test_cases_that_others_are_at_are_asked_again_after_a_pause(monkeypatch):
    pauses = []

    def each(self, todo, later, *_):
        later.extend(number for number in todo if not pauses)

    monkeypatch.setattr(LocalPool, "_each", each)
    monkeypatch.setattr("BrainIACLib.batch.local_engine.time.sleep", pauses.append)
    LocalPool(None, "", 1).go([0], print)
    assert pauses == [2.0]


def test_an_index_that_is_taken_away_stops_no_process(cohort, tmp_path):
    out = tmp_path / "out"
    go(cohort, out)
    update_index(out)
    reader = Ledger(out)
    (out / "index.parquet").unlink()
    looks = iter(range(5))
    state = reader._state_of_index
    reader._state_of_index = lambda: (next(looks), state())[1]
    reader.refresh()


def test_failures_under_other_settings_are_not_those_of_this_run(cohort, tmp_path):
    out = tmp_path / "out"
    (tmp_path / "4.nii").write_bytes(b"bad")
    go(cohort, out)
    (tmp_path / "4.nii").write_bytes(b"mended")
    cohort.write_text("\n".join(line for line in cohort.read_text().splitlines() if "4.nii" not in line) + "\n")
    go(cohort, out)
    assert (status_of(out).failed, status_of(out).sentences) == (0, ())


def test_status_looks_at_no_scan_and_a_run_begins_with_what_has_no_record(cohort, tmp_path):
    out = tmp_path / "out"
    work, run = prepared(cohort, out)
    first = Work(out, run, counting)
    for number in (0, 1, 2):
        first.one(number)
    first.ledger.close()
    (tmp_path / "1.nii").write_bytes(b"changed by now")
    work.ledger.refresh()
    assert (status_of(out).done, status_of(out).left) == (3, 9)
    left = work.left()
    assert [next(left) for _ in range(9)] == list(range(3, 12))
    assert list(left) == [1]


def test_full_journals_go_into_the_index_while_processes_work(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(ledger, "ROWS_OF_A_JOURNAL", 2)
    monkeypatch.setattr(index, "ROWS_OF_A_JOURNAL", 2)
    monkeypatch.setattr(index, "FEWEST_ROWS", 4)
    out = tmp_path / "out"
    _, run = prepared(cohort, out)
    workers = [Work(out, run, counting) for _ in range(2)]
    outcomes = [worker.one(number).status for number in range(12) for worker in workers]
    assert outcomes == ["done", "known"] * 12
    assert len(index.read_index(out)) == 12
    assert len(list((out / ".brainiac" / "journals").iterdir())) < 4
    assert status_of(out).done == 12


def test_a_case_that_fails_is_recorded_and_the_rest_goes_on(cohort, tmp_path):
    out = tmp_path / "out"
    (tmp_path / "4.nii").write_bytes(b"bad")
    (tmp_path / "5.nii").unlink()
    assert go(cohort, out) == {"done": 10, "failed": 2}
    assert go(cohort, out) == {}
    found = status_of(out)
    assert (found.cases, found.done, found.failed, found.left, found.running) == (12, 10, 2, 0, 0)
    assert dict(found.sentences) == {"the file is bad.": 1, "the file does not exist.": 1}
    assert go(cohort, out, retry_failed=True) == {"failed": 2}
    (tmp_path / "4.nii").write_bytes(b"mended")
    assert go(cohort, out) == {"done": 1}
    rows = {row["scan"]: row for row in update_index(out).to_pylist()}
    assert rows["4.nii"]["status"] == "done"
    assert rows["5.nii"]["failure"].endswith("does not exist.")
    assert (rows["0.nii"]["site"], rows["0.nii"]["size"]) == ("A", 6.0)


@pytest.mark.skipif(sys.platform == "win32", reason="counts deaths by signals")
def test_a_process_that_dies_of_its_case_costs_that_case_alone(cohort, tmp_path):
    out = tmp_path / "out"
    (tmp_path / "4.nii").write_bytes(b"deadly")
    (tmp_path / "7.nii").write_bytes(b"deadly once")
    (tmp_path / "9.nii").write_bytes(b"too large")
    assert go_in_processes(cohort, out, dying) == {"done": 10, "failed": 2}
    deaths = Counter((out / DEATHS).read_text().split())
    assert deaths == {"4.nii": 2, "7.nii": 1, "9.nii": 2}
    assert go_in_processes(cohort, out, dying) == {}  # no later run dies of it again
    assert {sentence.split(",")[0] for sentence, _ in status_of(out).sentences} == {"Its process was killed twice"}


def test_processes_are_spread_over_the_graphics_processors(cohort, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    out = tmp_path / "out"
    assert go_in_processes(cohort, out, seeing) == {"done": 12}
    assert set(update_index(out)["gpu"].to_pylist()) == {"3", "5"}


def test_a_process_that_cannot_start_is_no_scans_fault(cohort, tmp_path, monkeypatch):
    out = tmp_path / "out"
    monkeypatch.setattr(LocalPool, "_start", _start_broken(LocalPool._start))
    with pytest.raises(BrainIACError, match=r"ended before its first scan \(status 1\).*Nothing is recorded"):
        go_in_processes(cohort, out, counting)
    assert (status_of(out).failed, status_of(out).left) == (0, 12)


def _start_broken(start):
    """Children that look for a run that is not there."""

    def broken(self, threads):
        self.run = "no such run"
        return start(self, threads)

    return broken


def test_a_full_disk_ends_the_run_and_is_no_scans_fault(cohort, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(NotWritten, match=r"No space left.*What is done is kept; run the command again"):
        go_in_processes(cohort, out, unwritable, jobs=1)
    assert status_of(out).failed == 0
    assert go(cohort, out) == {"done": 9}
    assert set(counts(out).values()) == {1}


ON_A_SMALL_DISK = """
import subprocess
import sys
from pathlib import Path
from batch_cases import counting
from BrainIACLib.batch.cases import cases_of
from BrainIACLib.batch.layout import begin_dataset
from BrainIACLib.batch.settings import Settings
from BrainIACLib.batch.status import status_of
from BrainIACLib.batch.work import Work, begin
from BrainIACLib.errors import NotWritten
from BrainIACLib.publishing import write_bytes

Settings.key = lambda self: "key"
folder, trouble = Path(sys.argv[1]), sys.argv[2]
out = folder / "out"
mount = lambda *options: subprocess.run(["mount", *options, str(out)], check=True)
out.mkdir()
mount("-t", "tmpfs", "-o", "size=256k", "tmpfs")

def process(case):
    write_bytes(bytes(40_000), out / (Path(case.path).name + ".result"))
    return counting(case)

begin_dataset(out, folder)
run = begin(out, cases_of(folder / "cohort.csv"), Settings())
work = Work(out, run, process)
try:
    for number in work.left():
        if number == 3 and trouble == "ro":
            mount("-o", "remount,ro")
        work.one(number)
    sys.exit("not noticed")
except NotWritten as error:
    print(error)
status = status_of(out)
print(status.failed, 0 < status.done < 12, [path.name for path in out.glob(".brainiac-*")])
mount("-o", "remount,rw,size=4m")
again = Work(out, run, process)
print(sum(again.one(number).status == "done" for number in again.left()) + status.done)
print(max(map((out / "counted.txt").read_text().split().count, map("{}.nii".format, range(12)))))
"""


@pytest.mark.parametrize(
    ("trouble", "sentence"), [("full", "No space left on device"), ("ro", "Read-only file system")]
)
def test_a_disk_that_fills_up_or_turns_read_only_costs_nothing(cohort, tmp_path, trouble, sentence):
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rm", "true"], capture_output=True).returncode:
        pytest.skip("needs a file system of its own (unshare)")
    path = os.pathsep.join((str(Path(__file__).parent), *sys.path))
    done = subprocess.run(
        [unshare, "-rm", sys.executable, "-c", ON_A_SMALL_DISK, str(tmp_path), trouble],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    said = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert sentence in said[0]
    assert "choose another place or free some space" in said[0]
    assert said[1:] == ["0 True []", "12", "1"]


RUN = """
import sys
from pathlib import Path
import batch_cases
from BrainIACLib.batch.local_engine import LocalPool
from BrainIACLib.batch.work import Work
if __name__ == "__main__":
    out, run, process = Path(sys.argv[1]), sys.argv[2], getattr(batch_cases, sys.argv[3])
    work = Work(out, run)
    LocalPool(work, run, 2, process).go(list(work.left()), lambda outcome: print(outcome.status, flush=True))
    work.ledger.close()
"""


def started(tmp_path, out, run, process) -> subprocess.Popen:
    script = tmp_path / "run_batch.py"
    script.write_text(RUN)
    path = os.pathsep.join((str(Path(__file__).parent), *sys.path))
    return subprocess.Popen(
        [sys.executable, str(script), str(out), run, process],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX systems")
def test_two_runs_at_once_and_a_killed_one_lose_nothing_and_do_nothing_twice(cohort, tmp_path):
    out = tmp_path / "out"
    work, run = prepared(cohort, out)
    both = [started(tmp_path, out, run, "waiting") for _ in range(2)]
    assert both[0].stdout.readline() in ("done\n", "known\n")  # the other one may have been first
    os.kill(both[0].pid, signal.SIGKILL)  # its children end with their cases
    both[0].wait()
    both[1].wait(600)
    work.ledger.refresh()
    go(cohort, out)
    work.ledger.refresh()
    assert list(work.left()) == []
    done = counts(out)
    assert len(done) == 12
    assert max(done.values()) == 1
    assert len(update_index(out)) == 12


def test_a_claim_holds_for_one_and_ends_with_its_owner(tmp_path):
    first, second = Ledger(tmp_path), Ledger(tmp_path)
    with first.claim("sub-1") as mine, second.claim("sub-1") as other, second.claim("sub-2") as free:
        assert (mine, other, free) == (True, False, True)
        assert first.running() == 2
    with second.claim("sub-1") as mine:
        assert mine
    assert first.running() == 0


def test_the_index_takes_in_journals_and_a_second_run_extends_it(cohort, tmp_path):
    out = tmp_path / "out"
    go(cohort, out)
    assert len(update_index(out)) == 12
    assert not list((out / ".brainiac" / "journals").iterdir())
    (tmp_path / "new.nii").write_bytes(b"new")
    with cohort.open("a") as file:
        file.write("new.nii,p9,T1,C\n")
    assert go(cohort, out) == {"done": 1}
    table = update_index(out)
    assert len(table) == 13
    assert len(set(table["id"].to_pylist())) == 13


def test_outputs_of_single_participants_that_were_made_apart_are_one_after_copying(cohort, tmp_path):
    """As where each job of a cluster has a folder of its own, and its results come back as an archive."""
    (tmp_path / "out").mkdir()  # where the process notes what it did
    head, *rows = cohort.read_text().splitlines()
    for part in (0, 1):
        cohort.write_text("\n".join([head, *rows[part::2]]) + "\n")
        assert go(cohort, tmp_path / f"part{part}") == {"done": 6}
        shutil.copytree(tmp_path / f"part{part}", tmp_path / "whole", dirs_exist_ok=True)
    assert current_index(tmp_path / "whole")["status"].to_pylist() == ["done"] * 12


def test_names_are_stable_unique_and_valid(cohort, tmp_path):
    (tmp_path / "more.csv").write_text(
        "scan,patient,session,sequence\n../a/sub-01.T1.nii.gz,sub-01,,T1\n../b/sub-01.T1.nii.gz,sub-01,,T1\n"
        "x.mha,a_b,v 1,FLAIR\ny.nrrd,ab,v1,T1CE\nz.nii,,,\n"
    )
    ids = [case.id for case in cases_of(tmp_path / "more.csv")]
    assert len(set(ids)) == 5
    assert ids[0].startswith("sub-01/anat/sub-01_acq-sub01T1")
    assert ids[2].split("/")[0] != ids[3].split("/")[0]  # a_b and ab are two people
    assert "_ce-contrast_T1w" in ids[3]
    assert ids[4].endswith("_MRI")
    assert [case.id for case in cases_of(tmp_path / "more.csv")] == ids


def test_a_manifest_that_contradicts_itself_is_refused_with_its_lines(tmp_path):
    (tmp_path / "bad.csv").write_text("scan,patient\na.nii,sub-1\nb.nii,1\n./a.nii,p2\n,p3\n")
    with pytest.raises(ManifestError, match=r"line 3: the patient '1'.*line 4: the scan.*line 5: scan is empty"):
        cases_of(tmp_path / "bad.csv")


def look(cohort, out, here=True):
    _look_for_scans(cohort, cases_of(cohort), out, Settings(), here)


def test_a_manifest_that_leads_to_no_scan_is_refused_before_each_is_blamed(cohort, tmp_path, capsys):
    out = tmp_path / "out"
    look(cohort, out)
    for number in range(11):
        (tmp_path / f"{number}.nii").unlink()
    look(cohort, out)  # one is there
    (tmp_path / "11.nii").unlink()
    with pytest.raises(ManifestError, match=r"cohort\.csv' does not lead to any of 12 scans .*: there is no '.*0"):
        look(cohort, out)
    assert not out.exists()
    assert capsys.readouterr().err == ""
    look(cohort, out, here=False)
    assert "does not lead to any of 12 scans" in capsys.readouterr().err


def test_scans_are_looked_for_across_the_whole_cohort(tmp_path):
    names = [f"{'there' if number >= 150 else 'unplugged'}/{number}.nii" for number in range(250)]
    (tmp_path / "there").mkdir()
    for name in names[150:]:
        (tmp_path / name).touch()
    (tmp_path / "c.csv").write_text("\n".join(["scan", *names]))
    assert told_absent(tmp_path / "c.csv", cases_of(tmp_path / "c.csv")) == ""
    shutil.rmtree(tmp_path / "there")
    assert "any of 84 scans" in told_absent(tmp_path / "c.csv", cases_of(tmp_path / "c.csv"))


def test_a_finished_batch_whose_scans_were_archived_runs_again_and_stays_done(cohort, tmp_path):
    out = tmp_path / "out"
    assert go(cohort, out) == {"done": 12}
    for number in range(12):
        (tmp_path / f"{number}.nii").unlink()
    look(cohort, out)
    assert go(cohort, out) == {}
    assert current_index(out)["status"].to_pylist() == ["done"] * 12
    cohort.write_text(cohort.read_text() + "missing.nii,p9,T1,A\n")
    with pytest.raises(ManifestError, match="does not lead to its scan"):
        look(cohort, out)


def test_ages_and_sequences_that_cannot_be_used_are_told_before_anything_starts(tmp_path):
    (tmp_path / "cohort.csv").write_text(
        "scan,age_years,sequence\na.nii,45.5,t1w\nb.nii,45y,\nc.nii,333,T9\nd.nii,,FLAIR\ne.nii,nan,other\n"
    )
    ages, sequences = not_understood(cases_of(tmp_path / "cohort.csv"))
    assert ages.startswith(
        "The column 'age_years' is no number of years from 0 to 130 for 3 of 5, such as '45y' for 'b"
    )
    assert sequences.endswith("for 1 of 5, such as 'T9' for 'c.nii'; it is not used there.")
    (tmp_path / "cohort.csv").write_text("scan,age_years\na.nii,45\n")
    assert not_understood(cases_of(tmp_path / "cohort.csv")) == []


def test_a_change_of_the_voxels_behind_a_header_is_seen(tmp_path):
    image = sitk.GetImageFromArray(np.zeros((4, 4, 4), np.float32))
    sitk.WriteImage(image, str(tmp_path / "scan.mhd"))
    before = input_state(str(tmp_path / "scan.mhd"))
    time.sleep(0.02)
    (tmp_path / "scan.raw").write_bytes(bytes(255))
    assert input_state(str(tmp_path / "scan.mhd")) != before


def test_a_token_tells_case_input_and_settings_apart():
    asked = [("a", "b"), ("b", "b"), ("a", "c"), ("a", "b", "70")]
    tokens = {token_of(asked_of(*one), state) for one in asked for state in ("now", "then")}
    assert len(tokens) == 8


@pytest.mark.parametrize("kind", ["damaged", "older"])
def test_an_index_that_cannot_be_read_is_named(kind, cohort, tmp_path):
    import pyarrow
    import pyarrow.parquet

    out = tmp_path / "out"
    go(cohort, out)
    update_index(out)
    if kind == "damaged":
        (out / "index.parquet").write_bytes((out / "index.parquet").read_bytes()[:-100])
    else:
        pyarrow.parquet.write_table(pyarrow.table({"id": ["a"], "status": ["done"]}), out / "index.parquet")
    for read in (partial(go, cohort, out), partial(current_index, out), partial(status_of, out)):
        with pytest.raises(BrainIACError, match=r"index.parquet' is damaged or of an older version; take it away"):
            read()
    (out / "index.parquet").unlink()
    assert go(cohort, out) == {"done": 12}


@pytest.mark.parametrize("folded", [False, True])
def test_finished_work_of_an_earlier_build_is_kept(folded, cohort, tmp_path):
    """Its rows have no turn, its index neither turn nor case; a manifest's column of that name was a text there."""
    import pyarrow.parquet

    from BrainIACLib.publishing import Journal

    out = tmp_path / "out"
    go(cohort, out)
    (journal,) = (out / ".brainiac" / "journals").iterdir()
    rows = list(Journal(journal).rows())
    if folded:
        table = update_index(out).drop_columns(
            ["case", "turn", *[f"later_{n}" for n in "asked token turn status".split()]]
        )
        table = table.append_column("case", pyarrow.array(["a text"] * 12)).append_column(
            "attempt", pyarrow.array([1] * 12)
        )
        pyarrow.parquet.write_table(table, out / "index.parquet")
    else:
        journal.unlink()
        Journal(journal).add(*({name: value for name, value in row.items() if name != "turn"} for row in rows))
    assert (status_of(out).done, status_of(out).left) == (12, 0)
    assert go(cohort, out) == {}
    told = current_index(out)
    assert set(told["turn"].to_pylist()) == {1}
    assert sorted(told["case"].to_pylist()) == sorted(ledger.case_number(row["id"]) for row in rows)
    assert "attempt" not in told.column_names


def test_no_column_of_a_manifest_is_lost_to_one_of_the_index(cohort, tmp_path):
    out = tmp_path / "out"
    names = ("case", "turn", "status", "id", "failure")
    head, *rows = cohort.read_text().splitlines()
    cohort.write_text("\n".join([f"{head},{','.join(names)}", *(f"{row},v1,v2,v3,v4,v5" for row in rows)]) + "\n")
    go(cohort, out)
    cohort.write_text(cohort.read_text().replace("0.nii,p0,T1,A,v1", "0.nii,p0,T1,A,other"))
    assert go(cohort, out) == {}
    told = {row["scan"]: row for row in current_index(out).to_pylist()}
    assert [told["1.nii"][f"manifest_{name}"] for name in names] == ["v1", "v2", "v3", "v4", "v5"]
    assert told["0.nii"]["manifest_case"] == "other"
    assert (told["0.nii"]["status"], told["0.nii"]["turn"], told["0.nii"]["failure"]) == ("done", 1, None)


@pytest.mark.parametrize("folded", [False, True])
def test_a_failure_under_other_settings_takes_no_results_away(folded, cohort, tmp_path):
    out, other = tmp_path / "out", Settings(tasks=("age",))
    go(cohort, out)
    if folded:
        update_index(out)
    (out / "trouble").touch()
    assert go(cohort, out, trying, other) == {"failed": 12}
    for _ in range(2):
        told = update_index(out)
        assert set(told["status"].to_pylist()) == {"done"}
        assert None not in told["size"].to_pylist()
        assert set(told["failure"].to_pylist()) == {"The license server does not answer."}
    assert index.write_failures(out, told) == 0
    assert "license server" in (out / "failures.csv").read_text()
    assert go(cohort, out, trying, other) == {}  # nobody asked for another try
    assert (status_of(out).failed, status_of(out).left) == (12, 0)
    assert status_of(out).sentences == (("The license server does not answer.", 12),)
    (out / "trouble").unlink()
    assert go(cohort, out, trying, other, retry_failed=True) == {"done": 12}
    told = update_index(out)
    assert set(told["failure"].to_pylist()) == set(told["later_status"].to_pylist()) == {None}
    assert index.write_failures(out, told) == 0
    assert not (out / "failures.csv").exists()


@pytest.mark.parametrize("folded", [False, True])
def test_the_reasons_of_failures_stay_until_they_are_tried_again(folded, cohort, tmp_path):
    out = tmp_path / "out"
    (tmp_path / "4.nii").write_bytes(b"bad")
    go(cohort, out)
    if folded:
        update_index(out)
    work, _ = prepared(cohort, out)
    work.try_failed_again()  # and stopped
    work.ledger.close()
    assert status_of(out).sentences == (("the file is bad. It is to be tried again.", 1),)
    told = [row["failure"] for row in update_index(out).to_pylist() if row["status"] == "again"]
    assert told == [f"'{tmp_path / '4.nii'}' is bad. It is to be tried again."]


@pytest.mark.parametrize("device", ["cuda:1", "cpu"])
def test_a_graphics_processor_that_is_named_is_left_to_torch(device, cohort, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    out = tmp_path / "out"
    work, run = prepared(cohort, out, Settings(device=device))
    LocalPool(work, run, 2, seeing).go(list(work.left()), lambda outcome: None)
    assert set(update_index(out)["gpu"].to_pylist()) == {"3,5"}


def test_graphics_processors_that_this_process_does_not_see_are_not_used(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(local_engine, "GPUS", tmp_path)
    assert local_engine.visible_gpus() == []
    (tmp_path / "0").mkdir()
    (tmp_path / "1").mkdir()
    monkeypatch.setattr(local_engine, "_count_gpus", int)  # 0, as where a job was given none
    assert local_engine.visible_gpus() == []


def test_a_device_that_is_not_there_ends_the_run_and_is_no_scans_fault(cohort, tmp_path):
    out = tmp_path / "out"
    work, run = prepared(cohort, out, Settings(device="xpu"))
    with pytest.raises(BrainIACError, match=r"device 'xpu' is not available.*What is done is kept"):
        LocalPool(work, run, 1).go(list(work.left()), lambda outcome: None)
    assert (status_of(out).failed, status_of(out).left) == (0, 12)


def test_a_graphics_processor_beyond_the_last_is_not_available(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [choose_device(name) for name in ("cuda", "cuda:1")] == ["cuda", "cuda:1"]
    with pytest.raises(BrainIACError, match="device 'cuda:2' is not available"):
        choose_device("cuda:2")


def test_an_output_without_a_batch_says_so(tmp_path):
    with pytest.raises(BrainIACError, match="holds no batch"):
        status_of(tmp_path)
