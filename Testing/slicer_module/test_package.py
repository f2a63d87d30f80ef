"""The extension's package: installed with a strict stand-in for Slicer's CMake macros and compared with the tree."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = Path("lib/qt-scripted-modules")
LIBRARY = ("*.py", "*.html", "*.json", "py.typed")  # what of the library is shipped


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The folder that Slicer would unpack its scripted modules into."""
    cmake = shutil.which("cmake") or shutil.which("cmake", path=str(Path(sys.executable).parent))
    if cmake is None or shutil.which("cc") is None:
        pytest.skip("needs cmake and a C compiler")
    build, prefix = tmp_path_factory.mktemp("build"), tmp_path_factory.mktemp("install")
    configuration = f"-DSlicer_DIR={REPOSITORY / 'Testing' / 'slicer_module' / 'cmake'}"
    for command in (
        [cmake, "-S", str(REPOSITORY), "-B", str(build), configuration, "-DBUILD_TESTING=ON"],
        [cmake, "--install", str(build), "--prefix", str(prefix), "--component", "RuntimeLibraries"],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return prefix / MODULES


def files_below(folder: Path, *patterns: str) -> set[str]:
    found = (path for pattern in patterns for path in folder.rglob(pattern) if path.is_file())
    return {path.relative_to(folder).as_posix() for path in found if "__pycache__" not in path.parts}


def test_every_file_is_shipped_and_no_other(installed):
    expected = {f"BrainIACLib/{name}" for name in files_below(REPOSITORY / "BrainIACLib", *LIBRARY)}
    expected |= files_below(REPOSITORY / "BrainIAC", "*.py", "*.ui", "*.png", "*.txt") - {"CMakeLists.txt"}
    for shared in ("Models", "Atlas", "SampleData", "Licences"):
        expected |= {f"Resources/{shared}/{name}" for name in files_below(REPOSITORY / "Resources" / shared, "*")}
    assert files_below(installed, "*") == expected


def test_each_script_beside_the_module_is_a_module(installed):
    """Slicer takes every script there for a module and fails on one without a class of its own name."""
    scripts = sorted(path.stem for path in installed.glob("*.py"))
    assert scripts == ["BrainIAC", "BrainIACHeadTrainer"]
    for name in scripts:
        assert f"class {name}(ScriptedLoadableModule)" in (installed / f"{name}.py").read_text(encoding="utf-8")
    assert {path.name for path in installed.iterdir() if path.is_dir()} == {
        "BrainIACBridge",
        "BrainIACLib",
        "Resources",
    }


def test_the_installed_library_finds_its_resources_and_imports_without_torch(installed):
    program = (
        "import sys; import BrainIACLib.checkpoints.installed, BrainIACLib.worker.client, BrainIACLib.scans;"
        "from BrainIACLib.resources import resource;"
        "print(resource('Atlas').is_dir(), 'torch' in sys.modules, 'monai' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=installed, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False", "False"]


def test_metadata_and_catalog_entry_agree():
    cmake = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
    settings = dict(re.findall(r'^set\((EXTENSION_\w+) "([^"\n]*)"\)$', cmake, flags=re.MULTILINE))
    catalog_path = REPOSITORY / "BrainIAC" / "BrainIAC.json"
    catalog = json.loads(catalog_path.read_text(encoding="utf-8"))
    name = re.search(r"^project\((\w+)", cmake, flags=re.MULTILINE).group(1)
    assert name == catalog_path.stem
    assert not name.startswith("Slicer")
    repository = catalog["scm_url"].removesuffix(".git")
    assert settings["EXTENSION_HOMEPAGE"] == repository
    assert repository.rsplit("/", 1)[1].startswith("Slicer")
    assert [settings["EXTENSION_DEPENDS"]] == catalog["build_dependencies"]
    assert "non-commercial" in settings["EXTENSION_DESCRIPTION"]
    raw = repository.replace("github.com", "raw.githubusercontent.com") + f"/{catalog['scm_revision']}/"
    for url in (settings["EXTENSION_ICONURL"], settings["EXTENSION_SCREENSHOTURLS"]):
        assert url.startswith(raw)
        assert (REPOSITORY / url.removeprefix(raw)).is_file()
    for setting in ("EXTENSION_LICENSE_FILE", "EXTENSION_README_FILE"):
        path = settings[setting].replace("${CMAKE_CURRENT_SOURCE_DIR}", str(REPOSITORY))
        assert Path(path).is_file()
    assert b"\r" not in catalog_path.read_bytes()


def test_the_owner_of_the_repository_is_written_the_same_everywhere():
    """ORG until there is one; one command of the README fills it in, and must catch every place."""
    owners = {}
    rooms = ("BrainIAC", "BrainIACLib", "Resources", "Testing", "Training", ".github")
    files = [path for room in rooms for path in (REPOSITORY / room).rglob("*")] + list(REPOSITORY.glob("*"))
    for path in sorted(files):
        if path.suffix in {".txt", ".json", ".md", ".py", ".toml", ".cff", ".yml"}:
            for owner in re.findall(r"github(?:usercontent)?\.com/([\w-]+)/SlicerBrainIAC", path.read_text("utf-8")):
                owners.setdefault(owner, set()).add(path.relative_to(REPOSITORY).as_posix())
    assert list(owners.values()) == [
        {"CMakeLists.txt", "BrainIAC/BrainIAC.json", "BrainIAC/BrainIACBridge/links.py"}
    ], owners


def test_catalog_entry_holds_only_the_keys_of_its_schema():
    catalog = json.loads((REPOSITORY / "BrainIAC" / "BrainIAC.json").read_text(encoding="utf-8"))
    required = {"$schema", "category", "scm_url"}
    optional = {"scm_revision", "scm_type", "build_dependencies", "build_subdirectory", "enabled", "tier"}
    assert required <= set(catalog) <= required | optional | {"dicom_support_rule"}


def test_requirements_have_lower_bounds_and_nothing_that_slicer_ships():
    """One requirement a line, without trailing comments: Slicer's own reader takes nothing else."""
    text = (REPOSITORY / "BrainIAC" / "Resources" / "BrainIAC-requirements.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert lines
    for line in lines:
        assert re.fullmatch(r"[A-Za-z0-9_-]+>=[0-9.]+", line), line
        assert line.split(">=")[0].lower() not in {"torch", "numpy", "simpleitk", "scipy", "requests", "pydicom"}
