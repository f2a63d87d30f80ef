"""What ``brainiac`` says of a command line that asks for nothing it can do."""

from __future__ import annotations

import pytest

from BrainIACLib.cli import main


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sequence", "--bogus", "a.nii"], "brainiac sequence: error: unrecognized arguments: --bogus\n"),
        (["models", "list", "more"], "brainiac models list: error: unrecognized arguments: more\n"),
        (
            ["batch", "cohort", "--out", "der"],
            "brainiac batch: error: unrecognized arguments: cohort (a table or folder is given by --manifest cohort)\n",
        ),
    ],
)
def test_what_a_command_does_not_take_is_said_with_its_own_usage(arguments, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    text = capsys.readouterr().err
    assert text.endswith(said)
    assert text.startswith(f"usage: {said.split(':')[0]} [-h]")


def test_a_table_that_is_given_as_a_scan_is_pointed_to_its_option(tmp_path, capsys):
    table = tmp_path / "cases.CSV"
    table.write_text("scan\na.nii.gz\n", encoding="utf-8")
    assert main(["embed", str(table), "--out", str(tmp_path / "out.csv")]) == 1
    assert capsys.readouterr().err.strip() == (
        f"brainiac: '{table}' is a table, not a scan; give it as one. Use: --manifest {table}"
    )
    assert not (tmp_path / "out.csv").exists()
