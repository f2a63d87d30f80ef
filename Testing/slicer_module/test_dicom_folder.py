"""Series of a DICOM folder in the panel: listed without names, chosen, loaded at their place."""

from __future__ import annotations

import pytest

pytest.importorskip("slicer", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

import numpy as np
import SimpleITK as sitk
import slicer
from person import click, openDialog, wait
from PySide6 import QtWidgets


@pytest.fixture
def folder(tmp_path):
    """Two series of oblique slices in one folder, with a patient's name in the headers."""
    out = tmp_path / "visit"
    out.mkdir()
    direction = sitk.Euler3DTransform((0, 0, 0), 0.3, 0.2, 0.1).GetMatrix()
    axes = np.array(direction).reshape(3, 3)
    for series, slices in ((1, 12), (2, 10)):
        for k in range(slices):
            array = np.full((1, 40, 32), 100 + k, np.int16)
            array[0, 10:30, 8:24] = 500 + 40 * k
            image = sitk.GetImageFromArray(array)
            image.SetSpacing((2.0, 2.0, 5.0))
            image.SetDirection(direction)
            place = axes[:, 2] * 5.0 * k
            for tag, text in {
                "0008|0060": "MR",
                "0008|0016": "1.2.840.10008.5.1.4.1.1.4",
                "0008|0018": f"1.2.3.{series}.{k + 1}",
                "0010|0010": "Doe^Jane",
                "0020|000d": "1.2.3",
                "0020|000e": f"1.2.3.{series}",
                "0020|0013": str(k + 1),
                "0020|0032": "\\".join(f"{x:.6f}" for x in place),
                "0020|0037": "\\".join(f"{x:.6f}" for x in (*axes[:, 0], *axes[:, 1])),
            }.items():
                image.SetMetaData(tag, text)
            writer = sitk.ImageFileWriter()
            writer.KeepOriginalImageUIDOn()
            writer.SetFileName(str(out / f"{series}_{k}.dcm"))
            writer.Execute(image)
    return out


def test_the_ticked_series_is_loaded_as_the_library_reads_it(panel, scene, folder):
    """With a real worker."""
    from BrainIACLib.scans import read_scan

    scene.dialogs.path = str(folder)
    click(panel, "dicomButton")
    dialog = openDialog()
    boxes = dialog.findChildren(QtWidgets.QCheckBox)
    assert [box.objectName() for box in boxes] == ["1.2.3.1", "1.2.3.2"]
    assert "12 files" in boxes[0].text()
    assert "Doe" not in "".join(box.text() for box in boxes)
    boxes[0].setChecked(False)
    dialog.findChild(QtWidgets.QDialogButtonBox).button(QtWidgets.QDialogButtonBox.StandardButton.Ok).click()
    wait(lambda: not panel.logic.worker.busy)
    assert scene.dialogs.shown == []
    (node,) = panel.logic.study.volumes()
    expected = read_scan(folder, series_uid="1.2.3.2").image
    assert (slicer.util.arrayFromVolume(node) == sitk.GetArrayViewFromImage(expected)).all()
    image = panel.logic.volumes.image(node)
    assert np.allclose(image.GetDirection(), expected.GetDirection(), atol=1e-9)
    assert np.allclose(image.GetOrigin(), expected.GetOrigin(), atol=1e-9)
    assert panel.ui.studyTable.rowCount() == 1


def test_a_folder_without_dicom_is_answered_with_a_sentence(panel, scene, tmp_path):
    scene.dialogs.path = str(tmp_path)
    click(panel, "dicomButton")
    (sentence,) = scene.dialogs.shown
    assert "DICOM" in sentence
