"""``import BrainIACLib``: cheap, a few names, and the lines of README that use them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import BrainIACLib
from BrainIACLib.resources import resource

ROOT = Path(BrainIACLib.__file__).resolve().parents[1]


def test_importing_the_package_imports_nothing_heavy():
    heavy = "{'torch', 'numpy', 'SimpleITK', 'scipy', 'matplotlib', 'pydicom'}"
    program = f"import sys, BrainIACLib; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", BrainIACLib.__all__)
def test_every_name_at_the_door_is_there_and_explained(name):
    found = getattr(BrainIACLib, name)
    assert name in dir(BrainIACLib)
    assert isinstance(found, str) or found.__doc__
    if not isinstance(found, str):
        assert found.__name__ == name


def test_a_name_that_is_not_there_is_said_as_of_any_module():
    with pytest.raises(AttributeError, match="module 'BrainIACLib' has no attribute 'dance'"):
        BrainIACLib.dance  # noqa: B018


def test_types_are_offered_to_type_checkers():
    assert (ROOT / "BrainIACLib" / "py.typed").is_file()


def test_the_lines_of_python_in_the_readme_run(tmp_path, monkeypatch, capsys):
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    assert len([line for line in program.splitlines() if line]) == 6
    shutil.copy(resource("SampleData", "simulated_T1.nii.gz"), tmp_path / "head.nii.gz")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(program, names)
    assert capsys.readouterr().out.startswith("T1, probability")
    assert names["saliency"].GetSize() == names["brainiac"].read_scan("head.nii.gz").image.GetSize()
