"""The picture shows the patient's right on the left, front and top up, and the hot spot where it is (P-43, D-13)."""

import matplotlib.image
import numpy as np
import pytest
import SimpleITK as sitk

from BrainIACLib.reports.overview_picture import LETTERS, MOST_LINES, save_overview, warning_lines

OBLIQUE = (0.36, 0.48, -0.8, -0.8, 0.6, 0.0, 0.48, 0.64, 0.6)  # orthonormal, no axis near a patient axis


def image_of(function, direction=OBLIQUE, size=(60, 50, 40), spacing=(3.0, 3.5, 4.0)) -> sitk.Image:
    """An image whose voxels are ``function`` of their RAS coordinates (mm), centered at the world's origin."""
    image = sitk.Image(size, sitk.sitkFloat32)
    image.SetSpacing(spacing)
    image.SetDirection(direction)
    centre = image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in size])
    image.SetOrigin([-c for c in centre])
    indices = np.stack(np.meshgrid(*[np.arange(n) for n in size], indexing="ij"), -1)
    points = indices * np.array(spacing) @ np.array(direction).reshape(3, 3).T + np.array(image.GetOrigin())
    values = function(points * np.array([-1, -1, 1]))  # LPS -> RAS
    filled = sitk.GetImageFromArray(values.transpose(2, 1, 0).astype(np.float32))
    filled.CopyInformation(image)
    return filled


def ball(centre, radius):
    return lambda points: (np.linalg.norm(points - np.array(centre), axis=-1) < radius).astype(float)


def panels(path) -> np.ndarray:
    """The nine panels (row, column, height, width, RGB) of the written picture."""
    rgb = matplotlib.image.imread(path)[..., :3]
    height, width, _ = rgb.shape
    body = rgb[int(0.11 * height) : int(0.925 * height), int(0.01 * width) : int(0.99 * width)]
    side, across = body.shape[0] // 3, body.shape[1] // 3
    return np.array([
        [body[r * side : (r + 1) * side, c * across : (c + 1) * across] for c in range(3)] for r in range(3)
    ])  # fmt: skip


AXIAL, CORONAL, SAGITTAL = 0, 1, 2
LEFT, UP = 1, 0  # the axis of a panel along which its first half is the left or the upper one


@pytest.mark.parametrize(
    ("bright_side", "shown_on"),
    [
        ((1, 0, 0), {AXIAL: LEFT, CORONAL: LEFT}),  # the patient's right
        ((0, 1, 0), {AXIAL: UP, SAGITTAL: LEFT}),  # anterior
        ((0, 0, 1), {CORONAL: UP, SAGITTAL: UP}),  # superior
    ],
)
def test_planes_follow_the_radiological_convention(tmp_path, bright_side, shown_on):
    scan = image_of(lambda p: ball((0, 0, 0), 70)(p) * (100 + 80 * np.sign(p @ np.array(bright_side, float))))
    save_overview(scan, image_of(ball((0, 0, 0), 8)), "title", "subtitle", tmp_path / "picture.png")
    shown = panels(tmp_path / "picture.png")
    for plane, axis in shown_on.items():
        grey = shown[plane, 0].mean(-1)
        half = grey.shape[axis] // 2
        first, second = np.take(grey, range(half), axis), np.take(grey, range(half, 2 * half), axis)
        assert first.mean() > 1.2 * second.mean()


def test_heat_is_drawn_where_it_is_in_the_patient(tmp_path):
    scan = image_of(lambda p: ball((0, 0, 0), 70)(p) * 100)
    heat = image_of(ball((30, 30, 30), 12))  # right, anterior, superior: the upper left quarter of every plane
    save_overview(scan, heat, "title", "subtitle", tmp_path / "picture.png")
    for plane in (AXIAL, CORONAL, SAGITTAL):
        panel = panels(tmp_path / "picture.png")[plane, 2]
        coloured = np.argwhere(np.ptp(panel, axis=-1) > 0.3)  # the scan is gray, its labels nearly
        assert len(coloured) > 50
        assert (coloured < np.array(panel.shape[:2]) / 2).all()


def test_the_picture_carries_its_doubts_and_the_method_of_its_map(tmp_path, monkeypatch):
    """It travels without the document beside it: every word that is drawn is collected."""
    from matplotlib.figure import Figure

    drawn = []
    text = Figure.text
    monkeypatch.setattr(
        Figure, "text", lambda self, x, y, s, **style: drawn.append((y, s, style)) or text(self, x, y, s, **style)
    )
    scan, heat = image_of(lambda p: ball((0, 0, 0), 70)(p) * 100), image_of(ball((0, 0, 0), 8))
    warnings = ("Uncertain: the confidence 0.61 is below 0.90.", "Unlike the training scans: do not rely on it. " * 3)
    save_overview(scan, heat, "age 34.1 years", "m", tmp_path / "a.png", warnings, "SmoothGrad")
    said = " ".join(words for _, words, _ in drawn)
    for warning in warnings:
        assert all(word in said for word in warning.split())
    assert "Saliency: SmoothGrad." in said
    assert all(0 < place < 1 for place, _, _ in drawn)
    places = [place for place, _, _ in drawn]
    assert places == sorted(places, reverse=True)  # title, model, warnings, notice: nothing lies on anything
    assert drawn[0][2]["color"] != "white"
    drawn.clear()
    save_overview(scan, heat, "T1", "m; no warnings", tmp_path / "b.png", (), "SmoothGrad")
    assert drawn[0][2]["color"] == "white"


def test_warnings_that_do_not_fit_are_counted():
    lines = warning_lines([f"warning {number} " + "word " * 40 for number in range(20)])
    assert len(lines) <= MOST_LINES
    assert max(map(len, lines)) <= LETTERS
    shown = sum(line.startswith("! warning") for line in lines)
    assert lines[-1] == f"! {20 - shown} more warnings in the result's document"
