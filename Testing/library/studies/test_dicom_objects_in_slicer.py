"""The objects in Slicer's own scene (MRML): the map of the saliency lies where the scan lies, voxel for voxel."""

from __future__ import annotations

import io

import numpy as np
import pytest
import SimpleITK as sitk
from fabricated_study import MPRAGE, FabricatedStudy

slicer = pytest.importorskip("slicer", reason="needs slicer-core", exc_type=ImportError)
hd = pytest.importorskip("highdicom", reason="needs highdicom (pip install highdicom)")

from BrainIACLib.dicom_objects.sources import source_headers  # noqa: E402
from BrainIACLib.dicom_objects.volumes import parametric_map  # noqa: E402
from BrainIACLib.studies.document import Answer  # noqa: E402
from BrainIACLib.studies.opening import open_study  # noqa: E402

ANSWER = Answer(
    "sequence of series 1", "m", "T1", "T1", 0.9, {}, None, None, None, None, {"any": "1"}, (), "", {}, {}, {}
)


@pytest.fixture(params=["axial", "sagittal"])
def heat(request) -> sitk.Image:
    """A map on an oblique grid of uneven voxels."""
    values = np.random.default_rng(0).random((12, 40, 48)).astype(np.float32)
    image = sitk.GetImageFromArray(values / values.max())
    image.SetSpacing((1.5, 2.0, 5.0))
    image.SetOrigin((10, -20, 30))
    cosine, sine = np.cos(0.3), np.sin(0.3)
    turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1.0]])
    if request.param == "sagittal":
        turn = turn @ np.array([[0, 0, 1.0], [1, 0, 0], [0, 1, 0]])
    image.SetDirection(turn.ravel().tolist())
    return image


@pytest.fixture
def made(heat, tmp_path):
    """The Parametric Map of it."""
    study = FabricatedStudy(tmp_path / "study")
    study.add(heat, MPRAGE)
    with open_study([study.folder]) as found:
        return parametric_map(source_headers(found.series[0].dicom), ANSWER, heat, 9710)


def test_slicer_puts_the_map_where_the_scan_lies(made, heat, tmp_path):
    made.save_as(tmp_path / "map.dcm", enforce_file_format=True)
    scene, node = slicer.vtkMRMLScene(), slicer.vtkMRMLScalarVolumeNode()
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    scene.AddNode(node)
    scene.AddNode(storage)
    storage.SetFileName(str(tmp_path / "map.dcm"))
    assert storage.ReadData(node)
    assert np.allclose(_ijk_to_ras(node), _affine(heat), atol=1e-3)
    voxels = slicer.util.arrayFromVolume(node)
    assert voxels.shape == sitk.GetArrayViewFromImage(heat).shape
    assert np.allclose(voxels / 65535, sitk.GetArrayViewFromImage(heat), atol=1e-4)


def test_highdicom_reads_the_same_values_in_the_same_places(made, heat):
    stream = io.BytesIO()
    made.save_as(stream, enforce_file_format=True)
    volume = hd.imread(io.BytesIO(stream.getvalue())).get_volume()
    for index in ((0, 0, 0), (3, 7, 21), (11, 39, 47)):
        point = (volume.affine @ [*index, 1])[:3]
        there = heat.TransformPhysicalPointToIndex(point.tolist())
        assert volume.array[index] == pytest.approx(heat[there], abs=1e-4)


def _ijk_to_ras(node) -> np.ndarray:
    from vtkmodules.vtkCommonMath import vtkMatrix4x4

    matrix = vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def _affine(image: sitk.Image) -> np.ndarray:
    """Voxel index to RAS mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    matrix[:3, 3] = image.GetOrigin()
    return np.diag([-1, -1, 1, 1]) @ matrix
