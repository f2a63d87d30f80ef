"""Text of strangers stays text on a terminal, in a spreadsheet and in a picture."""

import csv
import io

import matplotlib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from BrainIACLib.foreign_text import (
    PrintableStream,
    of_spreadsheet_cell,
    printable,
    spreadsheet_cell,
    without_mathematics,
)


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_printed(text):
    shown = printable(text)
    assert not {"\x1b", "\r", "\b", "\x9b", "\u202e", "\x07"} & set(shown)
    shown.encode()


def test_letters_of_any_script_are_printed_as_they_are():
    assert printable("Größe 日本 naïve – “x” é\n") == "Größe 日本 naïve – “x” é\n"


def test_a_stream_keeps_what_a_progress_bar_needs():
    stream = io.StringIO()
    print("\rname\x1b[2J\udcff", file=PrintableStream(stream, keep="\n\r"))
    assert stream.getvalue() == "\rname\\x1b[2J\\udcff\n"


@given(st.text(st.sampled_from("'=+-@\t\r1a.e")))
def test_a_cell_is_no_formula_and_comes_back(text):
    cell = spreadsheet_cell(text)
    assert of_spreadsheet_cell(cell) == text
    if cell[:1] in ("=", "@", "\t", "\r", "+", "-"):
        float(cell)


@pytest.mark.parametrize("number", ["-1", "+2.5", "-1e-05", "-inf", "0.5", "12"])
def test_numbers_stay_numbers(number):
    assert spreadsheet_cell(number) == number


def test_no_text_is_taken_for_mathematics():
    matplotlib.use("agg")
    from matplotlib import pyplot

    for text in ("$x^$.nii.gz", "a$b", r"\$\alpha$", "$$$", "$\x1b$"):
        figure = pyplot.figure()
        drawn = figure.text(0.5, 0.5, without_mathematics(text))
        assert drawn._preprocess_math(drawn.get_text()) == (printable(text, ""), False)
        figure.canvas.draw()
        pyplot.close(figure)


def test_an_embedding_table_holds_no_formula_and_comes_back(tmp_path):
    from BrainIACLib.embeddings.files import read_table, write_table
    from BrainIACLib.embeddings.table import table_of

    names = ["=cmd()", "-a.nii", "@b", "'=c", "plain.nii"]
    table = table_of([{"scan": name, "=label": "+1+1"} for name in names], [[-1.5, 2.0]] * len(names))
    write_table(table, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert all(cell[:1] not in ("=", "+", "@") and (cell[:1] != "-" or float(cell)) for cell in cells)
    back = read_table(tmp_path / "t.csv")
    assert list(back.columns["scan"]) == names
    assert back.sha256 == table.sha256
