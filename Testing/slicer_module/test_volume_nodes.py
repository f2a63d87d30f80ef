"""Nodes out to images and back: the same voxels at the same place, as SimpleITK and nibabel read the same file."""

from __future__ import annotations

import pytest

pytest.importorskip("slicer", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

import nibabel
import numpy as np
import SimpleITK as sitk
import slicer
import vtk
from BrainIACBridge.volume_nodes import VolumeNodes
from scene import picture, pixelOf

from BrainIACLib.errors import ScanError


def ijkToRas(node):
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def test_a_node_read_by_slicer_is_what_simpleitk_reads(scene, oblique):
    image = VolumeNodes().image(scene.load(oblique))
    reference = sitk.ReadImage(str(oblique))
    assert np.allclose(image.GetDirection(), reference.GetDirection(), atol=1e-12)
    assert np.allclose(image.GetSpacing(), reference.GetSpacing(), atol=1e-12)
    assert np.allclose(image.GetOrigin(), reference.GetOrigin(), atol=1e-12)
    assert image.GetPixelID() == reference.GetPixelID()
    assert (sitk.GetArrayViewFromImage(image) == sitk.GetArrayViewFromImage(reference)).all()


def test_a_left_handed_file_keeps_every_voxel_in_its_place(scene, oblique, tmp_path):
    """Slicer reverses the slices of such files when it reads them."""
    reference = nibabel.load(oblique)
    affine = reference.affine @ np.diag((-1, 1, 1, 1))
    path = tmp_path / "left_handed.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.asarray(reference.dataobj), affine), path)
    image = VolumeNodes().image(scene.load(path))
    k, j, i = np.unravel_index(sitk.GetArrayViewFromImage(image).argmax(), image.GetSize()[::-1])
    lps = image.TransformIndexToPhysicalPoint((int(i), int(j), int(k)))
    assert np.allclose(np.array(lps) * (-1, -1, 1), (affine @ (5, 3, 8, 1))[:3], atol=1e-4)


def test_a_node_shows_an_image_where_nibabel_says_that_it_is(scene, oblique):
    node = scene.mrml.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    VolumeNodes().showImage(sitk.ReadImage(str(oblique)), node)
    reference = nibabel.load(oblique)
    assert np.allclose(ijkToRas(node), reference.affine, atol=1e-4)
    assert (slicer.util.arrayFromVolume(node).T == reference.get_fdata()).all()


def test_an_edited_node_goes_out_as_it_is_shown(scene, oblique):
    node = scene.load(oblique)
    slicer.util.arrayFromVolume(node)[0, 0, 0] = -7
    assert VolumeNodes().image(node)[0, 0, 0] == -7
    node.SetOrigin(1.0, 2.0, 3.0)
    assert VolumeNodes().image(node).GetOrigin() == (-1.0, -2.0, 3.0)


def test_a_linear_transform_moves_the_image(scene, oblique):
    node = scene.load(oblique)
    transform = scene.mrml.AddNewNodeByClass("vtkMRMLTransformNode")
    toWorld = np.eye(4)
    toWorld[:3, :3] = np.array(sitk.Euler3DTransform((0, 0, 0), 0.1, 0.5, -0.2).GetMatrix()).reshape(3, 3)
    toWorld[:3, 3] = (5, 6, 7)
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(toWorld))
    node.SetAndObserveTransformNodeID(transform.GetID())
    lps = VolumeNodes().image(node).TransformIndexToPhysicalPoint((5, 3, 8))
    expected = toWorld @ nibabel.load(oblique).affine @ (5, 3, 8, 1)
    assert np.allclose(np.array(lps) * (-1, -1, 1), expected[:3], atol=1e-4)


def test_bending_and_shearing_transforms_are_refused(scene, oblique):
    node = scene.load(oblique)
    shearing = scene.mrml.AddNewNodeByClass("vtkMRMLTransformNode")
    matrix = np.eye(4)
    matrix[0, 1] = 0.5
    shearing.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    node.SetAndObserveTransformNodeID(shearing.GetID())
    with pytest.raises(ScanError, match="shears"):
        VolumeNodes().image(node)
    bending = scene.mrml.AddNewNodeByClass("vtkMRMLTransformNode")
    bending.SetAndObserveTransformToParent(vtk.vtkThinPlateSplineTransform())
    node.SetAndObserveTransformNodeID(bending.GetID())
    with pytest.raises(ScanError, match="nonlinear"):
        VolumeNodes().image(node)


def test_the_original_file_is_offered_only_where_it_may_still_be_shown(scene, oblique):
    node = scene.load(oblique)
    assert VolumeNodes().original(node) == str(oblique)
    transform = scene.mrml.AddNewNodeByClass("vtkMRMLTransformNode")
    node.SetAndObserveTransformNodeID(transform.GetID())
    assert VolumeNodes().original(node) is None
    assert VolumeNodes().original(scene.mrml.AddNewNodeByClass("vtkMRMLScalarVolumeNode")) is None


