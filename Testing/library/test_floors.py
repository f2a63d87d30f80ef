"""The floors of the library and of Training: a room imports from its own floor or from those below, nowhere else."""

import ast
from pathlib import Path

import pytest

import BrainIACLib

ROOT = Path(BrainIACLib.__file__).resolve().parents[1]
FLOORS = {
    "BrainIACLib": """
        errors ordinary_file resources foreign_text
        | file_hash job device publishing sequences structures typed_json
        | private_folder contracts
        | manifests
        | scans | models | preprocessing | checkpoints | saliency statistics volumes masks | trust
        | answers predictions prepared_study loaded_models | encoded_scans provenance trusting | predictor
        | examination | embeddings | head_training | exports | reports | studies | dicom_objects | dicom_network | batch
        | worker | cli""",
    "Training": """
        command tasks | synthesis data | cohorts | ssl runs | evaluation | downstream | tables | figures | report
        | starter | reproduction""",
}


def imports(path: Path, package: str) -> set[str]:
    """The rooms of ``package`` that a file imports anywhere, in functions and for type checking too."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith(f"{package}.") and "__" not in name}


@pytest.mark.parametrize("package", FLOORS)
def test_no_room_imports_from_a_floor_above_its_own(package):
    floor = {room: number for number, rooms in enumerate(FLOORS[package].split("|")) for room in rooms.split()}
    wrong = []
    for path in sorted((ROOT / package).rglob("*.py")):
        room = path.relative_to(ROOT / package).parts[0].removesuffix(".py")
        if room in ("__init__", "__main__"):  # the front door
            continue
        assert room in floor, f"give the room '{room}' its floor, in this test and in docs/architecture.md"
        others = (imports(path, package) & set(floor)) - {room}
        wrong += [f"{path.name} imports {other}" for other in others if floor[other] >= floor[room]]
    assert wrong == []
