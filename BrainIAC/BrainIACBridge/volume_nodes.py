"""Volumes and transforms between the scene and files. The only place in the module where RAS (MRML) meets LPS (ITK)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _

from BrainIACLib.errors import ScanError

RAS_LPS = np.diag([-1.0, -1.0, 1.0])  # from one to the other, both ways


class VolumeNodes:
    """Nodes out to images, images in to nodes."""

    def image(self, node):
        """The volume as a ``SimpleITK.Image``: voxels as shown, geometry in the world.

        Raises
        ------
        ScanError : no voxels, several values a voxel, or a transform that bends or shears the grid.
        """
        if node.GetImageData() is None or node.GetImageData().GetNumberOfScalarComponents() != 1:
            raise ScanError(_("'{name}' is not a plain 3D volume; choose another one.").format(name=node.GetName()))
        return self._image(node, node.GetName(), node.GetParentTransformNode())

    def mask(self, node):
        """A label map, or all segments of a segmentation together, as an image that is not 0 inside.

        Raises
        ------
        ScanError : nothing is inside, or as for ``image``.
        """
        empty = ScanError(
            _("The brain mask '{name}' is empty; choose one that holds the brain, or none.").format(name=node.GetName())
        )
        labels = node
        if node.IsA("vtkMRMLSegmentationNode"):
            if node.GetSegmentation().GetNumberOfSegments() == 0 or not node.CreateBinaryLabelmapRepresentation():
                raise empty
            merged, labels = slicer.vtkOrientedImageData(), slicer.vtkMRMLLabelMapVolumeNode()
            node.GenerateMergedLabelmapForAllSegments(merged, slicer.vtkSegmentation.EXTENT_UNION_OF_SEGMENTS)
            slicer.vtkSlicerSegmentationsModuleLogic.CreateLabelmapVolumeFromOrientedImageData(merged, labels)
        if labels.GetImageData() is None or not slicer.util.arrayFromVolume(labels).any():
            raise empty
        return self._image(labels, node.GetName(), node.GetParentTransformNode())

    def original(self, node):
        """The path of the one file that the volume was read from and that it still shows, or None."""
        storage = node.GetStorageNode()
        if storage is None or node.GetParentTransformNode() is not None or storage.GetNumberOfFileNames() > 0:
            return None
        path = Path(storage.GetFileName() or "")
        return str(path) if path.is_file() else None

    def showImage(self, image, node):
        """Put the voxels and the geometry of an image into a volume node."""
        node.SetSpacing(image.GetSpacing())
        node.SetOrigin(RAS_LPS @ np.array(image.GetOrigin()))
        directions = RAS_LPS @ np.array(image.GetDirection()).reshape(3, 3)
        node.SetIJKToRASDirections(directions.tolist())
        slicer.util.updateVolumeFromArray(node, sitk.GetArrayFromImage(image))

    def showOnGridOf(self, image, node, reference):
        """Put the voxels of an image into ``node``, exactly on the grid and under the transform of ``reference``.

        Raises
        ------
        ScanError : the image has another size; the volume was changed since it was analyzed.
        """
        if tuple(image.GetSize()) != tuple(reference.GetImageData().GetDimensions()):
            raise ScanError(_("'{name}' was changed in the meantime; run again.").format(name=reference.GetName()))
        node.CopyOrientation(reference)
        node.SetAndObserveTransformNodeID(reference.GetTransformNodeID())
        slicer.util.updateVolumeFromArray(node, sitk.GetArrayFromImage(image))

    def showTransform(self, transform, node):
        """Put an affine ITK transform of points (LPS, from the parent's space) into a transform node that, applied to a
        volume, moves it the other way round, as ITK's resampling convention has it."""
        origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
        columns = [np.array(transform.TransformPoint(axis)) - origin for axis in np.eye(3).tolist()]
        fromParent = np.eye(4)
        fromParent[:3, :3] = RAS_LPS @ np.array(columns).T @ RAS_LPS
        fromParent[:3, 3] = RAS_LPS @ origin
        node.SetMatrixTransformFromParent(slicer.util.vtkMatrixFromArray(fromParent))

    def _image(self, node, name, parent):
        image = sitk.GetImageFromArray(slicer.util.arrayFromVolume(node))
        directions, spacing, origin = _geometry(node)
        if parent is not None:
            directions, spacing, origin = self._inWorld(name, parent, directions, spacing, origin)
        image.SetDirection((RAS_LPS @ directions).ravel().tolist())
        image.SetSpacing(spacing.tolist())
        image.SetOrigin((RAS_LPS @ origin).tolist())
        return image

    def _inWorld(self, name, parent, directions, spacing, origin):
        if not parent.IsTransformToWorldLinear():
            raise ScanError(_("'{name}' is under a nonlinear transform; harden it first.").format(name=name))
        matrix = vtk.vtkMatrix4x4()
        parent.GetMatrixTransformToWorld(matrix)
        toWorld = slicer.util.arrayFromVTKMatrix(matrix)
        axes = toWorld[:3, :3] @ directions * spacing
        spacing = np.linalg.norm(axes, axis=0)
        directions = axes / spacing
        if not np.allclose(directions.T @ directions, np.eye(3), atol=1e-4):
            raise ScanError(_("'{name}' is under a transform that shears it; resample it first.").format(name=name))
        return directions, spacing, toWorld[:3, :3] @ origin + toWorld[:3, 3]


def _geometry(node):
    directions = np.zeros((3, 3))
    node.GetIJKToRASDirections(directions)
    return directions, np.array(node.GetSpacing()), np.array(node.GetOrigin())