@pytest.mark.parametrize("kind", ["label map", "segmentation"])
def test_a_brain_mask_of_the_scene_is_an_image_at_its_place(kind, scene, oblique):
    """Under a transform too; a segmentation keeps only the extent of its segments, and its own grid."""
    labels = scene.mrml.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    image = sitk.ReadImage(str(oblique))
    VolumeNodes().showImage(sitk.Cast(image > 0, sitk.sitkUInt8), labels)
    node = labels
    if kind == "segmentation":
        node = scene.mrml.AddNewNodeByClass("vtkMRMLSegmentationNode", "brain")
        slicer.vtkSlicerSegmentationsModuleLogic.ImportLabelmapToSegmentationNode(labels, node)
    transform = scene.mrml.AddNewNodeByClass("vtkMRMLTransformNode")
    toWorld = np.eye(4)
    toWorld[:3, 3] = (5, 6, 7)
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(toWorld))
    node.SetAndObserveTransformNodeID(transform.GetID())
    mask = VolumeNodes().mask(node)
    image.SetOrigin((np.array(image.GetOrigin()) + np.array((-5, -6, 7))).tolist())  # LPS
    resampled = sitk.Resample(mask, image, sitk.Transform(), sitk.sitkNearestNeighbor)
    assert (sitk.GetArrayViewFromImage(resampled) > 0).tolist() == (sitk.GetArrayViewFromImage(image) > 0).tolist()


def test_an_empty_brain_mask_is_refused(scene):
    for className in ("vtkMRMLSegmentationNode", "vtkMRMLLabelMapVolumeNode"):
        with pytest.raises(ScanError, match="'nothing' is empty"):
            VolumeNodes().mask(scene.mrml.AddNewNodeByClass(className, "nothing"))


def test_a_result_lies_on_the_grid_and_under_the_transform_of_its_scan(scene, oblique):
    scan, result = scene.load(oblique), scene.mrml.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    transform = scene.mrml.AddNewNodeByClass("vtkMRMLTransformNode")
    scan.SetAndObserveTransformNodeID(transform.GetID())
    VolumeNodes().showOnGridOf(sitk.ReadImage(str(oblique)) * 2, result, scan)
    assert (ijkToRas(result) == ijkToRas(scan)).all()
    assert result.GetTransformNodeID() == transform.GetID()
    with pytest.raises(ScanError, match="changed"):
        VolumeNodes().showOnGridOf(sitk.Image(3, 3, 3, sitk.sitkFloat32), result, scan)


def test_a_transform_node_moves_a_scan_as_itk_resamples_it(scene):
    """ITK's transform takes template points to scan points; in Slicer the node takes the scan to the template."""
    transform = sitk.Euler3DTransform((3.0, -4.0, 5.0), 0.3, -0.2, 0.4, (10.0, 20.0, -30.0))
    node = scene.mrml.AddNewNodeByClass("vtkMRMLTransformNode")
    VolumeNodes().showTransform(transform, node)
    template = np.array((12.0, -7.0, 33.0))
    scanPoint = np.array(transform.TransformPoint(template.tolist()))
    matrix = vtk.vtkMatrix4x4()
    node.GetMatrixTransformToParent(matrix)
    moved = np.array(matrix.MultiplyPoint((*(scanPoint * (-1, -1, 1)), 1.0)))[:3]
    assert np.allclose(moved, template * (-1, -1, 1))


@pytest.mark.parametrize("orientation", ["Axial", "Sagittal", "Coronal"])
def test_the_bright_voxel_is_seen_where_it_is(scene, oblique, orientation):
    """What is drawn is asked, not the node's numbers."""
    node = scene.mrml.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    VolumeNodes().showImage(sitk.ReadImage(str(oblique)), node)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().AutoWindowLevelOff()
    node.GetDisplayNode().SetWindowLevelMinMax(0, 1000)
    view = scene.addSliceView("View", orientation)
    view.GetSliceCompositeNode().SetBackgroundVolumeID(node.GetID())
    view.ResizeSliceNode(200, 200)
    view.FitSliceToBackground(200, 200)
    ras = (nibabel.load(oblique).affine @ (5, 3, 8, 1))[:3]
    view.GetSliceNode().JumpSlice(*ras)
    pixels = picture(view, 200)[..., 0].astype(float)
    rows, columns = np.nonzero(pixels > 0.9 * pixels.max())
    row, column = pixelOf(view, ras, 200)
    assert pixels.max() > 200
    assert abs(rows.mean() - row) < 3
    assert abs(columns.mean() - column) < 3
