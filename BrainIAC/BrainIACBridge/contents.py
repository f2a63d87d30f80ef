"""What a volume shows, as a hash: an answer about other voxels, or about another place, is not an answer about it."""

from __future__ import annotations

import hashlib

import numpy as np
import slicer.util
import vtk

SHOWN_DIGITS = 4  # of a millimeter: a scene that is saved and read again is the same scan


class Contents:
    """Hashes of volumes, computed again only after a change."""

    def __init__(self):
        self._known = {}  # node ID -> (state, hash)

    def of(self, node):
        """The hash of voxels and geometry; "" of a volume without voxels."""
        if node.GetImageData() is None:
            return ""
        state = stateOf(node)
        known, found = self._known.get(node.GetID(), (None, ""))
        if state != known:
            found = _hash(node)
            self._known[node.GetID()] = (state, found)
        return found


def stateOf(node):
    """Changes whenever the voxels or the place of a volume change; cheap."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    parent = node.GetParentTransformNode()
    placed = parent.GetTransformToWorldMTime() if parent is not None else None
    # times of modification are counted for all VTK objects together: another image has another one
    return node.GetImageData().GetMTime(), tuple(slicer.util.arrayFromVTKMatrix(matrix).ravel()), placed


def _hash(node):
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    affine = slicer.util.arrayFromVTKMatrix(matrix)
    parent = node.GetParentTransformNode()
    if parent is not None and parent.IsTransformToWorldLinear():
        toWorld = vtk.vtkMatrix4x4()
        parent.GetMatrixTransformToWorld(toWorld)
        affine = slicer.util.arrayFromVTKMatrix(toWorld) @ affine
    array = slicer.util.arrayFromVolume(node)
    hashed = hashlib.sha256(
        f"{array.shape} {array.dtype.str} {parent is None or parent.IsTransformToWorldLinear()}".encode()
    )
    hashed.update((np.round(affine, SHOWN_DIGITS) + 0.0).tobytes())  # + 0.0: there is one zero
    hashed.update(np.ascontiguousarray(array))
    return hashed.hexdigest()
